"""A GGUF file's vocabulary becomes the tokenizer that it was made of; what would be guessed is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import ModelSpec, Sampling
from engine.errors import BrokenModel, UnsupportedModel
from engine.models.catalog import read_checkpoint
from engine.models.loader import LoadedModel, load_model
from engine.models.tokenizer import load_tokenizer
from tests.gguf_files import write_gguf
from tests.models import CHATML, byte_tokenizer, metaspace_tokenizer

TinyModel = Callable[..., Path]
TEXTS = (
    "Hello, world!",
    "  two  spaces   and\n\n\ttabs ",
    "the other and the hand",
    "1234567 and 3.14",
    "Où êtes-vous né, ça?",
    "日本語 🎉 e\u0301",
    "<|im_start|>user\nHi<|im_end|>\n",
    "<think>so</think>",
    "",
)


def tokenizer_of(file: Path) -> Any:
    return load_tokenizer(read_checkpoint(file, "my model"))


def ids(tokenizer: Any) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]


def test_a_byte_level_vocabulary(tiny_model: TinyModel, tmp_path: Path) -> None:
    built = tokenizer_of(write_gguf(tmp_path / "m.gguf", tiny_model("qwen3")))
    original = byte_tokenizer()
    assert ids(built) == ids(original)
    assert [built.decode(each) for each in ids(built)] == list(TEXTS)
    assert built.chat_template == original.chat_template
    assert (built.eos_token, built.pad_token, built.bos_token) == ("<|im_end|>", "<|endoftext|>", None)
    assert {t.content: t.special for t in built.added_tokens_decoder.values()} == {
        t.content: t.special for t in original.added_tokens_decoder.values()
    }


@pytest.mark.parametrize(("family", "scheme"), [("llama", "legacy"), ("gemma2", "never")])
def test_a_sentencepiece_vocabulary(tiny_model: TinyModel, tmp_path: Path, family: str, scheme: str) -> None:
    original = metaspace_tokenizer(scheme=scheme)
    file = write_gguf(tmp_path / "m.gguf", tiny_model(family, style="metaspace"), tokenizer=original)
    built = tokenizer_of(file)
    assert ids(built) == ids(original)
    assert [built.decode(each) for each in ids(built)] == [original.decode(each) for each in ids(original)]


def test_spaces_that_gemmas_makers_defined_are_found_whole(tiny_model: TinyModel, tmp_path: Path) -> None:
    original = metaspace_tokenizer(scheme="never")
    tokens = sorted(original.get_vocab(), key=original.get_vocab().get)
    gap = tokens.index("▁▁")
    kinds = [4 if number == gap else 3 if number < 4 else 6 if number < 260 else 1 for number in range(len(tokens))]
    spelled = [" " * len(token) if number == gap else token for number, token in enumerate(tokens)]
    metadata = {"tokenizer.ggml.tokens": spelled, "tokenizer.ggml.token_type": kinds}
    file = write_gguf(
        tmp_path / "m.gguf", tiny_model("gemma2", style="metaspace"), metadata=metadata, tokenizer=original
    )
    built = tokenizer_of(file)
    assert built.convert_ids_to_tokens(built.encode("a   b", add_special_tokens=False)) == ["a", "▁▁", "▁", "b"]
    assert built.decode(built.encode("a   b", add_special_tokens=False)) == "a   b"


def test_single_digits_where_the_rule_says_so(tiny_model: TinyModel, tmp_path: Path) -> None:
    """SmolLM2's rule; transformers' own conversion takes GPT-2's for it."""
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata={"tokenizer.ggml.pre": "smollm"})
    words = tokenizer_of(file).backend_tokenizer.pre_tokenizer.pre_tokenize_str("a 12")
    assert [word for word, _ in words] == ["a", "Ġ", "1", "2"]


@pytest.mark.parametrize(
    ("rule", "text", "words"),
    [
        ("llama-bpe", "I'M 12345 ok", ["I", "'M", "Ġ", "123", "45", "Ġok"]),
        ("qwen2", "x=12\n\n y", ["x", "=", "1", "2", "ĊĊ", "Ġy"]),
        ("tekken", "helloWorld 12", ["hello", "World", "Ġ", "1", "2"]),
        ("gpt-4o", "helloWorld's 1234", ["hello", "World's", "Ġ", "123", "4"]),
        ("gpt-2", "it's 1234", ["it", "'s", "Ġ1234"]),
    ],
)
def test_rules(tiny_model: TinyModel, tmp_path: Path, rule: str, text: str, words: list[str]) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata={"tokenizer.ggml.pre": rule})
    found = tokenizer_of(file).backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    assert [word for word, _ in found] == words


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"tokenizer.ggml.pre": "a-new-rule"}, r"'a-new-rule', which is unknown.*Choose"),
        ({"tokenizer.ggml.pre": None}, r"does not name.*Choose"),
        ({"tokenizer.ggml.model": "t5"}, r"'t5'.*Choose"),
        ({"tokenizer.ggml.model": None}, r"None.*Choose"),
    ],
)
def test_what_would_be_guessed_is_refused(
    tiny_model: TinyModel, tmp_path: Path, metadata: dict[str, Any], words: str
) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata=metadata)
    with pytest.raises(UnsupportedModel, match=words):
        read_checkpoint(file, "my model")


@pytest.mark.parametrize("merge", ["ab", "", "q q q", "zz zz"])
def test_merges_that_cannot_be(tiny_model: TinyModel, tmp_path: Path, merge: str) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata={"tokenizer.ggml.merges": ["t h", merge]})
    with pytest.raises(BrokenModel, match="merge"):
        tokenizer_of(file)


def test_empty_and_repeated_tokens_keep_their_numbers(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tiny_model("llama", vocab_size=400)
    vocab = byte_tokenizer().get_vocab()
    tokens = [*sorted(vocab, key=vocab.get), "", "a", "[PAD]"]
    kinds = [1] * len(tokens)
    metadata = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    built = tokenizer_of(write_gguf(tmp_path / "m.gguf", folder, metadata=metadata))
    assert built.convert_tokens_to_ids("[PAD]") == len(tokens) - 1
    assert built.decode([vocab["a"]]) == "a"


# --- beginnings and ends


def load(file: Path) -> LoadedModel:
    return load_model(ModelSpec(model=str(file), device="cpu", dtype="fp32"), lambda _: None)


def test_all_that_ends_an_answer(tiny_model: TinyModel, tmp_path: Path) -> None:
    """The end of the text, of a turn and of a message, and a control token that is spelled like one of them."""
    named = {"tokenizer.ggml.eot_token_id": 5, "tokenizer.ggml.eom_token_id": 6, "tokenizer.ggml.eos_token_id": 7}
    tokenizer = byte_tokenizer()
    loaded = load(write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata=named))
    spelled = set(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
    assert loaded.eos_ids == {5, 6, 7} | spelled


def test_an_end_outside_the_vocabulary_is_none(tiny_model: TinyModel, tmp_path: Path) -> None:
    named = {"tokenizer.ggml.eot_token_id": 10_000}
    assert 10_000 not in load(write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata=named)).eos_ids


@pytest.mark.parametrize(
    ("adds", "template", "begins"),
    [
        (True, CHATML, True),
        (False, CHATML, False),
        (True, "{{ bos_token }}" + CHATML, True),  # and not twice
        (True, "{{ '<s>' }}" + CHATML, True),
    ],
)
def test_the_beginning_of_a_prompt(
    tiny_model: TinyModel, tmp_path: Path, adds: bool, template: str, begins: bool
) -> None:
    original = metaspace_tokenizer(template=template, scheme="legacy")
    metadata = {"tokenizer.ggml.add_bos_token": adds}
    folder = tiny_model("llama", style="metaspace")
    built = tokenizer_of(write_gguf(tmp_path / "m.gguf", folder, metadata=metadata, tokenizer=original))
    text = built.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert text == "<s>" * begins + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert (built.encode("Hi", add_special_tokens=True)[0] == built.bos_token_id) is adds


@pytest.mark.parametrize(("rule", "begins"), [("llama-bpe", True), ("qwen2", False)])
def test_what_a_silent_file_begins_with(tiny_model: TinyModel, tmp_path: Path, rule: str, begins: bool) -> None:
    metadata = {"tokenizer.ggml.add_bos_token": None, "tokenizer.ggml.pre": rule, "tokenizer.ggml.bos_token_id": 3}
    built = tokenizer_of(write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata=metadata))
    assert (built.encode("Hi", add_special_tokens=True)[0] == 3) is begins


@pytest.mark.parametrize("key", ["padding", "unknown"])
def test_an_ordinary_piece_is_named_for_nothing_that_is_looked_for_in_texts(
    tiny_model: TinyModel, tmp_path: Path, key: str
) -> None:
    number = byte_tokenizer().convert_tokens_to_ids("an")
    metadata = {f"tokenizer.ggml.{key}_token_id": number}
    built = tokenizer_of(write_gguf(tmp_path / "m.gguf", tiny_model("qwen3"), metadata=metadata))
    assert "an" not in {token.content for token in built.added_tokens_decoder.values()}
    assert built.tokenize("and an") == byte_tokenizer().tokenize("and an")


def test_without_a_template(tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata={"tokenizer.chat_template": None})
    assert not tokenizer_of(file).chat_template


# --- what the makers recommend


def test_sampling_settings(tiny_model: TinyModel, tmp_path: Path) -> None:
    said = {"temp": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "penalty_repeat": 1.1}
    metadata = {f"general.sampling.{key}": value for key, value in said.items()}
    loaded = load(write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata=metadata))
    assert loaded.default_sampling == Sampling(temperature=0.7, top_k=20, top_p=0.8, min_p=0.05, repetition_penalty=1.1)
    silent = load(write_gguf(tmp_path / "none.gguf", tiny_model("llama")))
    assert silent.default_sampling == Sampling(temperature=0.7, top_p=0.95)


def test_sampling_settings_that_make_no_sense(tiny_model: TinyModel, tmp_path: Path) -> None:
    metadata = {"general.sampling.temp": -3.0}
    loaded = load(write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata=metadata))
    assert loaded.default_sampling == Sampling(temperature=0.7, top_p=0.95)
    assert "not used" in loaded.notes[0]


def test_the_files_are_those_of_the_tokenizers_library(tiny_model: TinyModel, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_gguf(tmp_path / "m.gguf", tiny_model("llama")), "my model")
    with checkpoint.opened(tokenizer=True) as files:
        folder = Path(files["pretrained_model_name_or_path"])
        assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
        written = json.loads((folder / "tokenizer.json").read_text())
        kept = json.loads(load_tokenizer(checkpoint).backend_tokenizer.to_str())
    for part in ("normalizer", "pre_tokenizer", "decoder", "added_tokens"):
        assert kept[part] == written[part], part
    assert kept["model"]["merges"] == written["model"]["merges"]

"""What comes with a model beside its weights: end tokens, sampling defaults, tokenizer, texts with byte order marks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.errors import (
    BrokenModel,
)
from engine.models.loader import LoadedModel, load_model
from engine.models.tokenizer import default_sampling
from engine.prompt.context import build_prompt
from tests.models import THINKING, build, byte_tokenizer, copy_model

TinyModel = Callable[..., Path]
IDS = torch.arange(5, 25)[None]


def load(folder: Path | str, **options: Any) -> LoadedModel:
    return load_model(ModelSpec(model=str(folder), device="cpu", **options), lambda progress: None)


@pytest.fixture
def folder(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A whole tiny model that a test may change."""
    return copy_model(tiny_model("llama"), tmp_path / "model")


def write_json(path: Path, **changes: Any) -> None:
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | changes))


def test_end_tokens_are_the_union(folder: Path) -> None:
    tokenizer = byte_tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")}
    write_json(folder / "generation_config.json", eos_token_id=[ids["<|endoftext|>"], 7])
    write_json(folder / "config.json", eos_token_id=9)
    assert load(folder).eos_ids == {ids["<|im_end|>"], ids["<|endoftext|>"], 7, 9}


def test_sampling_defaults_come_from_the_model(folder: Path) -> None:
    write_json(folder / "generation_config.json", do_sample=True, temperature=0.6, top_k=20, top_p=0.95)
    assert load(folder).default_sampling == Sampling(temperature=0.6, top_k=20, top_p=0.95)


@pytest.mark.parametrize(
    ("values", "sampling"),
    [
        ({"do_sample": False, "temperature": 0.6}, Sampling()),
        ({}, Sampling(temperature=0.7, top_p=0.95)),
        ({"do_sample": None, "top_p": None}, Sampling(temperature=0.7, top_p=0.95)),
        ({"temperature": 0.6}, Sampling(temperature=0.6)),
        ({"do_sample": True}, Sampling(temperature=1.0)),
    ],
)
def test_a_model_that_says_nothing_is_sampled_and_one_that_samples_not_is_greedy(
    values: dict[str, Any], sampling: Sampling
) -> None:
    assert default_sampling(values) == (sampling, ())


def test_impossible_sampling_defaults_are_left_aside_and_said(folder: Path) -> None:
    write_json(folder / "generation_config.json", do_sample=True, top_p=7.0)
    loaded = load(folder)
    assert loaded.default_sampling == Sampling(temperature=0.7, top_p=0.95)
    assert "top_p" in loaded.notes[0]


def test_a_thinking_switch_is_found(tiny_model: TinyModel, tmp_path: Path) -> None:
    thinking = build(tmp_path / "thinking", "qwen3", tokenizer=byte_tokenizer(template=THINKING))
    assert load(thinking).has_thinking_switch
    assert not load(tiny_model("qwen3")).has_thinking_switch


def test_a_shorter_context_is_kept(tiny_model: TinyModel) -> None:
    assert load(tiny_model("llama"), max_context=512).context_length == 512


TEXTS = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


@pytest.mark.parametrize("text", [*TEXTS, "model.safetensors.index.json"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_a_text_does_not_matter(
    tiny_model: TinyModel, tmp_path: Path, text: str, encoding: str
) -> None:
    folder = copy_model(tiny_model("llama", max_shard_size="200KB"), tmp_path / "model")
    request = GenerationRequest(messages=(Message.of("user", "Où êtes-vous?"),))
    plain = load(folder)
    path = folder / text
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    marked = load(folder)
    assert build_prompt(marked.tokenizer, request, 4096, 384) == build_prompt(plain.tokenizer, request, 4096, 384)
    assert marked.eos_ids == plain.eos_ids
    assert marked.path == folder
    with torch.inference_mode():
        assert torch.equal(marked.model(IDS).logits, plain.model(IDS).logits)


def test_a_byte_order_mark_where_no_links_can_be_made_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError("A required privilege is not held by the client")

    path = folder / "chat_template.jinja"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    monkeypatch.setattr(Path, "symlink_to", fail)
    monkeypatch.setattr("os.link", fail)
    with pytest.raises(BrokenModel, match=r"chat_template\.jinja .* byte order mark\. Save it as UTF-8 without"):
        load(folder)


def test_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BrokenModel, match="tokenizer"):
        load(folder)


def test_the_tokenizer_of_another_model(folder: Path) -> None:
    byte_tokenizer(vocab_size=420).save_pretrained(folder)
    with pytest.raises(BrokenModel, match="belongs to another model"):
        load(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_generation_config(folder: Path, text: str) -> None:
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(BrokenModel, match="generation_config"):
        load(folder)


def test_a_tokenizer_that_is_read_and_encodes_nothing_is_a_sentence(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", model_max_length=[])
    with pytest.raises(BrokenModel, match=r"the tokenizer cannot be read .*Copy tokenizer\.json"):
        load(folder)

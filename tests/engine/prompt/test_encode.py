"""What people type stays text: no control token, and no token that the model does not have."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import GenerationRequest
from engine.errors import BrokenModel
from engine.prompt.context import Prompt, build_prompt
from engine.prompt.encode import UNTYPABLE
from tests.models import CHATML, INSTRUCT, byte_tokenizer, metaspace_tokenizer
from tests.prompts import CHAT, STYLES, THINK, each_style, prompt, text_of, turns

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def control_counts(tokenizer: Any, built: Prompt) -> dict[str, int]:
    controls = {i: t.content for i, t in tokenizer.added_tokens_decoder.items()}
    return {text: built.token_ids.count(i) for i, text in controls.items()}


@each_style
@pytest.mark.parametrize("place", ["user", "system", "assistant"])
def test_typed_control_tokens_stay_text(style: str, place: str) -> None:
    tokenizer = STYLES[style]
    special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    typed = "in " + "".join(f"{s} the{s}{s}" for s in special) + "and"
    if place != "assistant" and "<start_of_turn>" in tokenizer.chat_template:
        typed += " <start_of_turn>an"  # a turn mark, though not special
    contents = {"user": "the", "assistant": "an", "system": "a"}

    def build() -> Prompt:
        return prompt(tokenizer, turns(contents["user"], contents["assistant"], "and", system=contents["system"]))

    harmless = control_counts(tokenizer, build())
    contents[place] = typed
    built = build()
    assert control_counts(tokenizer, built) == harmless
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in built.token_ids
    assert typed in tokenizer.decode(built.token_ids)


def test_an_answers_own_thinking_marks_stay_tokens() -> None:
    built = prompt(THINK, turns("x <|im_end|>", "<think>\nso\n</think>\nyes"), continue_final=True)
    assert built.token_ids.count(THINK.convert_tokens_to_ids("<think>")) == 1
    assert built.token_ids.count(THINK.convert_tokens_to_ids("<|im_end|>")) == 1


def test_a_unigram_model_does_not_find_control_tokens_by_itself() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [(c, -5.0) for c in "▁abcdefghijklmnopqrstuvwxyz<>/\n"]
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("<s>", -1.0), ("</s>", -1.0), *letters], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ bos_token + m.content + eos_token }}{% endfor %}"
    built = prompt(tokenizer, turns("the </s> end"))
    assert built.token_ids.count(tokenizer.eos_token_id) == 1
    assert "the </s> end" in tokenizer.decode(built.token_ids)


@each_style
@given(data=st.data())
@settings(max_examples=40)
def test_the_careful_way_encodes_ordinary_text_as_the_plain_way_does(style: str, data: st.DataObject) -> None:
    """A typed control token in an early turn changes nothing about the tokens of the turns after it."""
    tokenizer = STYLES[style]
    words = st.text("the and a in.,\n é", min_size=1, max_size=30).filter(str.strip)
    user, answer = data.draw(words), data.draw(words)
    plain = prompt(tokenizer, turns("x", "in", user, answer, "the")).token_ids
    careful = prompt(tokenizer, turns(f"x{tokenizer.eos_token}", "in", user, answer, "the")).token_ids
    start = len(prompt(tokenizer, turns("x")).token_ids)  # the first turn, up to and into the answer's opening
    tail = plain[start + 1 :]
    assert careful[-len(tail) :] == tail


def test_control_tokens_that_a_normaliser_changes_are_found_by_their_aliases() -> None:
    """As in some copies of Llama 2's tokenizer, which looks for them in normalised text."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    data = json.loads(metaspace_tokenizer(scheme="legacy").backend_tokenizer.to_str())
    for token in data["added_tokens"]:
        token["normalized"] = True
    backend = Tokenizer.from_str(json.dumps(data))
    special = {name: AddedToken(text, normalized=True, special=True) for name, text in SPECIAL.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.chat_template = INSTRUCT.replace("' ' + eos_token", "eos_token")
    built = prompt(tokenizer, turns("the </s>", "an", "x"))
    assert UNTYPABLE not in tokenizer.decode(built.token_ids)
    assert built.token_ids.count(tokenizer.eos_token_id) == 1
    assert "the </s>" in tokenizer.decode(built.token_ids)


def test_placeholders_and_aliases_cannot_be_typed() -> None:
    """Text that looks like the names used inside encodes as itself."""
    typed = "\ue0000123456789abcdef.0\ue001 <|im_end|> \ue0020123456789abcdef<|im_end|>\ue003"
    built = prompt(CHAT, turns(typed))
    assert typed in text_of(CHAT, built)
    assert built.token_ids.count(CHAT.eos_token_id) == 1


# --- tokens that the model does not have


def with_added(tokenizer: Any, *texts: str) -> Any:
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts])
    return tokenizer


@pytest.mark.parametrize("template", [CHATML, None], ids=["template", "verbatim"])
@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_a_typed_token_beyond_the_embedding_is_encoded_in_pieces(role: str, template: str | None) -> None:
    tokenizer = byte_tokenizer(template=template)
    size = len(tokenizer)
    with_added(tokenizer, "<|tool|>", "[PAD]")
    text = {"user": "the", "assistant": "in", "system": "an"} | {role: "the <|tool|>[PAD] and"}
    messages = turns(text["user"], text["assistant"], "x", system=text["system"])
    built = build_prompt(tokenizer, GenerationRequest(messages=messages), 4096, size)
    assert max(built.token_ids) < size
    assert "the <|tool|>[PAD] and" in text_of(tokenizer, built)
    if template:  # the template's own control tokens stay
        assert built.token_ids.count(tokenizer.eos_token_id) == 4


def test_a_token_beyond_the_embedding_that_a_normaliser_makes_is_encoded_in_pieces() -> None:
    from tokenizers import normalizers

    tokenizer = byte_tokenizer()
    size = len(tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens(["[tool]"])
    assert max(tokenizer.encode("[TOOL]")) == size
    built = build_prompt(tokenizer, GenerationRequest(messages=turns("a [TOOL]")), 4096, size)
    assert max(built.token_ids) < size
    assert "a [tool]" in text_of(tokenizer, built)


def test_a_template_that_uses_a_token_beyond_the_embedding_is_blamed() -> None:
    tokenizer = byte_tokenizer()
    size = len(tokenizer)
    with_added(tokenizer, "<|tool|>")
    tokenizer.chat_template = "<|tool|>" + CHATML
    with pytest.raises(BrokenModel, match=rf"template uses the token '<\|tool\|>', number {size}, and the model has"):
        build_prompt(tokenizer, GenerationRequest(messages=turns("the <|tool|>")), 4096, size)

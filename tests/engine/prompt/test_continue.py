"""Answers cut by a limit and continued from their own ids: the same ids and the same text as without the cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import GenerationRequest, Message, ModelSpec
from engine.engine import Engine
from engine.events import Finished
from engine.prompt.template import render_prompt
from tests.models import byte_tokenizer


def finished(engine: Engine, *messages: Message, **options: object) -> Finished:
    request = GenerationRequest(messages=messages, ignore_eos=True, **options)  # type: ignore[arg-type]
    *_, last = engine.generate(request)
    assert isinstance(last, Finished)
    return last


@pytest.mark.parametrize("template", ["chat", "verbatim"])
def test_an_answer_of_broken_characters_is_continued_as_if_it_had_not_been_cut(
    tiny_model: Callable[..., Path], template: str
) -> None:
    """A random model says little but bytes that end inside characters."""
    engine = Engine()
    for _ in engine.load(ModelSpec(model=str(tiny_model("llama", chat=template == "chat")), device="cpu")):
        pass
    user = Message.of("user", "Où êtes-vous né?")
    whole = finished(engine, user, max_tokens=24)
    characters = byte_tokenizer().decode(whole.token_ids, skip_special_tokens=True).rstrip("\ufffd")
    assert whole.text == characters
    cuts_inside = 0
    for cut in range(1, 24):
        first = finished(engine, user, max_tokens=cut)
        cuts_inside += byte_tokenizer().decode(first.token_ids).endswith("\ufffd")
        second = finished(
            engine,
            user,
            Message.of("assistant", first.text),
            max_tokens=24 - cut,
            continue_final=True,
            continued_ids=list(first.token_ids),
        )
        assert first.token_ids + second.token_ids == whole.token_ids
        assert first.text + second.text == whole.text
    assert cuts_inside
    engine.close()


def test_an_empty_answer_with_nothing_before_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Nothing is asked.*write a message first\.$"):
        render_prompt(byte_tokenizer(), [Message.of("assistant", "")], None, continue_final=True)

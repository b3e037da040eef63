"""The model's chat template and its quirks: turns to text, and what a template says about itself.

The template owns BOS.
"""

import re
from typing import Any

from engine.config import Message
from engine.errors import UnsupportedModel
from engine.prompt import sandbox
from engine.prompt.encode import UNTYPABLE, plain_ids
from engine.prompt.time_limit import TookTooLong, within

MAX_SECONDS = 10.0  # for one rendering, which takes milliseconds
MAX_CHARS = 50_000_000  # of what it writes: more than ten times what the longest contexts hold
_HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate, which no tokenizer takes
INSTEAD = "Use another version of this model, or delete its chat template to complete prompts verbatim."


def render_prompt(tokenizer: Any, messages: list[Message], thinking: bool | None, continue_final: bool) -> str:
    """The template's text up to where the answer begins, or where it continues. Raises `ValueError` for no turn."""
    turns = normalise_turns(tokenizer, messages)
    if not turns:
        raise ValueError("Nothing is asked, and no answer is begun: write a message first.")
    if not continue_final or turns[-1]["role"] != "assistant":
        return render(tokenizer, turns, thinking=thinking)
    opened = render(tokenizer, turns[:-1], thinking=thinking)
    whole = render(tokenizer, turns, thinking=thinking, open_answer=False)
    answer = turns[-1]["content"]
    # The template's own way is taken where it only adds space (Llama 2); templates that rewrite an answer
    # (Qwen3 puts an empty thought before it) would change what the model has already said.
    gap = re.match(r"\s*", whole[len(opened) :])
    start = len(opened) + (gap.end() if gap else 0)
    if whole.startswith(opened) and answer.strip() and whole.startswith(answer.lstrip(), start):
        return whole[: start + len(answer.lstrip())]
    return opened + answer


def render(
    tokenizer: Any, turns: list[dict[str, str]], *, thinking: bool | None = None, open_answer: bool = True
) -> str:
    """Apply the chat template. Raises `UnsupportedModel` where the template fails."""
    sandbox.bound()
    options = {} if thinking is None else {"enable_thinking": thinking}
    try:
        text: str = within(
            MAX_SECONDS,
            lambda: tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_answer, **options),
        )
    except TookTooLong as exc:
        raise UnsupportedModel(
            f"The model's chat template did not end within {MAX_SECONDS:g} seconds. {INSTEAD}"
        ) from exc
    except Exception as exc:  # a template is a program: jinja2 passes on whatever it raises
        raise UnsupportedModel(f"The model's chat template failed: {str(exc).rstrip('.')}. {INSTEAD}") from exc
    if len(text) > MAX_CHARS:
        raise UnsupportedModel(f"The model's chat template wrote {len(text):,} characters. {INSTEAD}")
    if _HALF.search(text) and not any(_HALF.search(turn["content"]) for turn in turns):
        raise UnsupportedModel(f"The model's chat template wrote half a character. {INSTEAD}")
    return text


def normalise_turns(tokenizer: Any, messages: list[Message]) -> list[dict[str, str]]:
    """Turns that any template accepts: no empty answers, alternating roles, a system turn where it is supported."""
    turns: list[dict[str, str]] = []
    for message in sorted(messages, key=lambda m: m.role != "system"):  # templates expect it first
        if message.role != "user" and not message.text:
            continue
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += "\n\n" + message.text
        else:
            turns.append({"role": message.role, "content": message.text})
    if turns and turns[0]["role"] == "system" and not supports_system_role(tokenizer):
        system = turns.pop(0)["content"]
        if turns and turns[0]["role"] == "user":
            turns[0]["content"] = system + "\n\n" + turns[0]["content"]
        else:
            turns.insert(0, {"role": "user", "content": system})
    return turns


def supports_system_role(tokenizer: Any) -> bool:
    """Whether the template has a system role; Gemma's refuses it, others ignore it."""
    turns = [{"role": "system", "content": UNTYPABLE}, {"role": "user", "content": "x"}]
    try:
        return UNTYPABLE in render(tokenizer, turns)
    except UnsupportedModel:
        return False


def has_thinking_switch(tokenizer: Any) -> bool:
    """Whether the template reacts to `enable_thinking`."""
    if not tokenizer.chat_template:
        return False
    turns = [{"role": "user", "content": "x"}]
    return render(tokenizer, turns, thinking=True) != render(tokenizer, turns, thinking=False)


def end_of_turn_ids(tokenizer: Any) -> frozenset[int]:
    """The control token with which the template ends an answer, where it has one."""
    if not tokenizer.chat_template:
        return frozenset()
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": UNTYPABLE}]
    try:
        text = render(tokenizer, turns, open_answer=False)
    except UnsupportedModel:  # it cannot show a finished answer; the other end tokens remain
        return frozenset()
    _, found, rest = text.rpartition(UNTYPABLE)
    ids = plain_ids(tokenizer, rest.lstrip()) if found else []
    return frozenset(i for i in ids[:1] if i in tokenizer.added_tokens_decoder)

"""Messages to the ids of a prompt: the model's chat template, its quirks, and what to leave out when it is too long.

Knows nothing about models, caches or devices. The template owns BOS. Text typed by people never becomes a control
token: where a message spells one, the template's own tokens get secret names for that encoding, so that only they
are found.
"""

import json
import re
import secrets
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.config import GenerationRequest, Message
from engine.errors import ContextOverflow, UnsupportedModel

_SECRET = secrets.token_hex(8)  # nobody can type what is not known before the process starts
_INSTEAD = "Use another version of this model, or delete its chat template to complete prompts verbatim."


@dataclass(frozen=True, slots=True)
class Prompt:
    """The ids to prefill. `dropped_turns` counts the oldest messages that were left out."""

    token_ids: tuple[int, ...]
    dropped_turns: int
    verbatim: bool


def build_prompt(tokenizer: Any, request: GenerationRequest, context_length: int) -> Prompt:
    """Build the prompt of a request, leaving out the oldest turns where it is too long.

    Up to a quarter of the context is kept for the answer. The system prompt is never left out.

    Raises `ContextOverflow` where the last turn alone does not fit, `UnsupportedModel` where no token comes of it.
    """
    reserve = min(request.max_tokens, context_length // 4)
    budget = context_length - reserve
    verbatim = not tokenizer.chat_template
    starts = _turn_starts(request.messages)

    def encoded(num_left_out: int) -> list[int]:
        messages = _leave_out(request.messages, starts[num_left_out])
        return _verbatim_ids(tokenizer, messages) if verbatim else _template_ids(tokenizer, request, messages)

    token_ids = encoded(0)
    if not token_ids:
        raise UnsupportedModel(f"The model's chat template and tokenizer make no token of this prompt. {_INSTEAD}")
    if len(token_ids) <= budget:
        return Prompt(tuple(token_ids), 0, verbatim)
    fewest = 1 + bisect_left(range(1, len(starts)), True, key=lambda num: len(encoded(num)) <= budget)
    if fewest == len(starts):  # not even the last turn alone
        num_tokens = len(encoded(len(starts) - 1))
        raise ContextOverflow(
            f"The last message makes a prompt of {num_tokens:,} tokens, and the context holds {budget:,} "
            f"({context_length:,} less {reserve:,} for the answer). Shorten the message, allow fewer new tokens, or "
            "load the model with a longer context."
        )
    return Prompt(tuple(encoded(fewest)), _num_dropped(request.messages, starts[fewest]), verbatim)


def _turn_starts(messages: tuple[Message, ...]) -> list[int]:
    """Where each turn begins: a turn is one or more user messages and the answers to them.

    >>> roles = ("system", "user", "assistant", "user", "user", "assistant", "user")
    >>> _turn_starts(tuple(Message(role, "x") for role in roles))
    [1, 3, 6]
    """
    starts: list[int] = []
    previous = ""
    for i, message in enumerate(messages):
        if message.role == "system":
            continue
        if not starts or (message.role == "user" and previous == "assistant"):
            starts.append(i)
        previous = message.role
    return starts


def _leave_out(messages: tuple[Message, ...], start: int) -> list[Message]:
    return [m for i, m in enumerate(messages) if i >= start or m.role == "system"]


def _num_dropped(messages: tuple[Message, ...], start: int) -> int:
    return sum(m.role != "system" for m in messages[:start])


def _verbatim_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Without a template: the texts one after another, empty ones left out; an answer ends with its paragraph."""
    text = ""
    messages = [message for message in messages if message.content]
    for i, message in enumerate(messages):
        text += message.content
        if i + 1 < len(messages) and (message.role == "system" or messages[i + 1].role == "user"):
            text += "\n\n"
    start = tokenizer("", add_special_tokens=True)["input_ids"][:1]
    bos = start if start == [tokenizer.bos_token_id] else []
    if _names_control(text, _controls(tokenizer)):
        return bos + _encode_marked(tokenizer, text, {})
    return bos + _encode(tokenizer, text)


def _template_ids(tokenizer: Any, request: GenerationRequest, messages: list[Message]) -> list[int]:
    hidden: dict[str, str] = {}
    messages = [_hide_controls(tokenizer, m, hidden) for m in messages]
    text = _render_prompt(tokenizer, messages, request.thinking, request.continue_final)
    return _encode_marked(tokenizer, text, hidden) if hidden else _encode(tokenizer, text)


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, verbose=False)  # how long is too long, we say
    return ids


# --- rendering


def _render_prompt(tokenizer: Any, messages: list[Message], thinking: bool | None, continue_final: bool) -> str:
    """The template's text up to where the answer begins, or goes on."""
    turns = normalise_turns(tokenizer, messages)
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
    options = {} if thinking is None else {"enable_thinking": thinking}
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_answer, **options)
    except Exception as exc:  # a template is a program: jinja2 passes on whatever it raises
        raise UnsupportedModel(f"The model's chat template failed: {exc}. {_INSTEAD}") from exc
    return text


def normalise_turns(tokenizer: Any, messages: list[Message]) -> list[dict[str, str]]:
    """Turns that any template accepts: no empty answers, roles alternating, a system prompt only where it is heard."""
    turns: list[dict[str, str]] = []
    for message in sorted(messages, key=lambda m: m.role != "system"):  # templates look for it in the first place only
        if message.role != "user" and not message.content:
            continue
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += "\n\n" + message.content
        else:
            turns.append({"role": message.role, "content": message.content})
    if turns[0]["role"] == "system" and not supports_system_role(tokenizer):
        system = turns.pop(0)["content"]
        if turns and turns[0]["role"] == "user":
            turns[0]["content"] = system + "\n\n" + turns[0]["content"]
        else:
            turns.insert(0, {"role": "user", "content": system})
    return turns


def supports_system_role(tokenizer: Any) -> bool:
    """Whether the template has a system role; Gemma's refuses it, others ignore it."""
    turns = [{"role": "system", "content": _SECRET}, {"role": "user", "content": "x"}]
    try:
        return _SECRET in render(tokenizer, turns)
    except UnsupportedModel:
        return False


def has_thinking_switch(tokenizer: Any) -> bool:
    """Whether the template answers to `enable_thinking`."""
    if not tokenizer.chat_template:
        return False
    turns = [{"role": "user", "content": "x"}]
    return render(tokenizer, turns, thinking=True) != render(tokenizer, turns, thinking=False)


def end_of_turn_ids(tokenizer: Any) -> frozenset[int]:
    """The control token with which the template ends an answer, where it has one."""
    if not tokenizer.chat_template:
        return frozenset()
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _SECRET}]
    try:
        text = render(tokenizer, turns, open_answer=False)
    except UnsupportedModel:  # it cannot show a finished answer; the other end tokens remain
        return frozenset()
    _, found, rest = text.rpartition(_SECRET)
    ids = _encode(tokenizer, rest.lstrip()) if found else []
    return frozenset(i for i in ids[:1] if i in tokenizer.added_tokens_decoder)


# --- control tokens that were typed


@dataclass(frozen=True, slots=True)
class _Controls:
    """The strings that are control tokens: in a model's own answers, and in what people write."""

    in_answers: re.Pattern[str] | None
    anywhere: re.Pattern[str] | None


@lru_cache(maxsize=2)
def _controls(tokenizer: Any) -> _Controls:
    special, named = [], []
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            special.append(token.content)
        elif token.content in str(tokenizer.chat_template or ""):
            named.append(token.content)  # Gemma marks turns with tokens that are not special
    return _Controls(_any_of(special), _any_of(special + named))


def _any_of(strings: list[str]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(str.strip, strings), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _names_control(text: str, controls: _Controls) -> bool:
    return bool(controls.anywhere and controls.anywhere.search(text))


def _hide_controls(tokenizer: Any, message: Message, hidden: dict[str, str]) -> Message:
    """Replace typed control strings with names that the template cannot mistake; `hidden` maps them back."""
    controls = _controls(tokenizer)
    pattern = controls.in_answers if message.role == "assistant" else controls.anywhere

    def hide(match: re.Match[str]) -> str:
        name = f"\ue000{_SECRET}.{len(hidden)}\ue001"
        hidden[name] = match[0]
        return name

    return Message(message.role, pattern.sub(hide, message.content)) if pattern else message


def _encode_marked(tokenizer: Any, text: str, hidden: dict[str, str]) -> list[int]:
    """Encode a rendered prompt in which `hidden` names stand for typed text."""
    pattern = _controls(tokenizer).anywhere
    if hidden and pattern:
        text = pattern.sub(lambda match: _secret_name(match[0]), text)
        text = re.sub(f"\ue000{_SECRET}\\.\\d+\ue001", lambda match: hidden[match[0]], text)
    ids: list[int] = _secretive(tokenizer).encode(text, add_special_tokens=False).ids
    return ids


def _secret_name(control: str) -> str:
    return f"\ue002{_SECRET}{control}{_SECRET}\ue003"


@lru_cache(maxsize=2)
def _secretive(tokenizer: Any) -> Any:
    """A copy of the fast tokenizer whose control tokens answer to secret names only.

    Renaming, rather than splitting and encoding the parts, keeps everything else as it is: what a word piece at a
    seam looks like depends on the tokenizer's normaliser, and a Unigram model finds control tokens by itself.
    """
    from tokenizers import Tokenizer

    data = json.loads(tokenizer.backend_tokenizer.to_str())
    pattern = _controls(tokenizer).anywhere
    names = {
        token["content"]: _secret_name(token["content"])
        for token in data["added_tokens"]
        if pattern and pattern.fullmatch(token["content"])
    }
    for token in data["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = data["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): i for piece, i in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    data["post_processor"] = None
    return Tokenizer.from_str(json.dumps(data))

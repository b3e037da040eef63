"""Messages to the ids of a prompt, and what to leave out, or to blame, where it is too long for the context.

Knows nothing about models, caches or devices.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from engine.config import GenerationRequest, Message
from engine.errors import BrokenModel, ContextOverflow, UnsupportedModel
from engine.prompt.detokenise import text_of
from engine.prompt.encode import Encoder, plain_ids
from engine.prompt.template import INSTEAD, render_prompt

_FRAME = 10  # tokens of a template around a message, that of the answer to it included


@dataclass(frozen=True, slots=True)
class Prompt:
    """The ids to prefill. `dropped_turns` counts the oldest messages that were left out; `continued_ids` are the last
    of `token_ids`, whose text the answer continues; none where a new text begins."""

    token_ids: tuple[int, ...]
    dropped_turns: int
    verbatim: bool
    continued_ids: tuple[int, ...] = ()


def build_prompt(tokenizer: Any, request: GenerationRequest, context_length: int, vocab_size: int) -> Prompt:
    """Build the prompt of a request for a model of `vocab_size` tokens, leaving out the oldest turns where it is too
    long.

    Up to a quarter of the context is kept for the answer. The system prompt is never left out. Token ids of the answer
    to be continued are used where they say what its message says, so that a character cut in half is completed.

    Raises `ContextOverflow` where the last turn alone does not fit, `UnsupportedModel` where no token comes of it,
    `BrokenModel` where the chat template uses tokens that the model does not have.
    """
    budget = context_length - _reserve(request, context_length)
    verbatim = request.verbatim or not tokenizer.chat_template
    starts = _turn_starts(request.messages)
    answer_ids = _answer_ids(tokenizer, request, vocab_size)

    def encoded(num_left_out: int) -> list[int]:
        messages = _leave_out(request.messages, starts[num_left_out])
        if answer_ids:
            messages = messages[:-1]
        encode = _verbatim_ids if verbatim else _template_ids
        return [*encode(Encoder(tokenizer, vocab_size), request, messages), *answer_ids]

    def prompt(token_ids: list[int], dropped_turns: int) -> Prompt:
        ids = tuple(token_ids)
        continues = request.continue_final and request.messages[-1].text
        before = ids if verbatim else answer_ids or (ids if continues else ())
        return Prompt(ids, dropped_turns, verbatim, before)

    token_ids = encoded(0)
    if not token_ids:
        raise UnsupportedModel(f"The model's chat template and tokenizer make no token of this prompt. {INSTEAD}")
    if max(token_ids) >= vocab_size:  # typed text makes none: see `encode`
        raise BrokenModel(
            f"The chat template uses the token {tokenizer.convert_ids_to_tokens(max(token_ids))!r}, number "
            f"{max(token_ids):,}, and the model has {vocab_size:,}. Copy the tokenizer from the original model."
        )
    if len(token_ids) <= budget:
        return prompt(token_ids, 0)
    fewest = 1 + bisect_left(range(1, len(starts)), True, key=lambda num: len(encoded(num)) <= budget)
    if fewest == len(starts):  # not even the last turn alone
        raise _overflow(tokenizer, request, starts[-1], len(encoded(len(starts) - 1)), context_length)
    return prompt(encoded(fewest), _num_dropped(request.messages, starts[fewest]))


def newest_start(tokenizer: Any, request: GenerationRequest, prompt: Prompt) -> int:
    """Where in the prompt a person's newest message begins, up to the few tokens that a template puts around it."""
    said = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
    end = len(prompt.token_ids) - (0 if prompt.verbatim else len(prompt.continued_ids))
    return max(0, end - len(plain_ids(tokenizer, said)) - (0 if prompt.verbatim else _FRAME))


def _reserve(request: GenerationRequest, context_length: int) -> int:
    """Tokens kept for the answer."""
    return min(request.max_tokens, context_length // 4)


def _answer_ids(tokenizer: Any, request: GenerationRequest, vocab_size: int) -> tuple[int, ...]:
    """The ids of the answer to be continued; none where its message says something else, as after an edit."""
    ids, messages = request.continued_ids, request.messages
    if not ids or max(ids) >= vocab_size or len(messages) < 2 or messages[-2].role == "assistant":
        return ()
    # How a text without a template begins depends on what stands before it, and a text that was kept has lost its NULs.
    said, whole = (text.replace("\0", "").lstrip(" ") for text in (messages[-1].text, text_of(tokenizer, ids)))
    return ids if whole in (said, said.rstrip("\ufffd")) else ()  # version 0.1.0 kept U+FFFD for a cut character


def _turn_starts(messages: tuple[Message, ...]) -> list[int]:
    """Where each turn begins: a turn is one or more user messages and the answers to them.

    >>> roles = ("system", "user", "assistant", "user", "user", "assistant", "user")
    >>> _turn_starts(tuple(Message.of(role, "x") for role in roles))
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


def _verbatim_ids(encoder: Encoder, request: GenerationRequest, messages: list[Message]) -> list[int]:
    """Without a template: the texts one after another, empty ones left out; an answer ends with its paragraph."""
    text = ""
    messages = [message for message in messages if message.text]
    for i, message in enumerate(messages):
        text += message.text
        follows = i + 1 < len(messages)
        if (follows and messages[i + 1].role == "user") or (message.role == "system" and follows):
            text += "\n\n"
    tokenizer = encoder.tokenizer
    start = tokenizer("", add_special_tokens=True)["input_ids"][:1]
    bos = start if start == [tokenizer.bos_token_id] else []
    return bos + encoder.typed_ids(text)


def _template_ids(encoder: Encoder, request: GenerationRequest, messages: list[Message]) -> list[int]:
    masked = [encoder.mask(message) for message in messages]
    text = render_prompt(encoder.tokenizer, masked, request.thinking, request.continue_final)
    return encoder.prompt_ids(text)


# --- what is too long


def _overflow(
    tokenizer: Any, request: GenerationRequest, start: int, num_tokens: int, context_length: int
) -> ContextOverflow:
    """The sentence for a last turn, from message `start` on, that makes `num_tokens` with the system prompt: it names
    the parts that do not fit by themselves, or all of them where only their sum does not."""
    last_turn = request.messages[start:]
    texts = {
        "the system prompt": [m.text for m in request.messages if m.role == "system"],
        "the last message": [m.text for m in last_turn if m.role == "user"],
        "the answer so far": [m.text for m in last_turn if m.role == "assistant"],
    }
    sizes = {part: sum(len(plain_ids(tokenizer, text)) for text in said) for part, said in texts.items()}
    sizes = {part: size for part, size in sizes.items() if size}
    reserve = _reserve(request, context_length)
    budget = context_length - reserve
    frame = num_tokens - sum(sizes.values())  # what the template adds
    long = [part for part, size in sizes.items() if frame + size > budget] or list(sizes)
    named = " and ".join(f"{part} ({sizes[part]:,} tokens)" for part in long)
    steps = ["allow fewer new tokens", "load the model with a longer context"]
    if shorter := [part for part in long if part != "the answer so far"]:
        steps.insert(0, f"shorten {' or '.join(shorter)}")
    return ContextOverflow(
        f"{named[0].upper()}{named[1:]} {'are' if len(long) > 1 else 'is'} too long: the prompt takes {num_tokens:,} "
        f"tokens, and the context holds {budget:,} ({context_length:,} less {reserve:,} for the answer). "
        f"{steps[0][0].upper()}{', '.join(steps[:-1])[1:]}, or {steps[-1]}."
    )

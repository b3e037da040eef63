"""Tokenizers with the chat templates of the usual families, and short ways to prompts built with them."""

from typing import Any

import pytest

from engine.config import GenerationRequest, Message, Role
from engine.prompt.context import Prompt, build_prompt
from tests.models import GEMMA, INSTRUCT, THINKING, byte_tokenizer, metaspace_tokenizer

CHAT = byte_tokenizer()
THINK = byte_tokenizer(template=THINKING)
GEMMA_LIKE = metaspace_tokenizer()
LLAMA_LIKE = metaspace_tokenizer(template=INSTRUCT)
PLAIN = byte_tokenizer(template=None)
STYLES: dict[str, Any] = {
    "bytes": CHAT,
    "thinking": THINK,
    "gemma": GEMMA_LIKE,
    "llama": LLAMA_LIKE,
    "first": metaspace_tokenizer(template=INSTRUCT, scheme="first"),
    "never": metaspace_tokenizer(template=GEMMA, scheme="never"),
    "legacy": metaspace_tokenizer(template=INSTRUCT, scheme="legacy"),
}
each_style = pytest.mark.parametrize("style", STYLES)


def turns(*contents: str, system: str = "") -> tuple[Message, ...]:
    """Messages with alternating roles, the user first."""
    roles: tuple[Role, Role] = ("user", "assistant")
    messages = tuple(Message.of(roles[i % 2], text) for i, text in enumerate(contents))
    return (Message.of("system", system), *messages) if system else messages


def prompt(tokenizer: Any, messages: tuple[Message, ...], context: int = 4096, **options: Any) -> Prompt:
    return build_prompt(tokenizer, GenerationRequest(messages=messages, **options), context, len(tokenizer))


def text_of(tokenizer: Any, built: Prompt) -> str:
    return str(tokenizer.decode(built.token_ids))

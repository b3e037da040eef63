"""Text to ids, where what a person types never becomes a control token, nor a token that the model does not have.

Where a message spells such a token, a placeholder stands for it while the chat template runs; then the template's own
control tokens get aliases that nobody can type, and a copy of the tokenizer knows them by these aliases alone. So typed
text is encoded in ordinary pieces.
"""

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from engine.config import Message
from engine.prompt.per_tokenizer import once_per_tokenizer

UNTYPABLE = secrets.token_hex(8)  # nobody can type what is not known before the process starts
_ALIAS = f"\ue002{UNTYPABLE}"  # begins an alias
_PLACEHOLDER = re.compile(f"\ue000{UNTYPABLE}\\.\\d+\ue001")


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes the rendered prompts of one request. `vocab_size`: how many tokens the model has."""

    tokenizer: Any
    vocab_size: int
    typed: dict[str, str] = field(default_factory=dict)  # placeholder -> the text that was typed

    def mask(self, message: Message) -> Message:
        """Put placeholders where the message spells control tokens or tokens that the model does not have."""
        controls = _controls(self.tokenizer, self.vocab_size)
        pattern = controls.in_answers if message.role == "assistant" else controls.anywhere
        return Message.of(message.role, pattern.sub(self._placeholder, message.text)) if pattern else message

    def _placeholder(self, match: re.Match[str]) -> str:
        name = f"\ue000{UNTYPABLE}.{len(self.typed)}\ue001"
        self.typed[name] = match[0]
        return name

    def prompt_ids(self, text: str) -> list[int]:
        """Encode what the template made of masked messages."""
        if not self.typed:
            ids = plain_ids(self.tokenizer, text)
            if max(ids, default=0) < self.vocab_size:
                return ids  # else a normaliser made such a token of what was typed in another spelling
        pattern = _controls(self.tokenizer, self.vocab_size).anywhere
        if pattern:
            text = pattern.sub(lambda match: _alias(match[0]), text)
        return self._careful_ids(_PLACEHOLDER.sub(lambda match: self.typed.get(match[0], match[0]), text))

    def typed_ids(self, text: str) -> list[int]:
        """Encode text in which nothing is the template's, since there is none."""
        pattern = _controls(self.tokenizer, self.vocab_size).anywhere
        if not (pattern and pattern.search(text)):
            ids = plain_ids(self.tokenizer, text)
            if max(ids, default=0) < self.vocab_size:
                return ids
        return self._careful_ids(text)

    def _careful_ids(self, text: str) -> list[int]:
        for normalized in (None, False):
            tokenizer = _with_aliases(self.tokenizer, self.vocab_size, normalized)
            encoding = tokenizer.encode(text, add_special_tokens=False)
            if sum(_ALIAS in token for token in encoding.tokens) >= text.count(_ALIAS):
                break  # else a normaliser changes an alias before it is looked for, as it does to the token itself
        ids: list[int] = encoding.ids
        return ids


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Encode text as the tokenizer does, control tokens included."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, verbose=False)  # how long is too long, we say
    return ids


def num_tokens(tokenizer: Any, text: str) -> int:
    """How many tokens a text makes, whatever stands around it."""
    return len(plain_ids(tokenizer, text))


@dataclass(frozen=True, slots=True)
class _Controls:
    """The strings that may not become tokens: in a model's own answers, and in what people write."""

    in_answers: re.Pattern[str] | None
    anywhere: re.Pattern[str] | None


@once_per_tokenizer
def _controls(tokenizer: Any, vocab_size: int) -> _Controls:
    never, marks = [], []
    for token_id, token in tokenizer.added_tokens_decoder.items():
        if token.special or token_id >= vocab_size:
            never.append(token.content)
        elif token.content in str(tokenizer.chat_template or ""):
            marks.append(token.content)  # Gemma marks turns with tokens that are not special
    return _Controls(_any_of(never), _any_of(never + marks))


def _any_of(strings: list[str]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(str.strip, strings), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _alias(control: str) -> str:
    return f"{_ALIAS}{control}{UNTYPABLE}\ue003"


@once_per_tokenizer
def _with_aliases(tokenizer: Any, vocab_size: int, normalized: bool | None) -> Any:
    """A copy of the fast tokenizer that knows its control tokens by their aliases only; `normalized`: whether it looks
    for them in normalised text, None as it does for the tokens themselves.

    Renaming, rather than splitting and encoding the parts, keeps everything else as it is: what a word piece at a
    seam looks like depends on the tokenizer's normaliser, and a Unigram model finds control tokens by itself.
    """
    from tokenizers import Tokenizer

    data = json.loads(tokenizer.backend_tokenizer.to_str())
    pattern = _controls(tokenizer, vocab_size).anywhere
    aliases = {
        token["content"]: _alias(token["content"])
        for token in data["added_tokens"]
        if pattern and pattern.fullmatch(token["content"])
    }
    for token in data["added_tokens"]:
        if token["content"] in aliases:
            token["content"] = aliases[token["content"]]
            token["normalized"] = token["normalized"] if normalized is None else normalized
    model = data["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {aliases.get(piece, piece): i for piece, i in model["vocab"].items()}
    else:
        model["vocab"] = [[aliases.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in aliases:
        model["unk_token"] = aliases[model["unk_token"]]
    data["post_processor"] = None
    return Tokenizer.from_str(json.dumps(data))

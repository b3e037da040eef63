"""Token ids to text, one token at a time: never half a character, never a part of a stop string.

Knows nothing about models or templates. The pieces of a stream join to what the tokenizer makes of all its ids
with special tokens skipped, less an unfinished character at the end.

A tokenizer with byte fallback (SentencePiece) turns a whole run of byte tokens into U+FFFD when one of them is bad, so
a run is held until it ends, or until it completes a stop string ("\\n" is a byte token to Llama 2). Only past 32 bytes
without another token are its whole characters given out early; what was given out is never taken back.

A stop string may spell special tokens, as "<|im_end|>" does. They stand in the text that is searched as lone
surrogates, which no decoded text contains, and are taken out of what is given out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.prompt.per_tokenizer import once_per_tokenizer

_HALF = "�"
_MAX_HELD = 3  # bytes of an unfinished UTF-8 character, each of which may decode to one U+FFFD
_MAX_WINDOW = 32  # tokens; a window is longer only while nothing but broken characters arrives
_FIRST_MARK = 0xD800  # the first lone surrogate
_MARKS = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TextStep:
    """What one token added: text that is final, and whether a stop string was completed."""

    text: str
    stopped: bool


class TextStream:
    """Turns the tokens of one answer into text as they come, in O(1) amortised per token.

    `before` are the ids of the text that the answer continues: they decide whether the first word gets its leading
    space, and may end in the middle of a character. For a new text leave them empty.
    """

    def __init__(self, tokenizer: Any, before: Sequence[int] = (), stop: tuple[str, ...] = ()) -> None:
        self._tokenizer = tokenizer
        self._skipped = special_ids(tokenizer)
        self._bytes = byte_ids(tokenizer)
        self._replacement = _replacement_ids(tokenizer)
        self._marks, self._stop = _marked(tokenizer, self._skipped, stop)
        self._window, self._boundary, self._given = self._resume([i for i in before if i not in self._skipped])
        self._held = ""  # final text that may begin a stop string
        self._stopped = False
        self._pieces: list[str] = []

    def _resume(self, before: list[int]) -> tuple[list[int], int, str]:
        """The window behind a text, how many of its tokens are given out, and their text."""
        for skipped in range(_MAX_HELD + 1):  # not to begin inside a character
            window = before[-_MAX_WINDOW:][skipped:]
            given, num_given = _whole_text(self._tokenizer, window)
            if len(before) <= _MAX_WINDOW or not given.startswith(_HALF):
                break
        return window, num_given, given

    @property
    def text(self) -> str:
        """All text given out so far."""
        return "".join(self._pieces)

    def spelled(self, *token_ids: int) -> str:
        """What tokens say by themselves, special tokens by their names."""
        return str(self._tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False))

    def push(self, token_id: int) -> TextStep:
        """Add one token. After a stop string was completed nothing more is given out."""
        if self._stopped:
            return TextStep("", True)
        if token_id in self._marks:  # a stop string spells it
            return self._emit(self._take_whole() + self._marks[token_id])
        if token_id in self._skipped:
            return TextStep("", False)
        return self._emit(self._advance(token_id))

    def flush(self) -> TextStep:
        """Give out what was held back, unless that completes a stop string; the stream ends here.

        An unfinished character is left out: the answer may be continued, and then it comes whole.
        """
        if self._stopped:
            return TextStep("", True)
        step = self._emit(self._take_whole())
        if not step.stopped:
            rest = _MARKS.sub("", self._held)
            self._pieces.append(rest)
            step = TextStep(step.text + rest, False)
        self._held = ""
        self._stopped = True
        return step

    def _decode(self, token_ids: list[int]) -> str:
        return _decode(self._tokenizer, token_ids)

    def _advance(self, token_id: int) -> str:
        """Add a token to the window and return the text that became final."""
        self._window.append(token_id)
        if token_id in self._bytes:
            return self._advance_run()
        return self._advance_whole()

    def _advance_run(self) -> str:
        """A byte token came last: wait for the run's end, or give out its whole characters."""
        if len(self._window) - self._boundary < _MAX_WINDOW:
            return self._stop_in_run()
        new = self._whole_characters()
        return self._advance_whole() if new is None else new

    def _whole_characters(self) -> str | None:
        """Give out a run of bytes up to its last whole character; None where bad bytes leave none to be sure of."""
        for num_open in range(_MAX_HELD + 1):  # tokens of a character that is not complete yet
            end = len(self._window) - num_open
            full = self._decode(self._window[:end])
            if full.startswith(self._given) and not full.endswith(_HALF):
                new, opened = full[len(self._given) :], self._window[end:]
                self._window = self._window[:end]
                self._start_window()
                self._window += opened
                return new
        return None

    def _take_whole(self) -> str:
        """All the text that is held back, less an unfinished character."""
        if _ends_with(self._window, self._replacement):  # U+FFFD itself, which is whole
            new = self._text_of_window()[len(self._given) :]
            self._start_window()
            return new
        in_run = self._window and self._window[-1] in self._bytes
        if in_run and (characters := self._whole_characters()) is not None:
            return characters
        new = _without_half(self._text_of_window())[len(self._given) :]
        self._given += new
        return new

    def _stop_in_run(self) -> str:
        """The run's text where it completes a stop string, for then nothing follows that could take it back."""
        if not self._stop:
            return ""
        full = self._decode(self._window)
        new = full[len(self._given) :] if full.startswith(self._given) else ""
        return new if _HALF not in new and any(s in self._held + new for s in self._stop) else ""

    def _text_of_window(self) -> str:
        """The window's text, which begins with what is given out; the window shrinks where it would not."""
        full = self._decode(self._window)
        if full.startswith(self._given):
            return full
        del self._window[: self._boundary]  # byte fallback took a run of bytes back: go on without what was given
        self._boundary, self._given = 0, ""
        return self._decode(self._window)

    def _advance_whole(self) -> str:
        """Return what of the window's text became final."""
        full = self._text_of_window()
        final = _without_half(full)
        new = final[len(self._given) :]
        if len(final) < len(full):
            self._given += new
            if len(self._window) > _MAX_WINDOW:
                self._cut(len(full) - len(self._given))
        elif new:
            self._start_window()
        elif full:
            self._window.pop()  # a token without text changes nothing
        return new

    def _start_window(self) -> None:
        """Everything is given out: keep only the newest tokens, as the context of the next ones."""
        start = self._boundary
        while start and not self._decode(self._window[start:]):  # a lone space, say: no context by itself
            start = max(0, start - _MAX_HELD)
        del self._window[:start]
        self._given = self._decode(self._window)
        self._boundary = len(self._window)

    def _cut(self, num_held: int) -> None:
        """Shorten a window of broken characters; its text still ends in `num_held` characters not given out."""
        self._window = self._window[-2 * _MAX_HELD :]
        text = self._decode(self._window)
        self._given = text[: max(0, len(text) - num_held)]
        self._boundary = 0

    def _emit(self, text: str) -> TextStep:
        """Pass final text on, less what precedes or may begin a stop string."""
        if not self._stop:
            self._pieces.append(text)
            return TextStep(text, False)
        self._held += text
        found = [position for s in self._stop if (position := self._held.find(s)) >= 0]
        if found:
            out, self._held, self._stopped = self._held[: min(found)], "", True
        else:
            cut = len(self._held) - _stop_tail(self._held, self._stop)
            out, self._held = self._held[:cut], self._held[cut:]
        out = _MARKS.sub("", out)
        self._pieces.append(out)
        return TextStep(out, self._stopped)


@once_per_tokenizer
def special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids that decoding skips; asked of the decoder itself, since flags and fact differ in some tokenizers."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(
        tokenizer.all_special_ids
    )
    return frozenset(i for i in marked if not tokenizer.decode([i], skip_special_tokens=True))


@once_per_tokenizer
def byte_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of SentencePiece's byte tokens, <0x00> to <0xFF>; none in a byte-level vocabulary."""
    ids = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(256)])
    return frozenset(i for i in ids if i is not None and i != tokenizer.unk_token_id)


@once_per_tokenizer
def _replacement_ids(tokenizer: Any) -> list[int]:
    """The ids that spell U+FFFD, less the space that a tokenizer may put before it."""
    ids: list[int] = tokenizer.encode(_HALF, add_special_tokens=False)
    return ids[1:] if len(ids) > 1 and not tokenizer.decode(ids[:1]).strip() else ids


def text_of(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text of an answer that ends with these ids: what a stream gives out for them."""
    skipped = special_ids(tokenizer)
    return _whole_text(tokenizer, [i for i in token_ids if i not in skipped])[0]


def _decode(tokenizer: Any, token_ids: list[int]) -> str:
    text: str = tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _whole_text(tokenizer: Any, ids: list[int]) -> tuple[str, int]:
    """The text of `ids` less an unfinished character at the end, and how many of the ids are in it as a whole."""
    if _ends_with(ids, _replacement_ids(tokenizer)):
        return _decode(tokenizer, ids), len(ids)
    texts = [_decode(tokenizer, ids[: len(ids) - num_open]) for num_open in range(min(_MAX_HELD, len(ids)) + 1)]
    whole = next((num_open for num_open, text in enumerate(texts) if not text.endswith(_HALF)), None)
    if whole is None:  # broken characters all the way
        return _without_half(texts[0]), len(ids)
    in_run = bool(ids) and ids[-1] in byte_ids(tokenizer)
    return texts[whole] if in_run else _without_half(texts[0]), len(ids) - whole


def _ends_with(ids: list[int], tail: list[int]) -> bool:
    return bool(tail) and ids[-len(tail) :] == tail


def _marked(tokenizer: Any, skipped: frozenset[int], stop: tuple[str, ...]) -> tuple[dict[int, str], tuple[str, ...]]:
    """A mark for each special token that a stop string spells, and the stop strings, with marks and without."""
    texts: dict[str, int] = {text: i for i in skipped if (text := str(tokenizer.convert_ids_to_tokens(i)))}
    spelled = [text for text in sorted(texts, key=len, reverse=True) if any(text in s for s in stop)]
    marks = {text: chr(_FIRST_MARK + number) for number, text in enumerate(spelled)}
    if not marks:
        return {}, stop
    pattern = re.compile("|".join(map(re.escape, spelled)))
    with_marks = tuple(pattern.sub(lambda match: marks[match[0]], s) for s in stop)
    return {texts[text]: mark for text, mark in marks.items()}, tuple(dict.fromkeys(with_marks + stop))


def _without_half(text: str) -> str:
    """Text less the characters at its end that the next token may still complete."""
    end = len(text)
    while end and len(text) - end < _MAX_HELD and text[end - 1] == _HALF:
        end -= 1
    return text[:end]


def _stop_tail(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest end of `text` that begins a stop string.

    >>> _stop_tail("one, two\\n\\nUs", ("\\n\\nUser:", "###"))
    4
    """
    longest = max(map(len, stop)) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(s.startswith(text[-length:]) for s in stop):
            return length
    return 0

"""The options of a question, and the batch format: one question a line as JSON, for `ask --batch` and benchmarks.

A line holds exactly one of `prompt` (text), `messages` (a list of {role, content} that ends in a user's turn) and
`turns` (a list of a user's texts, asked one after the other with the answers fed back; benchmarks only). Any flag of
`ask` may stand beside it as a key with underscores; `id` and `category` label the line. Blank lines are skipped.

Knows the format, not what is done with it: no engine, no torch.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_origin

from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.options import options_of, shown

_CONTENT_KEYS = ("prompt", "messages", "turns")
_LABEL_KEYS = ("id", "category")
MODEL_OPTIONS = tuple(name for name in options_of(ModelSpec) if name != "memory_tokens")  # no other conversations here
SAMPLING_OPTIONS = tuple(options_of(Sampling))
ANSWER_OPTIONS = tuple(options_of(GenerationRequest))
_OPTIONS = ("system", *MODEL_OPTIONS, *SAMPLING_OPTIONS, *ANSWER_OPTIONS)
_KEYS = tuple(name for name in _OPTIONS if name != "offline")  # of a line
_TEXTS = {
    "system",
    *(
        each.name
        for cls in (ModelSpec, Sampling, GenerationRequest)
        for each in fields(cls)
        if each.name in _OPTIONS and (each.type is str or get_origin(each.type) is Literal)
    ),
}


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text; got {shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"{name} is not valid Unicode: half a surrogate pair at character {exc.start}.") from exc
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a list; got {shown(value)}.")
    return tuple(_text(f"{name}[{index}]", item) for index, item in enumerate(value))


def _template() -> GenerationRequest:
    return GenerationRequest(messages=(Message.of("user", "the question"),))


def _only(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every option of one question: which model, and a request to which only the messages are missing.

    Their names are those of the fields that have an `engine.options.Option`, so that a new one is known here at once.

    >>> Options.of(max_tokens=64).updated({"temperature": 0.8, "stop": "END"}).request_for("Hi").stop
    ('END',)
    """

    spec: ModelSpec = field(default_factory=ModelSpec)
    template: GenerationRequest = field(default_factory=_template)
    system: str | None = None

    @classmethod
    def of(cls, **values: Any) -> Self:
        """The defaults with these options on top; `ValueError` for a value that does not fit."""
        return cls()._with(values)

    def updated(self, keys: Mapping[str, Any]) -> Self:
        """These options with the keys of one line on top; null is "not set". `ValueError` for a wrong key or type."""
        unknown = sorted(set(keys) - set(_KEYS))
        if unknown:
            names = ", ".join((*_CONTENT_KEYS, *_LABEL_KEYS, *_KEYS))
            raise ValueError(f"unknown key {unknown[0]!r}; known are {names}.")
        return self._with({name: value for name, value in keys.items() if value is not None})

    def _with(self, values: dict[str, Any]) -> Self:
        for name in _TEXTS & set(values):
            _text(name, values[name])
        if "stop" in values:
            stop = values["stop"]
            values["stop"] = (_text("stop", stop),) if isinstance(stop, str) else _texts("stop", stop)
        return replace(
            self,
            spec=replace(self.spec, **_only(MODEL_OPTIONS, values)),
            template=replace(
                self.template,
                sampling=replace(self.template.sampling, **_only(SAMPLING_OPTIONS, values)),
                **_only(ANSWER_OPTIONS, values),
            ),
            system=values.get("system", self.system),
        )

    def request_for(self, text: str) -> GenerationRequest:
        """The request for an answer to one message of the user's."""
        return self.request([Message.of("user", text)])

    def request(self, messages: Sequence[Message]) -> GenerationRequest:
        """The request for an answer to `messages`, with the system message in front where they bring none."""
        messages = tuple(messages)
        if self.system and not any(message.role == "system" for message in messages):
            messages = (Message.of("system", self.system), *messages)
        return replace(self.template, messages=messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLine:
    """One line of a file: `turns` are the user's texts still to be asked, `history` what was said before them."""

    number: int
    options: Options
    turns: tuple[str, ...]
    history: tuple[Message, ...] = ()
    name: str = ""
    category: str = ""

    def request(self) -> GenerationRequest:
        """The request for the first turn's answer."""
        return self.options.request((*self.history, Message.of("user", self.turns[0])))


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"messages must be a non-empty list of {{role, content}}; got {shown(value)}.")
    messages = []
    for index, item in enumerate(value):
        if not isinstance(item, dict) or set(item) != {"role", "content"}:
            raise ValueError(f"messages[{index}] must have the keys role and content and no other; got {shown(item)}.")
        messages.append(Message.of(item["role"], _text(f"messages[{index}].content", item["content"])))
    if messages[-1].role != "user":
        raise ValueError(f"the last of the messages must be the user's; its role is {messages[-1].role!r}.")
    return tuple(messages)


def _content(data: dict[str, Any], with_turns: bool) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """(history, turns) of a line."""
    given = [key for key in _CONTENT_KEYS if key in data]
    if len(given) != 1:
        raise ValueError(f"needs exactly one of {', '.join(_CONTENT_KEYS)}; got {' and '.join(given) or 'none'}.")
    if given == ["prompt"]:
        return (), (_text("prompt", data["prompt"]),)
    if given == ["messages"]:
        messages = _messages(data["messages"])
        if data.get("system") is not None and any(message.role == "system" for message in messages):
            raise ValueError("has a system message and the key system; keep one of them.")
        return messages[:-1], (messages[-1].text,)
    if not with_turns:
        raise ValueError("turns is for the benchmarks; give the conversation as messages.")
    turns = _texts("turns", data["turns"])
    if not turns or not all(turn.strip() for turn in turns):
        raise ValueError("turns must be a non-empty list of non-empty texts.")
    return (), turns


def parse_line(text: str | bytes, number: int, defaults: Options, *, with_turns: bool = False) -> PromptLine:
    """One line of the batch format; `ValueError` says what is wrong with it, and in which line."""
    try:
        try:
            data = json.loads(text.decode() if isinstance(text, bytes) else text)
        except UnicodeDecodeError as exc:
            raise ValueError(f"is not UTF-8 text (byte {exc.start}).") from exc
        except json.JSONDecodeError as exc:
            raise ValueError(f"is not JSON: {exc.msg} at character {exc.pos}.") from exc
        except ValueError as exc:  # Python's limit for digits
            raise ValueError("holds a number with too many digits.") from exc
        except RecursionError as exc:
            raise ValueError("is nested too deeply to be read.") from exc
        if not isinstance(data, dict):
            raise ValueError(f'must be an object such as {{"prompt": "Hello"}}; got {shown(data)}.')
        history, turns = _content(data, with_turns)
        labels = {
            key: _text(key, str(data[key]) if isinstance(data[key], int) else data[key])
            for key in _LABEL_KEYS
            if data.get(key) is not None
        }
        rest = {key: value for key, value in data.items() if key not in (*_CONTENT_KEYS, *_LABEL_KEYS)}
        line = PromptLine(
            number=number,
            options=defaults.updated(rest),
            turns=turns,
            history=history,
            name=labels.get("id", f"{number}"),
            category=labels.get("category", ""),
        )
        line.request()
    except ValueError as exc:
        raise ValueError(f"Line {number}: {exc}") from exc
    return line


def read_lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1; a byte order mark is dropped."""
    for number, raw in enumerate(file, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if line.strip():
            yield number, line.strip()

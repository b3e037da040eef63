"""What is asked of the engine: which model, which sampling, which request. Frozen values, no torch.

They cross the pipe between the page's process and the engine's as JSON: `to_json()` / `from_json()`.
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

Mode = Literal["adaptive", "plain"]
Exactness = Literal["exact", "fast"]
Quant = Literal["none", "int8", "nf4"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Role = Literal["system", "user", "assistant"]
DrafterName = Literal["adaptive", "prompt-lookup", "anpd", "suffix", "recycling", "racer"]

DTYPE_ALIASES: dict[str, Dtype] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
STARTER = "starter"
MEMORY_TOKENS = 200_000


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")


def _number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise ValueError(f"{name} must be a number; got {value!r}.")
    if not low <= value <= high:  # a whole number may be larger than any float
        raise ValueError(f"{name} must be between {low:g} and {high:g}; got {value}.")


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number; got {value!r}.")
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}; got {value}.")


def _known_fields(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"Unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}.")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model to load, and how. `model` is "starter", a folder, or a Hub id such as `Qwen/Qwen3-0.6B`."""

    model: str = STARTER
    dtype: Dtype = "auto"
    device: str = "auto"  # auto | cpu | cuda | cuda:N | mps
    quant: Quant = "none"
    threads: int | None = None
    max_context: int | None = None  # tokens; None: what the model was trained for, or what fits
    offline: bool = False
    stock_layers: bool = False  # run transformers' own modules, as the negative control does
    afresh: bool = False  # probe and measure as if nothing were known of an earlier load
    memory_tokens: int = MEMORY_TOKENS  # of other conversations that drafts may draw on; 0: none

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip() or "\0" in self.model:
            raise ValueError("model must be 'starter', a folder, or a Hub id such as Qwen/Qwen3-0.6B.")
        object.__setattr__(self, "dtype", DTYPE_ALIASES.get(self.dtype, self.dtype))
        _one_of("dtype", self.dtype, get_args(Dtype))
        _one_of("quant", self.quant, get_args(Quant))
        device_ok = self.device in ("auto", "cpu", "cuda", "mps") or (
            self.device.startswith("cuda:") and self.device[5:].isdecimal() and self.device.isascii()
        )
        if not device_ok:
            raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps; got {self.device!r}.")
        if self.threads is not None:
            _whole("threads", self.threads, 1, 1024)
        if self.max_context is not None:
            _whole("max_context", self.max_context, 64, 2**24)
        _whole("memory_tokens", self.memory_tokens, 0, 10**7)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**_known_fields(cls, data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is picked from the model's distribution. Temperature 0 is greedy, and so is one below 1e-5."""

    temperature: float = 0.0
    top_k: int = 0  # 0: off
    top_p: float = 1.0  # 1: off
    min_p: float = 0.0  # 0: off
    repetition_penalty: float = 1.0  # 1: off; over prompt and answer, as transformers does
    seed: int = 0

    def __post_init__(self) -> None:
        _number("temperature", self.temperature, 0.0, 10.0)
        _whole("top_k", self.top_k, 0, 1_000_000)
        _number("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise ValueError("top_p must be above 0; 1 switches it off.")
        _number("min_p", self.min_p, 0.0, 1.0)
        _number("repetition_penalty", self.repetition_penalty, 0.01, 10.0)
        _whole("seed", self.seed, 0, 2**63 - 1)

    @property
    def greedy(self) -> bool:
        return self.temperature < 1e-5  # vLLM's bound: dividing logits by less soon overflows

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**_known_fields(cls, data))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: a pure value, identity belongs to the store."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        _one_of("role", self.role, get_args(Role))
        if not isinstance(self.content, str):
            raise ValueError(f"content must be text; got {type(self.content).__name__}.")
        try:
            self.content.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(
                f"The message holds half a character (a lone surrogate, U+{ord(self.content[exc.start]):04X}) at place "
                f"{exc.start + 1}: remove it and send again."
            ) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One answer to be generated.

    `messages` are the turns so far, oldest first, ending in a user turn, or in an assistant turn that is to be
    continued when `continue_final` is set; `continued_ids` are then its token ids, where they are known. In mode
    "adaptive" `drafter` says who drafts. `conversation` names the
    one they belong to, so that later answers in others can draft from it; None: nobody remembers it. With `memory`
    this answer itself drafts from the other conversations that the engine knows, and without it is not remembered
    either.
    """

    messages: tuple[Message, ...]
    mode: Mode = "adaptive"
    drafter: DrafterName = "adaptive"
    exactness: Exactness = "exact"
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    thinking: bool | None = None  # None: the template's default
    continue_final: bool = False
    continued_ids: tuple[int, ...] = ()
    conversation: str | None = None
    memory: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "continued_ids", tuple(self.continued_ids))
        _one_of("mode", self.mode, get_args(Mode))
        _one_of("drafter", self.drafter, get_args(DrafterName))
        _one_of("exactness", self.exactness, get_args(Exactness))
        _whole("max_tokens", self.max_tokens, 1, 1_000_000)
        if not isinstance(self.memory, bool):
            raise ValueError(f"memory must be true or false; got {self.memory!r}.")
        if not all(isinstance(s, str) and s for s in self.stop):
            raise ValueError("stop strings must be non-empty text.")
        if not self.messages:
            raise ValueError("A request needs at least one message.")
        last = self.messages[-1].role
        if self.continue_final != (last == "assistant"):
            raise ValueError("The last message must be the user's, unless the assistant's is to be continued.")
        if self.continued_ids and not self.continue_final:
            raise ValueError("continued_ids belong to an answer that is continued: set continue_final.")
        for token_id in self.continued_ids:
            _whole("continued_ids", token_id, 0, 2**31 - 1)
        if last == "user" and not self.messages[-1].content.strip():
            raise ValueError("The message is empty: write something first.")
        if not any(message.content for message in self.messages):
            raise ValueError("There is nothing to continue: all messages are empty.")

    def with_mode(self, mode: Mode) -> Self:
        return replace(self, mode=mode)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        data = dict(_known_fields(cls, data))
        data["messages"] = tuple(Message(**m) for m in data.get("messages", ()))
        data["stop"] = tuple(data.get("stop", ()))
        if "sampling" in data:
            data["sampling"] = Sampling.from_json(data["sampling"])
        return cls(**data)

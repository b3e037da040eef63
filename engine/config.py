"""What is asked of the engine: which model, which sampling, which request. Frozen values, no torch.

Standard library only: the command line knows these fields before the environment stands. `engine.codec` writes them as
JSON and reads them again.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from engine.options import check, option

Mode = Literal["adaptive", "plain"]
Exactness = Literal["exact", "fast"]
Quant = Literal["none", "int8", "nf4"]
Backend = Literal["torch", "llama-cpp"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Role = Literal["system", "user", "assistant"]
Certify = Literal["first", "background", "never"]
DrafterName = Literal["adaptive", "prompt-lookup", "anpd", "suffix", "recycling", "racer"]

DTYPE_ALIASES: dict[str, Dtype] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
STARTER = "starter"
SMOLLM2 = "smollm2"  # the model that comes along, where its package is installed
OWN_NAMES = (SMOLLM2, STARTER)  # models that are neither files nor on the Hub
CHECKED_CONTEXT = 4096  # tokens: probe and clock use no longer one: what they find holds beyond
MEMORY_TOKENS = 200_000
MOST_LIKELIEST = 20  # tokens whose logprobs are reported in one place


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model to load, and how: one of `OWN_NAMES`, a folder, a GGUF file, or a Hub id: `Qwen/Qwen3-0.6B`, or
    `Qwen/Qwen3-0.6B-GGUF:Q8_0`."""

    model: str = option(
        STARTER, "smollm2, starter, a folder, a GGUF file, or a Hub id: Qwen/Qwen3-0.6B, Qwen/Qwen3-4B-GGUF:Q4_K_M"
    )
    dtype: Dtype = option("auto", "number format of the weights")
    adapter: str = option(
        "", "merge the LoRA adapter in this folder (PEFT's format) into the weights", metavar="FOLDER"
    )
    no_adapter: bool = option(False, "load smollm2 without the adapter that comes along")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    quant: Literal["auto", Quant] = option(
        "auto", "quantise the weights; auto: in 8 bits on a processor where a GGUF file has no more"
    )
    backend: Literal["auto", Backend] = option("auto", "what computes: llama-cpp takes GGUF files on a processor")
    drafter_pack: str = option(
        "auto",
        "draft with a trained pack too: auto (the pack of this model, if any), none, or a folder with a pack",
        metavar="PACK",
    )
    threads: int | None = option(None, "processor threads; all cores by default", low=1, high=1024)
    max_context: int | None = option(
        None, "tokens of a conversation at most; by default what the model knows and memory holds",
        low=64, high=2**24, metavar="N",
    )  # fmt: skip
    offline: bool = option(False, "ask nothing of the network")
    stock_layers: bool = False  # run transformers' own modules, as the negative control does
    reprobe: bool = False  # probe and measure as if nothing were known of an earlier load
    # What is not known of the model is found out before the load ends ("first"), while nobody asks ("background"), or
    # not at all ("never"): until then answers are plain.
    certify: Certify = "first"
    memory_tokens: int = option(
        MEMORY_TOKENS, "drafts may draw on so many tokens of your other conversations; 0: on none",
        low=0, high=10**7, metavar="N",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip() or "\0" in self.model:
            raise ValueError(
                "model must be 'smollm2', 'starter', a folder, a GGUF file, or a Hub id such as Qwen/Qwen3-0.6B."
            )
        if self.adapter and self.no_adapter:
            raise ValueError("adapter and no_adapter exclude each other: leave one of the two out.")
        if not self.drafter_pack.strip() or "\0" in self.drafter_pack:
            raise ValueError("drafter_pack must be 'auto', 'none', or a folder with a drafter pack.")
        object.__setattr__(self, "dtype", DTYPE_ALIASES.get(self.dtype, self.dtype))
        check(self)
        device_ok = self.device in ("auto", "cpu", "cuda", "mps") or (
            self.device.startswith("cuda:") and self.device[5:].isdecimal() and self.device.isascii()
        )
        if not device_ok:
            raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps; got {self.device!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is picked from the model's distribution. Temperature 0 is greedy, and so is one below 1e-5."""

    temperature: float = option(0.0, "0 is greedy", low=0, high=10)
    top_k: int = option(0, "keep the K likeliest tokens; 0 is off", low=0, high=1_000_000, metavar="K")
    top_p: float = option(1.0, "keep the likeliest tokens up to this probability; 1 is off", low=0, high=1, metavar="P")
    min_p: float = option(0.0, "drop tokens below this share of the likeliest; 0 is off", low=0, high=1, metavar="P")
    repetition_penalty: float = option(1.0, "over prompt and answer; 1 is off", low=0.01, high=10, metavar="F")
    seed: int = option(0, "of the random choices", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        check(self)
        if self.top_p == 0:
            raise ValueError("top_p must be above 0; 1 switches it off.")

    @property
    def greedy(self) -> bool:
        return self.temperature < 1e-5  # vLLM's bound: dividing logits by less soon overflows


@dataclass(frozen=True, slots=True)
class TextPart:
    """A stretch of text in a message."""

    text: str

    def __post_init__(self) -> None:
        check(self)
        try:
            self.text.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(
                f"The message holds half a character (a lone surrogate, U+{ord(self.text[exc.start]):04X}) at position "
                f"{exc.start + 1}: remove it and send again."
            ) from exc


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: a pure value, identity belongs to the store.

    >>> Message.of("user", "Hello").text
    'Hello'
    """

    role: Role
    parts: tuple[TextPart, ...]  # text alone, so far

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        check(self)

    @classmethod
    def of(cls, role: Role, text: str) -> Self:
        """A message of text alone."""
        return cls(role, (TextPart(text),))

    @property
    def text(self) -> str:
        """The text of all parts."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One answer to be generated.

    `messages` are the turns so far, oldest first, ending in a user turn, or in an assistant turn that is to be
    continued when `continue_final` is set; its `continued_ids`, where given, are continued exactly, instead of what
    its text would be tokenised to. `conversation` names the one they belong to, so that later answers in others can
    draft from it; None: it is not remembered. With `memory` this answer drafts from the other conversations that the
    engine knows; without it the answer is not remembered either. `elsewhere` is what was said on other branches of
    this conversation: this answer drafts from it, and no other one does. `private`: nothing of the conversation is
    remembered, cached or learned from once another one is answered, or it is forgotten.
    """

    messages: tuple[Message, ...]
    mode: Mode = option("adaptive", "adaptive: with drafts; plain: without")
    drafter: DrafterName = option("adaptive", "the drafter of mode adaptive")
    exactness: Exactness = option("exact", "exact: certified widths; fast: fastest kernels")
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = option(512, "end after N tokens", low=1, high=1_000_000, metavar="N")
    stop: tuple[str, ...] = option((), "end at this text; may be given several times", metavar="TEXT")
    ignore_eos: bool = option(False, "go on after the model's end token")
    thinking: bool | None = None  # None: the template's default
    num_likeliest: int | None = None  # report each token's logprob, and of so many of the likeliest in its place
    verbatim: bool = False  # the messages' text is completed as it stands, without the chat template
    continue_final: bool = False
    continued_ids: tuple[int, ...] = ()  # the final message's token ids, where they are known
    conversation: str | None = None
    memory: bool = True
    elsewhere: tuple[str, ...] = ()
    private: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "continued_ids", tuple(self.continued_ids))
        object.__setattr__(self, "elsewhere", tuple(self.elsewhere))
        check(self)
        if self.num_likeliest is not None and not 0 <= self.num_likeliest <= MOST_LIKELIEST:
            raise ValueError(f"num_likeliest must be between 0 and {MOST_LIKELIEST}; got {self.num_likeliest}.")
        if not all(isinstance(s, str) and s for s in self.stop):
            raise ValueError("stop strings must be non-empty text.")
        if not self.messages:
            raise ValueError("A request needs at least one message.")
        last = self.messages[-1].role
        if self.continue_final != (last == "assistant"):
            raise ValueError("The last message must be the user's, unless the assistant's is to be continued.")
        if self.continued_ids and not self.continue_final:
            raise ValueError("continued_ids belong to an answer that is continued: set continue_final.")
        if not all(type(token_id) is int and 0 <= token_id < 2**31 for token_id in self.continued_ids):
            raise ValueError("continued_ids must be whole numbers from 0 on.")
        if last == "user" and not self.messages[-1].text.strip():
            raise ValueError("The message is empty: write something first.")
        if not any(message.text for message in self.messages):
            raise ValueError("There is nothing to continue: all messages are empty.")

    def with_mode(self, mode: Mode) -> Self:
        return replace(self, mode=mode)

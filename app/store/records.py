"""What the store returns: frozen values, no database behind them.

Messages form a tree: an edited question and a regenerated answer are siblings, numbered by `sibling_index` of
`sibling_count`. A conversation's *tip* is the leaf whose path from the root is on the page.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from app.store.text import clean_text
from engine import codec
from engine.config import DrafterName, Exactness, GenerationRequest, Mode, Role, Sampling
from engine.events import Certificate, StopReason, Verdict
from engine.metrics import GenerationStats
from engine.options import check, same

Status = Literal["complete", "streaming", "stopped", "interrupted", "error"]

SYSTEM_LIMIT = 200_000  # characters, as for a message


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSettings(codec.Settings):
    """How answers are made in one conversation.

    `seed` None: every sampled answer takes a new random seed; a number: that seed (`sampling.seed` is not read).
    """

    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = same(GenerationRequest, "max_tokens", 1024)
    mode: Mode = "adaptive"
    exactness: Exactness = "exact"
    thinking: bool | None = None  # None: the template's default
    seed: int | None = same(Sampling, "seed", None)
    memory: bool = True  # drafts from the other conversations, and they from this one
    drafter: DrafterName = "adaptive"  # who drafts while drafting is on

    def __post_init__(self) -> None:
        if not isinstance(self.system, str):
            raise ValueError("The system prompt must be text.")
        object.__setattr__(self, "system", clean_text(self.system))
        if len(self.system) > SYSTEM_LIMIT:
            raise ValueError(
                f"The system prompt has {len(self.system):,} characters; at most {SYSTEM_LIMIT:,} fit. Shorten it."
            )
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    id: int
    title: str
    created: datetime
    updated: datetime
    settings: ConversationSettings
    tip_id: int | None
    pinned: bool
    archived: bool = False  # out of the list; search finds it
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """A line of the list; `snippet` is the text around what was searched for in the message `message_id`, if any."""

    id: int
    title: str
    updated: datetime
    snippet: str = ""
    message_id: int | None = None
    pinned: bool = False
    archived: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(codec.Keeping):
    """One generation with every figure, as it was; a comparison leaves two on its answer, plain then adaptive."""

    model: str
    mode: Mode
    sampling: Sampling  # its seed is the one that was used
    stop_reason: StopReason
    stats: GenerationStats
    certificate: Certificate
    created: datetime
    verdict: Verdict | None = None  # on the adaptive run of a comparison
    dropped_turns: int = 0  # oldest messages that did not fit into the prompt
    drafter: DrafterName = "adaptive"  # in mode "plain" it was not asked

    @property
    def seed(self) -> int:
        return self.sampling.seed

    @property
    def exactness(self) -> Exactness:
        return self.certificate.setting

    @property
    def tier(self) -> str:
        return self.certificate.tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file or a long paste that goes with a message, as text. `size`: of the file, in bytes."""

    id: int
    name: str
    kind: str  # "text", "pdf", "docx", "pasted", or what a newer version calls it
    size: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message with its position in the tree. `error` is the sentence to show beside an answer that failed.

    `repeats`: an earlier version has the same text.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    role: Role
    text: str
    token_ids: tuple[int, ...]
    status: Status
    created: datetime
    error: str | None = None
    sibling_index: int = 0
    sibling_count: int = 1
    repeats: bool = False
    runs: tuple[RunRecord, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def run(self) -> RunRecord | None:
        """The run whose tokens the message holds: the last one."""
        return self.runs[-1] if self.runs else None

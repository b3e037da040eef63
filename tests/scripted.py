"""An engine without a model: the same face as the real one, a scripted answer, figures that add up.

It imports no torch, so it stands in for the engine in tests of the chat logic, the page and the worker's process.
Its clock is scripted too: a round takes `delay_s` (20 ms in the figures where the delay is 0), in either mode, so
adaptive answers are faster exactly by their tokens per round.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, zip_longest
from typing import Self

from engine.api import Running, Work
from engine.config import GenerationRequest, Mode, ModelSpec
from engine.decoding.loop_detector import LoopDetector
from engine.errors import EngineBusy, EngineError, NoModelLoaded
from engine.events import (
    CompareEvent,
    Event,
    Finished,
    LaneEvent,
    LoadProgress,
    Match,
    MemoryView,
    ModelInfo,
    PrefillProgress,
    Proposal,
    Remembered,
    Round,
    StopReason,
    TextDelta,
)
from tests.scripted_answer import Script, drafted_from, finished, scripted_info, split_tokens, token_id, verdict

Answer = str | Callable[[GenerationRequest], str]

DRAFTS = ((0, 0), (4, 3), (6, 6), (3, 0), (8, 5), (0, 0), (5, 1), (12, 12), (2, 2))  # (draft size, accepted), in turn
PREFILL_CHUNK = 16


def default_answer(request: GenerationRequest) -> str:
    """About 120 tokens of markdown that repeat the beginning of the prompt."""
    echo = " ".join(request.messages[-1].text.split()[:12])
    return f"""## You said

> {echo}

That can be looked at from **three** sides:

1. The *first* one is what the words say: "{echo}".
2. The second one is what they do not say, which is most of it.
3. The third one is how often they come back: "{echo}".

```python
def reply(text: str) -> str:
    \"\"\"Say it again, a little louder.\"\"\"
    return text.upper() + "!"
```

| round | tokens |
|------:|-------:|
| 1 | 4 |
| 2 | 7 |

In a formula, $T = \\frac{{n}}{{r}}$ tokens per round, so the more an answer repeats what was there before,
the fewer rounds it takes. And that is all there is to say about it."""


@dataclass
class ScriptedEngine:
    """Plays `answers` in turn (the last one again and again); an answer may be a function of the request.

    `fail_after`: raise `error` after so many events of an answer. `load_error`: loading raises it after its first
    progress. `hold_after`: stand still after so many events until `release()` or a cancel, for tests that must act
    in the middle. `diverge_at`: in a comparison the plain lane's token at that place differs.
    """

    answers: Sequence[Answer] = (default_answer,)
    delay_s: float = 0.0
    fail_after: int | None = None
    error: Exception = field(default_factory=lambda: EngineError("The scripted engine failed as it was told to."))
    load_error: Exception | None = None
    hold_after: int | None = None
    diverge_at: int | None = None
    loaded: bool = False  # True: a model is there from the beginning

    def __post_init__(self) -> None:
        self.requests: list[GenerationRequest] = []
        self.specs: list[ModelSpec] = []
        self.closed = False
        self._info: ModelInfo | None = scripted_info(ModelSpec()) if self.loaded else None
        self._busy = threading.Lock()
        self._released = threading.Event()
        self._cached: list[int] = []
        self.remembered: dict[str, tuple[str, ...]] = {}

    @property
    def info(self) -> ModelInfo | None:
        return self._info

    @property
    def compares(self) -> Self:
        return self

    @property
    def memory(self) -> Self:
        return self

    @property
    def process(self) -> None:
        return None

    @property
    def background(self) -> None:
        return None

    @property
    def counts(self) -> Self:
        return self

    def count(self, texts: Sequence[str]) -> tuple[int, ...] | None:
        return None if self._info is None else tuple(len(split_tokens(text)) for text in texts)

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        stop = threading.Event()
        return Work(self._load(spec, stop), stop.set)

    def generate(self, request: GenerationRequest) -> Running[Event]:
        told = _Told()
        told.drafting = [request.mode == "adaptive"]
        return Work(self._generate(request, told), told.set, told.drafting.append)

    def compare(self, request: GenerationRequest) -> Running[CompareEvent]:
        stop = threading.Event()
        return Work(self._compare(request, stop), stop.set)

    def _load(self, spec: ModelSpec, stop: threading.Event) -> Generator[LoadProgress, None, None]:
        with _Taken(self._busy):
            self.specs.append(spec)
            self._info = None
            self._cached = []
            yield LoadProgress(stage="find", message=f"Looking for {spec.model}")
            if self.load_error:
                raise self.load_error
            for part in range(1, 4):
                stop.wait(self.delay_s)
                yield LoadProgress(stage="weights", message="Reading weights", done=part * 1_000_000, total=3_000_000)
            yield LoadProgress(stage="certify", message="Comparing widths", done=1, total=1)
            self._info = scripted_info(spec)
            yield LoadProgress(stage="ready", message=f"{self._info.name} is ready", done=1, total=1)

    def release(self) -> None:
        """Go on after `hold_after`."""
        self._released.set()

    def remember(self, conversation: str, texts: Sequence[str]) -> None:
        self.remembered[conversation] = tuple(texts)

    def forget(self, conversation: str) -> None:
        self.remembered.pop(conversation, None)

    def look(self, phrase: str = "") -> MemoryView:
        """Words are tokens; behind a phrase comes what came there last."""
        with _Taken(self._busy):
            said = {key: " ".join(texts) for key, texts in self.remembered.items()}
            found = {key: text for key, text in said.items() if phrase and phrase in text}
            nexts = [(key, text.rpartition(phrase)[2].split()) for key, text in found.items()]
            return MemoryView(
                conversations=tuple(Remembered(key, len(split_tokens(text))) for key, text in said.items()),
                cap_tokens=100_000,
                num_bytes=1_000_000,
                proposals=tuple(Proposal(words[0], 0.8, "memory", f"chat {key}") for key, words in nexts if words),
                matches=tuple(Match(key, text.count(phrase), text[:200]) for key, text in found.items()),
            )

    def unload(self) -> None:
        with _Taken(self._busy):
            self._info = None

    def close(self) -> None:
        self._info = None
        self.closed = True

    def _generate(self, request: GenerationRequest, stop: threading.Event) -> Generator[Event, None, None]:
        drafting = stop.drafting if isinstance(stop, _Told) else None
        with _Taken(self._busy):
            script = self._script(request)
            done: list[Event] = []
            for event in chain(self._prefill(script), self._rounds(script, request.mode, drafting)):
                if stop.is_set() and not isinstance(event, Finished):
                    yield finished(script, done, request.mode, "cancelled", self._round_s)
                    return
                self._pace(event, len(done), stop)
                done.append(event)
                yield event

    def _compare(self, request: GenerationRequest, stop: threading.Event) -> Generator[CompareEvent, None, None]:
        with _Taken(self._busy):
            plain_script = self._script(request)
            adaptive_script = plain_script
            if self.diverge_at is not None:
                plain_script = self._diverging(plain_script, self.diverge_at)
            prefill = [*self._prefill(plain_script)]
            plain = [*self._rounds(plain_script, "plain")]
            adaptive = [*self._rounds(adaptive_script, "adaptive")]
            done: dict[Mode, list[Event]] = {"plain": [], "adaptive": []}
            slices: list[tuple[Mode, Event]] = [("plain", event) for event in prefill]
            for pair in zip_longest(plain, adaptive):
                lanes: tuple[Mode, Mode] = ("plain", "adaptive")
                slices += [(lane, event) for lane, event in zip(lanes, pair, strict=True) if event is not None]
            for count, (lane, event) in enumerate(slices):
                if stop.is_set():
                    break
                self._pace(event, count, stop)
                done[lane].append(event)
                yield LaneEvent(lane=lane, event=event)
            complete = all(events and isinstance(events[-1], Finished) for events in done.values())
            plain_end = yield from self._lane_end("plain", plain_script, done["plain"])
            adaptive_end = yield from self._lane_end("adaptive", adaptive_script, done["adaptive"])
            yield verdict(plain_end, adaptive_end, complete)

    def _lane_end(self, lane: Mode, script: Script, done: list[Event]) -> Generator[CompareEvent, None, Finished]:
        """How a lane ended; a cancelled one ends here."""
        if done and isinstance(done[-1], Finished):
            return done[-1]
        end = finished(script, done, lane, "cancelled", self._round_s)
        yield LaneEvent(lane=lane, event=end)
        return end

    def _pace(self, event: Event, count: int, stop: threading.Event) -> None:
        if count == self.fail_after:
            raise self.error
        if count == self.hold_after:
            while not (self._released.is_set() or stop.is_set()):
                self._released.wait(0.01)
        if isinstance(event, Round | PrefillProgress):
            stop.wait(self.delay_s)

    @property
    def _round_s(self) -> float:
        return self.delay_s or 0.02

    def _script(self, request: GenerationRequest) -> Script:
        if self._info is None:
            raise NoModelLoaded("No model is loaded: choose one first.")
        index = min(len(self.requests), len(self.answers) - 1)
        self.requests.append(request)
        answer = self.answers[index]
        text = answer(request) if callable(answer) else answer
        pieces = split_tokens(text)
        reason: StopReason = "eos"
        if request.ignore_eos and pieces:
            pieces = (pieces * (request.max_tokens // len(pieces) + 1))[: request.max_tokens]
            reason = "length"
        if len(pieces) >= request.max_tokens:  # the end token would be one too many
            pieces, reason = pieces[: request.max_tokens], "length"
        text = "".join(pieces)
        cut = min((text.find(stop) for stop in request.stop if stop in text), default=-1)
        if cut >= 0:
            stop_end = min(text.find(stop) + len(stop) for stop in request.stop if text.find(stop) == cut)
            length = 0
            for number, piece in enumerate(pieces, 1):
                length += len(piece)
                if length >= stop_end:
                    pieces, reason = pieces[:number], "stop"
                    break
            text = text[:cut]
        ends = [min(end, len(text)) for end in accumulate(map(len, pieces))]
        prompt = "\n".join(f"{message.role}: {message.text}" for message in request.messages)
        prompt_ids = [token_id(piece) for piece in split_tokens(prompt)]
        reused = 0
        while reused < min(len(prompt_ids) - 1, len(self._cached)) and prompt_ids[reused] == self._cached[reused]:
            reused += 1
        self._cached = prompt_ids
        return Script(pieces, ends, text, reason, prompt_ids, reused, request.num_likeliest)

    @staticmethod
    def _diverging(script: Script, place: int) -> Script:
        pieces = [*script.pieces[:place], " otherwise", *script.pieces[place + 1 :]]
        text = "".join(pieces)
        return Script(pieces, [*accumulate(map(len, pieces))], text, script.reason, script.prompt_ids, script.reused)

    @staticmethod
    def _prefill(script: Script) -> Iterator[Event]:
        total = len(script.prompt_ids)
        for done in range(script.reused, total, PREFILL_CHUNK):
            yield PrefillProgress(done=done, total=total, reused=script.reused)
        yield PrefillProgress(
            done=total,
            total=total,
            reused=script.reused,
            first_token_id=script.commits[0],
            likelihoods=script.likelihoods(0, 1),
        )

    def _rounds(self, script: Script, mode: Mode, drafting: list[bool] | None = None) -> Iterator[Event]:
        """Text and rounds after the prefill, then `Finished`."""
        drafts = drafting or [mode == "adaptive"]
        events: list[Event] = []
        ids = script.commits
        shown = 0
        place = 1  # the first token comes from the prefill
        index = 0
        loops = LoopDetector()
        loops.extend(ids[:1])
        while True:
            end = script.ends[min(place, len(script.ends)) - 1] if script.ends else 0
            if end > shown:
                events.append(TextDelta(text=script.text[shown:end]))
                yield events[-1]
                shown = end
            if place >= len(ids):
                break
            draft_size, accepted = DRAFTS[index % len(DRAFTS)] if drafts[-1] else (0, 0)
            accepted = min(accepted, len(ids) - place - 1)
            loops.extend(ids[place : place + accepted + 1])
            sources = drafted_from(index, draft_size)
            events.append(
                Round(
                    index=index,
                    draft_size=draft_size,
                    accepted=accepted,
                    token_ids=tuple(ids[place : place + accepted + 1]),
                    sources=sources,
                    decode_s=(index + 1) * self._round_s,
                    plain_round_s=self._round_s,
                    loop=loops.loop,
                    likelihoods=script.likelihoods(place, place + accepted + 1),
                    origins=script.origins(place, accepted, sources) if draft_size else None,
                    undrafted="unsure" if drafts[-1] and not draft_size else "",
                )
            )
            yield events[-1]
            place += accepted + 1
            index += 1
        yield finished(script, events, mode, script.reason, self._round_s)


class _Told(threading.Event):
    """What is said to an answer while it is written: to end, and to draft or not, the last word at the end."""

    drafting: list[bool]


class _Taken:
    """One answer or load at a time."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise EngineBusy("The engine is answering already: wait for it, or stop it first.")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def loaded_engine(**parameters: object) -> ScriptedEngine:
    """A `ScriptedEngine` with a model in it."""
    return ScriptedEngine(**{"loaded": True, **parameters})  # type: ignore[arg-type]

"""One answer as events: the decode loop's rounds, cut at end tokens, stop strings and limits, and turned into text.

An end token or a stop string may come in the middle of an accepted path. What follows it is dropped, and the KV cache
is cropped to all committed tokens but the last, so that the next prompt finds the same cache in every mode.
"""

import time
from dataclasses import dataclass, replace

import torch

from engine.config import GenerationRequest
from engine.decoding.likelihood import Scored
from engine.decoding.loop import Decoder, RoundResult
from engine.decoding.loop_detector import LoopDetector
from engine.drafting.drafter import ELSEWHERE, NO_PLACE, Draft, Drafter
from engine.events import (
    Certificate,
    Event,
    Finished,
    Likelihood,
    Origins,
    PrefillProgress,
    Round,
    StopReason,
    TextDelta,
    TokenLikelihood,
)
from engine.forward.top_tokens import TopTokens
from engine.metrics import GenerationStats, Loop, ratio
from engine.prompt.context import Prompt
from engine.prompt.detokenise import TextStream

_REFUSED = 8  # tokens of a refused draft that are spelled out


@dataclass(frozen=True, slots=True)
class Prefilled:
    """What the prefill left: the last row's logits (1, vocab), what it cost, and for the drafter likeliest tokens of
    some rows and the last rows' last hidden states, (rows, hidden), where those are known. Times in seconds."""

    logits: torch.Tensor
    num_reused: int
    prefill_s: float
    recycled: tuple[TopTokens, ...] = ()
    states: torch.Tensor | None = None


class Generation:
    """Steps through one answer, a round at a time; its clock runs only inside a step."""

    def __init__(
        self,
        request: GenerationRequest,
        prompt: Prompt,
        decoder: Decoder,
        text: TextStream,
        *,
        end_ids: frozenset[int],
        context_length: int,
        certificate: Certificate,
        newest: int = 0,
    ) -> None:
        self._request = request
        self._newest = newest  # where the newest message begins in the prompt
        self.prompt = prompt
        self._decoder = decoder
        self._text = text
        self._end_ids = end_ids
        self._certificate = certificate
        room = context_length - len(prompt.token_ids)
        self._limit = min(request.max_tokens, room)
        self._limit_reason: StopReason = "length" if request.max_tokens <= room else "context"
        self._committed: list[int] = []  # end token included
        self._loops = LoopDetector()
        self._loops.extend(request.continued_ids)
        self._num_continued = len(request.continued_ids)
        self._draft_sizes: list[int] = []
        self._accepted_lengths: list[int] = []
        self._decode_s = 0.0
        self._draft_s = 0.0
        self._plain_s = 0.0
        self._ttft_s = 0.0
        self._prefilled: Prefilled | None = None
        self.stop_reason: StopReason | None = None

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The answer so far, end token excluded."""
        ended = self._committed and self._committed[-1] in self._end_ids
        return tuple(self._committed[:-1] if ended else self._committed)

    @property
    def widths(self) -> tuple[int, ...]:
        """The round widths that it may use."""
        return self._decoder.widths

    @property
    def certified(self) -> bool:
        """Whether certified widths alone compute its rows."""
        return self._certificate.setting == "exact" and not self._certificate.provisional

    @property
    def cached_ids(self) -> list[int]:
        """The tokens whose keys and values the cache holds: all that was committed but the last token."""
        return [*self.prompt.token_ids, *self._committed][: self._decoder.length]

    def start(self, prefilled: Prefilled) -> list[Event]:
        """The first token; it comes from the prefill and belongs to no round."""
        started = time.perf_counter()
        self._prefilled = prefilled
        first = self._decoder.start(prefilled.logits, self.prompt.token_ids, prefilled.recycled, prefilled.states)
        delta = "".join(self._commit((first,)))
        self._ttft_s = prefilled.prefill_s + time.perf_counter() - started
        total = len(self.prompt.token_ids)
        event = PrefillProgress(
            done=total,
            total=total,
            reused=prefilled.num_reused,
            first_token_id=first,
            likelihoods=self._likelihoods(self._decoder.first_scored, 1),
        )
        return [event, TextDelta(text=delta)] if delta else [event]

    def draft_with(self, drafter: Drafter, widths: tuple[int, ...], newest: int) -> None:
        """Let this drafter draft from the next round on, in rounds of these widths."""
        self._newest = newest
        self._decoder.draft_with(drafter, widths, [*self.prompt.token_ids, *self._committed])

    def step(self) -> list[Event]:
        """One round and what it added; sets `stop_reason` where the answer ends with it."""
        started = time.perf_counter()
        result = self._decoder.round(self._committed[-1], self._limit - len(self._committed))
        pieces = self._commit(result.token_ids)
        kept, delta = len(pieces), "".join(pieces)
        self._decoder.take_back(len(result.token_ids) - kept)
        accepted = min(result.accepted, kept)
        self._draft_sizes.append(result.draft_size)
        self._accepted_lengths.append(accepted)
        self._draft_s += result.draft_s
        self._plain_s += result.plain_s
        self._decode_s += time.perf_counter() - started
        event = Round(
            index=len(self._draft_sizes) - 1,
            draft_size=result.draft_size,
            accepted=accepted,
            token_ids=result.token_ids[:kept],
            sources=result.sources,
            decode_s=self._decode_s,
            plain_round_s=self._plain_round_s,
            loop=self._loop,
            likelihoods=self._likelihoods(result.scored, kept),
            origins=self._origins(result, accepted, pieces) if result.draft_size else None,
            undrafted=result.undrafted,
        )
        return [event, TextDelta(text=delta)] if delta else [event]

    def _origins(self, result: RoundResult, accepted: int, pieces: list[str]) -> Origins:
        """Where the kept tokens came from, `accepted` of them out of the draft; `pieces`: the text that each added."""
        draft, nodes = result.draft, result.accepted_nodes[:accepted]
        lengths = tuple([len(piece) for piece in pieces])
        chances = tuple([_own_chance(draft, node) for node in nodes]) if draft.chances else ()
        places = tuple([self._place(draft, node) for node in nodes])
        if not result.refused_nodes or accepted == len(pieces):  # the answer ended before the target's own token
            return Origins(lengths=lengths, chances=chances, places=places)
        first = result.refused_nodes[0]
        return Origins(
            lengths=lengths,
            chances=chances,
            places=places,
            refused=self._text.spelled(*[draft.token_ids[node] for node in result.refused_nodes[:_REFUSED]]),
            refused_source=draft.sources[first],
            refused_place=self._place(draft, first),
            refused_chance=_own_chance(draft, first) if draft.chances else None,
        )

    def _place(self, draft: Draft, node: int) -> str:
        """Where the draft read this token, as `Origins` says it."""
        place = draft.places[node] if draft.places else NO_PLACE
        if isinstance(place, str):
            return "chat" if place == ELSEWHERE else f"chat {place}"
        if place < 0:
            return ""
        length = len(self.prompt.token_ids) - self._num_continued
        return "answer" if place >= length else "prompt" if place >= self._newest else "chat"

    def finish(self) -> list[Event]:
        """The text held back so far and the figures; the reason is "cancelled" where nothing else ended it."""
        rest = self._text.flush()
        if rest.stopped:
            self.stop_reason = "stop"
        answer = self.token_ids
        num_committed = max(0, len(self._committed) - 1)
        prefilled = self._prefilled
        finished = Finished(
            stop_reason=self.stop_reason or "cancelled",
            text=self._text.text,
            token_ids=answer,
            stats=GenerationStats(
                num_prompt_tokens=len(self.prompt.token_ids),
                num_reused_tokens=prefilled.num_reused if prefilled else 0,
                num_tokens=len(answer),
                num_committed=num_committed,
                draft_sizes=tuple(self._draft_sizes),
                accepted_lengths=tuple(self._accepted_lengths),
                prefill_s=prefilled.prefill_s if prefilled else 0.0,
                ttft_s=self._ttft_s,
                decode_s=self._decode_s,
                draft_s=self._draft_s,
                plain_round_s=self._plain_round_s,
                loop=self._loop,
            ),
            certificate=self._certificate,
            dropped_turns=self.prompt.dropped_turns,
            verbatim=self.prompt.verbatim,
        )
        return [TextDelta(text=rest.text), finished] if rest.text else [finished]

    def _likelihoods(self, scored: tuple[Scored, ...], kept: int) -> tuple[TokenLikelihood, ...]:
        """The first `kept` of these tokens with their texts, but for an end token."""

        def named(token_id: int, logprob: float) -> Likelihood:
            return Likelihood(token_id, self._text.spelled(token_id), logprob)

        return tuple(
            TokenLikelihood(named(each.token_id, each.logprob), tuple(named(*other) for other in each.likeliest))
            for each in scored[:kept]
            if each.token_id not in self._end_ids
        )

    @property
    def _loop(self) -> Loop | None:
        """How the answer goes in circles now; a loop that it continues began before its own first token."""
        loop = self._loops.loop
        return replace(loop, start=max(0, loop.start - self._num_continued)) if loop is not None else None

    @property
    def _plain_round_s(self) -> float | None:
        return ratio(self._plain_s, len(self._draft_sizes))

    def _commit(self, token_ids: tuple[int, ...]) -> list[str]:
        """Take tokens up to where the answer ends; returns the text that each of those added."""
        pieces: list[str] = []
        for token_id in token_ids:
            self._committed.append(token_id)
            if token_id in self._end_ids:
                pieces.append("")
                self.stop_reason = "eos"
            else:
                self._loops.extend((token_id,))
                step = self._text.push(token_id)
                pieces.append(step.text)
                if step.stopped:
                    self.stop_reason = "stop"
                elif len(self._committed) >= self._limit:
                    self.stop_reason = self._limit_reason
            if self.stop_reason is not None:
                break
        return pieces


def _own_chance(draft: Draft, node: int) -> float:
    """The chance of a node, those above it given, in thousandths."""
    parent = draft.parents[node]
    above = draft.chances[parent] if parent >= 0 else 1.0
    return round(draft.chances[node] / above, 3) if above else 0.0

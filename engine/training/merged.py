"""The adaptive drafter with a trained one in its tree, replayed over recorded answers with the states behind them.

Every draft is verified whole, whatever it costs, so that figures depend on no clock but those of drafting itself.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.drafter import ROOT, Draft
from engine.drafting.looking import Look, Trained
from engine.drafting.sources.recycled import NUM_TOP
from engine.metrics import ratio
from engine.training.answers import Answer

_P99 = 99


@dataclass(frozen=True, slots=True)
class Told:
    """An answer with the target's `states` (tokens, hidden) behind its prompt's end and itself, all but the last token;
    the `prompt` first ones are the prompt's. `top_ids` and `top_chances` (answer tokens, NUM_TOP): its likeliest tokens
    behind each of the answer's, all but the last."""

    answer: Answer
    states: torch.Tensor
    prompt: int
    top_ids: np.ndarray[Any, np.dtype[np.int32]]
    top_chances: np.ndarray[Any, np.dtype[np.float32]]


@torch.inference_mode()
def told(answer: Answer, states: torch.Tensor, prompt: int, head: torch.Tensor) -> Told:
    """An answer with its states, and what the target's `head` makes of them."""
    logits = states[prompt:].to(head.device, head.dtype) @ head.T
    top = torch.topk(torch.softmax(logits.float(), -1), NUM_TOP)
    return Told(answer, states, prompt, top.indices.int().cpu().numpy(), top.values.cpu().numpy())


class Replay:
    """One adaptive drafter over many answers; what it learns goes on from one to the next."""

    def __init__(self, trained: Trained | None, max_nodes: int) -> None:
        heads, chimera = (trained.heads, trained.chimera) if trained is not None else (None, None)
        self._drafter = AdaptiveDrafter(heads=heads, chimera=chimera)
        self._drafter.draft_every_round()
        self._max_nodes = max_nodes

    def run(self, answers: Sequence[Told]) -> dict[str, Any]:
        """Figures over these answers; seconds are those of drafting in a round."""
        tokens = rounds = 0
        drafted: Counter[str] = Counter()
        accepted: Counter[str] = Counter()
        seconds: dict[str, list[float]] = {"heads": [], "chimera": [], "all": []}
        for each in answers:
            ids, known = each.answer.answer_ids, 0
            if len(ids) < 2:
                continue
            self._drafter.begin([*each.answer.prompt_ids, ids[0]], each.answer.temperature)
            seen = max(0, each.prompt - (self._drafter.num_states or 1))
            while known < len(ids) - 1:
                started = perf_counter()
                if self._drafter.num_states:
                    self._drafter.see(each.states[seen : each.prompt + known])
                    seen = each.prompt + known
                draft = self._drafter.draft(self._max_nodes)
                path = _path(draft, ids[known + 1 :])
                committed = ids[known + 1 : known + 2 + len(path)]
                self._drafter.commit(draft, committed)
                seconds["all"].append(perf_counter() - started)
                for look in (self._drafter.heads_look, self._drafter.chimera_look):
                    seconds[look.source].append(_taken(look))
                drafted.update(source.partition("-")[0] for source in draft.sources)
                accepted.update(draft.sources[node].partition("-")[0] for node in path)
                self._recycle(each, known, min(known + len(path) + 1, len(each.top_ids)))
                known += len(committed)
                tokens += len(committed)
                rounds += 1
        return {
            "tokens_per_round": ratio(tokens, rounds),
            "rounds": rounds,
            "drafted": dict(drafted),
            "accepted": dict(accepted),
            "seconds": {name: _summary(found) for name, found in seconds.items() if any(found)},
        }

    def _recycle(self, each: Told, start: int, end: int) -> None:
        if start >= end:
            return
        ids = [each.answer.prompt_ids[-1], *each.answer.answer_ids]
        contexts = np.array([ids[at : at + 2] for at in range(start, end)], np.int32)
        top_ids, top_chances = each.top_ids[start:end], each.top_chances[start:end]
        self._drafter.recycle(contexts, np.ascontiguousarray(top_ids), np.ascontiguousarray(top_chances))


def _path(draft: Draft, following: Sequence[int]) -> list[int]:
    """The nodes of the draft that agree with what came."""
    children = {pair: node for node, pair in enumerate(zip(draft.parents, draft.token_ids, strict=True))}
    path: list[int] = []
    for token_id in following:
        node = children.get((path[-1] if path else ROOT, token_id))
        if node is None:
            break
        path.append(node)
    return path


def _taken(look: Look) -> float:
    seconds, look.seconds = look.seconds, 0.0
    return seconds


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(seconds)), "p99": float(np.percentile(seconds, _P99))}

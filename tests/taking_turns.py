"""Chats that take turns: what it saves that several conversations are set aside, and not the present one alone.

    python -m tests.taking_turns MODEL [--backend B] [--threads N] [--chats N] [--turns N]

Two engines on the same model are asked the same in turn, one of which sets none aside. Each chat begins with a text of
its own; its first turn, which both must read, does not count. Prints one JSON line: the median of the pairs' ratios of
the time to the first token, and whether all token ids are the same.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.config import GenerationRequest, Message, ModelSpec
from engine.engine import Engine
from engine.events import Finished
from engine.prefixes import Prefixes

TEXT = Path(__file__).parents[1] / "README.md"
LENGTH = 2000  # characters of it that a chat begins with
NUM_TOKENS = 8
NEXT = Message.of("user", "And one more sentence about something else in it.")


@dataclass(frozen=True, slots=True)
class Pair:
    """One turn of one chat, asked of both; times are those to the first token."""

    num_prompt: int
    without_s: float
    with_s: float
    num_reused: int
    same_ids: bool


def main(spec: ModelSpec, chats: int, turns: int) -> None:
    with tempfile.TemporaryDirectory() as folder:  # for an adapter that is merged for llama.cpp
        keeps, keeps_none = Engine(Path(folder)), Engine(Path(folder))
        for engine in (keeps, keeps_none):
            for _ in engine.load(spec):
                pass
    assert keeps_none._session is not None
    keeps_none._session._prefixes = Prefixes(0)
    talks = [[_first(number)] for number in range(chats)]
    pairs = [
        _pair(keeps, keeps_none, talk, keeps_first=bool((turn + number) % 2))
        for turn in range(turns)
        for number, talk in enumerate(talks)
    ]
    report(keeps, chats, pairs[chats:])
    for engine in (keeps, keeps_none):
        engine.close()


def _first(number: int) -> Message:
    text = TEXT.read_text(encoding="utf-8")
    begin = number * LENGTH % (len(text) - LENGTH)
    return Message.of("user", f"Chat {number}.\n{text[begin : begin + LENGTH]}\nSay one sentence about this.")


def _pair(keeps: Engine, keeps_none: Engine, talk: list[Message], *, keeps_first: bool) -> Pair:
    """Ask both, and let the chat go on with the answer."""
    ends = {}
    for engine in (keeps, keeps_none) if keeps_first else (keeps_none, keeps):
        *_, ends[engine] = engine.generate(
            GenerationRequest(messages=tuple(talk), max_tokens=NUM_TOKENS, ignore_eos=True, mode="plain")
        )
    kept, read = ends[keeps], ends[keeps_none]
    assert isinstance(kept, Finished)
    assert isinstance(read, Finished)
    talk += [Message.of("assistant", kept.text), NEXT]
    return Pair(
        kept.stats.num_prompt_tokens,
        read.stats.ttft_s,
        kept.stats.ttft_s,
        kept.stats.num_reused_tokens,
        kept.token_ids == read.token_ids,
    )


def report(engine: Engine, chats: int, pairs: list[Pair]) -> None:
    assert engine.info is not None
    ratios = sorted(pair.without_s / pair.with_s for pair in pairs)
    figures = {
        "backend": engine.info.backend,
        "dtype": engine.info.dtype,
        "chats": chats,
        "pairs": len(pairs),
        "prompt_tokens_median": statistics.median(pair.num_prompt for pair in pairs),
        "reused_tokens_median": statistics.median(pair.num_reused for pair in pairs),
        "ratio_median": round(statistics.median(ratios), 2),
        "ratio_quartiles": [round(ratio, 2) for ratio in statistics.quantiles(ratios, n=4)],
        "ttft_s_without_median": round(statistics.median(pair.without_s for pair in pairs), 3),
        "ttft_s_with_median": round(statistics.median(pair.with_s for pair in pairs), 3),
        "same_ids": all(pair.same_ids for pair in pairs),
    }
    print(json.dumps(figures))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.taking_turns", allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("--backend", choices=("auto", "torch", "llama-cpp"), default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--chats", type=int, default=3)
    parser.add_argument("--turns", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    given = _flags()
    main(
        ModelSpec(model=given.model, certify="never", backend=given.backend, threads=given.threads),
        given.chats,
        given.turns,
    )

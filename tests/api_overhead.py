"""What the API costs: the same answers from it and from an engine in this process, as `ask` has one, in turn.

    python -m tests.api_overhead MODEL [PAIRS [THREADS]]

Prints one JSON line: the median of the pairs' ratios of wall-clock time, and whether all token ids are the same.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from app.api.answers import Answers
from app.api.routes import api_routes
from app.chat.queue import Queue
from app.store.access import ApiAccess
from app.store.store import Store
from app.web.server import create_app
from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.engine import Engine
from engine.events import Finished
from engine.process.client import EngineProcess
from tests.api import on_a_port

PROMPT = "Tell me a story about a lighthouse keeper, and then tell it again in other words."
NUM_TOKENS = 400


def main(model: str, num_pairs: int = 9, threads: int | None = None) -> None:
    spec = ModelSpec(model=model, certify="never", threads=threads)
    direct, child = Engine(), EngineProcess()
    for engine in (direct, child):
        for _ in engine.load(spec):
            pass
    with tempfile.TemporaryDirectory() as folder:
        access = ApiAccess(Store(Path(folder) / "slipstream.db"), forced=True)
        app = create_app(_no_page, [api_routes(access, Answers(child, Queue()))])
        headers = {"Authorization": f"Bearer {access.new_key()}"}
        with on_a_port(app) as address, httpx2.Client(base_url=address, headers=headers, timeout=None) as client:
            report([_pair(direct, client, seed) for seed in range(num_pairs + 1)][1:])
    child.close()


def _no_page() -> Any:
    from fastapi import FastAPI

    return FastAPI()


def _pair(direct: Engine, client: httpx2.Client, seed: int) -> tuple[float, float, bool]:
    """Seconds of `ask`, seconds of the API, and whether they said the same; which comes first alternates."""
    calls = [lambda: _asked(direct, seed), lambda: _streamed(client, seed)]
    found: dict[int, tuple[float, list[int]]] = {}
    for which in (0, 1) if seed % 2 else (1, 0):
        found[which] = _timed(calls[which])
    return found[0][0], found[1][0], found[0][1] == found[1][1]


def _timed(call: Callable[[], list[int]]) -> tuple[float, list[int]]:
    began = time.perf_counter()
    ids = call()
    return time.perf_counter() - began, ids


def _asked(engine: Engine, seed: int) -> list[int]:
    request = GenerationRequest(
        messages=(Message.of("user", f"{seed}. {PROMPT}"),),
        sampling=Sampling(temperature=0.7, seed=seed),
        max_tokens=NUM_TOKENS,
        ignore_eos=True,
    )
    *_, end = engine.generate(request)
    assert isinstance(end, Finished)
    return list(end.token_ids)


def _streamed(client: httpx2.Client, seed: int) -> list[int]:
    fields = {"temperature": 0.7, "top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1, "seed": seed}
    body = fields | {"max_tokens": NUM_TOKENS, "ignore_eos": True, "stream": True, "return_token_ids": True}
    body["messages"] = [{"role": "user", "content": f"{seed}. {PROMPT}"}]
    ids: list[int] = []
    with client.sse("/v1/chat/completions", method="POST", json=body) as events:
        for event in events:
            if event.data and event.data != "[DONE]":
                ids = json.loads(event.data)["choices"][0].get("token_ids", ids)
    return ids


def report(pairs: list[tuple[float, float, bool]]) -> None:
    ratios = sorted(api_s / ask_s for ask_s, api_s, _ in pairs)
    figures = {
        "tokens": NUM_TOKENS,
        "ratio_median": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(ratio, 3) for ratio in statistics.quantiles(ratios, n=4)],
        "ask_s_median": round(statistics.median(ask_s for ask_s, _, _ in pairs), 3),
        "same_ids": all(same for _, _, same in pairs),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

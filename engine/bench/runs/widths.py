"""`bench widths`: what a forward pass costs by its width, beside what the machine's memory would allow.

The cache holds N tokens; a pass of each width runs with it, greedy picks included, widths in turn, turn after turn, and
with them a pass of transformers' own modules and a reading of the memory's bandwidth, so that a busy moment hits all of
them. A pass must read the weights (a tied head once, embedding rows not) and N tokens' keys and values: that over its
time is its share of the bandwidth. Weights and bandwidth also bound the tokens per second of plain decoding.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

import torch
from tqdm import tqdm
from transformers import DynamicCache

from engine.bench.arms.targets import LEAST_CONTEXT, BenchTarget, load_target
from engine.bench.harness import machine
from engine.bench.plans import WidthsPlan
from engine.bench.runs.bandwidth import Bandwidth
from engine.bench.runs.spread import spread
from engine.config import ModelSpec
from engine.errors import ContextOverflow, NotEnoughMemory
from engine.events import LoadProgress
from engine.forward.widths import MAX_WIDTH, WIDTHS
from engine.models.out_of_memory import out_of_memory_in_words
from engine.models.random_models import load_any
from engine.probe.cost import time_round

STOCK = "transformers"

StockModel = Callable[[], AbstractContextManager[Any]]


class Stock:
    """One row through transformers' own modules, attention and cache of `context` tokens."""

    def __init__(self, model: StockModel, context: int, device: torch.device) -> None:
        self._model = model
        self._token_ids = torch.ones(1, 1, dtype=torch.long, device=device)
        self._cache = DynamicCache()
        with model() as each:
            config = each.config
            head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            shape = (1, config.num_key_value_heads, context, head_dim)
            for layer in range(config.num_hidden_layers):
                self._cache.update(*(torch.zeros(shape, dtype=each.dtype, device=device) for _ in range(2)), layer)

    @torch.inference_mode()
    def time(self) -> float:
        """Seconds of one pass, behind one that warms up. Synchronises with the device."""
        with self._model() as model:
            self._run(model)
            started = time.perf_counter()
            self._run(model)
            return time.perf_counter() - started

    def _run(self, model: Any) -> None:
        logits = model(input_ids=self._token_ids, past_key_values=self._cache, use_cache=True).logits[0]
        logits.argmax(-1).tolist()
        self._cache.crop(-1)


@dataclass(slots=True)
class Samples:
    """Of one context: seconds of a pass by width, and of transformers' pass."""

    rounds: dict[int, list[float]] = field(default_factory=lambda: {width: [] for width in WIDTHS})
    stock: list[float] = field(default_factory=list)


def _stock_model(bench: BenchTarget) -> StockModel:
    """The model with transformers' own modules, loaded a second time where ours has laid out the weights for itself.

    Raises `NotEnoughMemory` where there is no room for that.
    """
    if bench.target.stock_model is not None:
        return bench.target.stock_model
    model = load_any(replace(bench.spec, backend="torch"), lambda _: None).model

    @contextmanager
    def lent() -> Iterator[Any]:
        torch.set_num_threads(bench.loaded.threads)
        try:
            yield model
        finally:
            bench.target.prepare_thread()

    return lent


def _stock(bench: BenchTarget, plan: WidthsPlan, notes: list[str]) -> StockModel | None:
    """transformers' model where memory holds it, and its cache at the longest context; else None, and a note why."""
    try:
        model = _stock_model(bench)
        Stock(model, max(plan.contexts), bench.loaded.device).time()
    except (NotEnoughMemory, torch.OutOfMemoryError) as exc:
        notes.append(f"transformers beside it is left out: {exc}")
        return None
    return model


def _measure(
    bench: BenchTarget, context: int, model: StockModel | None, plan: WidthsPlan, samples: Samples
) -> Iterator[None]:
    """Fill the samples turn by turn."""
    stock = Stock(model, context, bench.loaded.device) if model is not None else None
    cache = bench.target.new_cache(context)
    for _ in bench.target.fill(cache, context):
        pass
    bench.target.prepare(cache, WIDTHS)
    for width in WIDTHS:
        time_round(bench.target, cache, width)  # the first round of a width warms up
    for _ in range(plan.repeats):
        time_round(bench.target, cache, 1)  # what ran since the last turn has left nothing of ours in the caches
        for width in WIDTHS:
            samples.rounds[width].append(time_round(bench.target, cache, width)[0])
        if stock is not None:
            samples.stock.append(stock.time())
        yield


def _rows(bench: BenchTarget, context: int, samples: Samples, bytes_per_s: float) -> Iterator[dict[str, Any]]:
    """A row for each width, and one for transformers where it ran."""
    plain = median(samples.rounds[1])
    num_bytes = bench.read_bytes + context * bench.loaded.kv_bytes
    runs = [("slipstream", width, seconds) for width, seconds in samples.rounds.items()]
    for arm, width, seconds in (*runs, (STOCK, 1, samples.stock)):
        if seconds:
            taken = median(seconds)
            yield {
                "context": context,
                "arm": arm,
                "width": width,
                "ms": spread([1000 * each for each in seconds]),
                "ratio": taken / plain,
                "read_bytes": num_bytes,
                "bytes_per_s": num_bytes / taken,
                "bandwidth_share": num_bytes / taken / bytes_per_s,
                "exact": _is_exact(bench, width) if arm != STOCK else None,
            }


def _is_exact(bench: BenchTarget, width: int) -> bool:
    """Whether rows of this width are certified; tier C promises nothing."""
    return bench.certificate.tier != "C" and width in bench.certificate.widths


@out_of_memory_in_words()
def run(spec: ModelSpec, plan: WidthsPlan, report: Callable[[LoadProgress], None]) -> dict[str, Any]:
    """The whole benchmark as JSON-able data. An interrupt ends it with what it has, which is then not `complete`.

    Raises what loading raises, and `ContextOverflow` where the model has no room for a context.
    """
    longest = max(plan.contexts)
    bench = load_target(replace(spec, max_context=max(longest + MAX_WIDTH, LEAST_CONTEXT)), report)
    loaded = bench.loaded
    if longest + MAX_WIDTH > loaded.context_length:
        raise ContextOverflow(
            f"A context of {longest:,} tokens and a round of {MAX_WIDTH} do not fit into the {loaded.context_length:,} "
            f"tokens that {loaded.name} has here: give a shorter --context."
        )
    notes: list[str] = []
    stock = _stock(bench, plan, notes)
    bench.target.prepare_thread()
    before = machine(loaded)
    bandwidth = Bandwidth(loaded.device)
    readings: list[float] = []
    measured = {context: Samples() for context in plan.contexts}
    done = 0
    with suppress(KeyboardInterrupt), tqdm(total=len(measured) * plan.repeats, unit="turn", disable=None) as bar:
        for context, samples in measured.items():
            for _ in _measure(bench, context, stock, plan, samples):
                readings.append(bandwidth.sample())
                done += 1
                bar.update()
    bytes_per_s = median(readings or [bandwidth.sample()])
    complete = done == len(measured) * plan.repeats
    return {
        "benchmark": "widths",
        "complete": complete,
        "passed": complete,
        "machine": before,
        "load_average_after": machine()["load_average"],
        "model": bench.to_json(),
        "notes": [*loaded.notes, *bench.target.notes, *notes],
        "plan": asdict(plan),
        "bandwidth": {"kind": bandwidth.kind, "bytes_per_s": spread(readings)},
        "limit_tokens_per_s": bytes_per_s / bench.read_bytes,
        "results": [
            row
            for context, samples in measured.items()
            if samples.rounds[WIDTHS[-1]]
            for row in _rows(bench, context, samples, bytes_per_s)
        ],
    }

"""`bench widths`: which bytes a pass reads, what its figures are made of, and what it says where it cannot run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.main import main
from engine.bench.arms import targets
from engine.bench.arms.targets import load_target
from engine.bench.plans import WidthsPlan
from engine.bench.reports.report_widths import widths_panels, widths_text
from engine.bench.runs import widths
from engine.bench.runs.bandwidth import Bandwidth
from engine.config import ModelSpec
from engine.errors import NotEnoughMemory
from engine.events import Certificate
from engine.forward.widths import WIDTHS
from engine.models.shapes import SHAPES

SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip
KV = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, numbers, bytes
CERTIFICATE = Certificate(setting="exact", tier="B", widths=(4, 8), trees=False)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "tied", SHAPES["qwen2.5-0.5b"] | SMALL)
    monkeypatch.setitem(SHAPES, "untied", SHAPES["llama-3.1-8b"] | SMALL | {"head_dim": 16})
    monkeypatch.setattr("engine.bench.runs.bandwidth._BUFFER", 2**22)
    monkeypatch.setattr(targets, "certify", lambda *_: CERTIFICATE)


def spec(name: str = "tied", **options: Any) -> ModelSpec:
    return ModelSpec(model=f"random:{name}", dtype="float32", device="cpu", **options)


def run(name: str = "tied", **plan: Any) -> dict[str, Any]:
    return widths.run(spec(name), WidthsPlan(**{"contexts": (32, 300), "repeats": 2} | plan), lambda _: None)


def test_a_row_for_each_width_and_context() -> None:
    data = run()
    json.dumps(data, allow_nan=False)
    rows = data["results"]
    assert [row["width"] for row in rows if row["context"] == 32] == [*WIDTHS, 1]
    assert data["complete"]
    assert data["bandwidth"]["kind"] == "read"
    speed = data["bandwidth"]["bytes_per_s"]
    assert speed["n"] == 4
    assert data["limit_tokens_per_s"] == pytest.approx(speed["median"] / data["model"]["read_bytes"])
    plain = {row["context"]: row["ms"]["median"] for row in rows if (row["arm"], row["width"]) == ("slipstream", 1)}
    for row in rows:
        assert row["ms"]["n"] == 2
        assert row["read_bytes"] == data["model"]["read_bytes"] + row["context"] * KV
        assert row["ratio"] == pytest.approx(row["ms"]["median"] / plain[row["context"]])
        assert row["bytes_per_s"] == pytest.approx(1000 * row["read_bytes"] / row["ms"]["median"])
        assert row["bandwidth_share"] == pytest.approx(row["bytes_per_s"] / speed["median"])
        assert row["exact"] == (None if row["arm"] == widths.STOCK else row["width"] in (4, 8))


def test_a_tied_head_is_read_once_and_an_embedding_of_its_own_is_not_read() -> None:
    for name in ("tied", "untied"):
        bench = load_target(spec(name, max_context=512), lambda _: None)
        unread = 0 if name == "tied" else 300 * 64
        assert bench.read_bytes == 4 * (bench.loaded.num_parameters - unread), name
        assert bench.loaded.weights_bytes == 4 * bench.loaded.num_parameters


def test_ids_of_another_vocabulary_are_folded_into_the_embedding() -> None:
    target = load_target(spec(max_context=512), lambda _: None).target
    logits = [target.forward(target.new_cache(8), ids) for ids in ([1, 2, 3], [301, 602, 3])]
    assert torch.equal(*logits)


def test_the_stock_pass_attends_to_its_context_and_leaves_it_as_it_was() -> None:
    bench = load_target(spec(max_context=512), lambda _: None)
    stock = widths.Stock(widths._stock_model(bench), 40, bench.loaded.device)
    assert stock.time() > 0
    assert stock._cache.get_seq_length() == 40


def test_without_room_for_a_second_model_ours_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise NotEnoughMemory("it does not fit.")

    monkeypatch.setattr(widths, "_stock_model", no_room)
    data = run(contexts=(32,))
    assert {row["arm"] for row in data["results"]} == {"slipstream"}
    assert "transformers beside it is left out: it does not fit." in widths_text(data)


def test_an_interrupt_keeps_the_contexts_that_were_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    sample, calls = Bandwidth.sample, [0]

    def interrupted(self: Bandwidth) -> float:
        calls[0] += 1
        if calls[0] == 4:  # warm-up, two turns, then one at the second context
            raise KeyboardInterrupt
        return sample(self)

    monkeypatch.setattr(Bandwidth, "sample", interrupted)
    data = run(contexts=(32, 64, 128))
    assert not data["complete"]
    assert {row["context"] for row in data["results"]} == {32, 64}
    assert "INTERRUPTED" in widths_text(data)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "out.json", tmp_path / "plot.png"
    argv = ["bench", "widths", "--model", "random:untied", "--device", "cpu", "--context", "64,16", "--repeats", "1"]
    assert main([*argv, "--json", str(out), "--plot", str(plot)]) == 0
    text = capsys.readouterr().out
    assert "16 tokens cached" in text
    assert "transformers, 1" in text
    assert "tier B, widths [4, 8]" in text
    data = json.loads(out.read_text())
    assert (data["benchmark"], data["plan"]["contexts"]) == ("widths", [16, 64])
    assert data["model"]["random_weights"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    for panel in widths_panels(data):
        assert panel.groups == (*map(str, WIDTHS), "transformers, 1")
        assert all(len(values) == len(panel.groups) for values in panel.series.values())


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--model", "random:tied", "--context", "40000"], 1, "give a shorter --context"),
        (["--model", "random:gpt"], 1, "There is no random:gpt"),
        (["--context", "0"], 2, "between 1"),
        (["--context", "a"], 2, "--context"),
        (["--repeats", "0"], 2, "between 1"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    more: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "widths", "--device", "cpu", *more]) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


def test_out_of_memory_while_timing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.30 GiB")

    monkeypatch.setattr(widths, "time_round", full)
    with pytest.raises(NotEnoughMemory, match="ran out of memory"):
        run()

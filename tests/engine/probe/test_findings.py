"""What is known of a model from an earlier load: taken up where all is as it was, and never where it is not."""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import engine.probe.findings
from engine.config import ModelSpec
from engine.engine import Engine
from engine.events import Certificate
from engine.models.catalog import read_checkpoint
from engine.probe import cost
from engine.probe.cost import CostCurve, measure, usual_token_s
from engine.probe.findings import KEPT, Findings, FindingsFolder, key_of
from tests.asking import steps_to
from tests.models import build, copy_model

TinyModel = Callable[..., Path]

FOUND = Findings(
    Certificate(setting="exact", tier="B", widths=(4, 8), trees=False),
    CostCurve({64: {1: 0.1, 8: 0.2}, 1024: {1: 0.3, 8: 0.4}}, {1: 0.01, 8: 0.02}),
)


def loaded_model(**changes: Any) -> Any:
    facts: dict[str, Any] = {
        "fingerprint": "a",
        "backend": "torch",
        "quant": "none",
        "dtype": torch.bfloat16,
        "context_length": 8192,
        "threads": 2,
        "device": torch.device("cpu"),
        "device_name": "Some CPU",
    }
    return SimpleNamespace(**(facts | changes))


def target(**changes: Any) -> Any:
    return SimpleNamespace(**({"implementation": ("compiled",), "notes": ()} | changes))


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


# --- keys


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "b"},
        {"quant": "nf4"},
        {"backend": "llama-cpp"},
        {"dtype": torch.float32},
        {"threads": 1},
        {"context_length": 512},
        {"device_name": "Another CPU"},
        {"device": torch.device("mps")},
    ],
)
def test_another_load_has_another_key(changes: dict[str, Any]) -> None:
    assert key_of(loaded_model(**changes), target()) != key_of(loaded_model(), target())


def test_another_forward_pass_has_another_key() -> None:
    usual = key_of(loaded_model(), target())
    assert key_of(loaded_model(), target(implementation=("body",))) != usual
    assert key_of(loaded_model(), target(notes=("Rounds run unrecorded.",))) != usual
    assert key_of(loaded_model(context_length=9000), target()) == usual  # nothing looks so far


def test_another_machine_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = key_of(loaded_model(), target())
    assert json.loads(json.dumps(usual)) == usual
    for where, name, value in (
        (torch.cpu, "get_capabilities", lambda: {"avx2": False}),
        (torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT"),
        (engine.probe.findings.importlib.metadata, "version", lambda library: "0"),
        (torch.__config__, "show", lambda: "another build"),
        (engine.probe.findings.platform, "platform", lambda: "another system"),
        (engine.probe.findings, "_own_code", lambda: "other code"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            assert key_of(loaded_model(), target()) != usual, name
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert key_of(loaded_model(), target()) != usual


def test_weights_that_are_replaced_in_place_are_other_weights(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = copy_model(tiny_model("llama"), tmp_path / "model")
    before = read_checkpoint(folder, "tiny").fingerprint
    assert read_checkpoint(folder, "by another name").fingerprint == before
    file = folder / "model.safetensors"
    times = file.stat()
    other = build(tmp_path / "other", "llama", seed=1)
    file.write_bytes((other / file.name).read_bytes())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert read_checkpoint(folder, "tiny").fingerprint != before
    before = read_checkpoint(folder, "tiny").fingerprint
    config = folder / "config.json"
    config.write_text(config.read_text().replace("}", "\n}"))
    assert read_checkpoint(folder, "tiny").fingerprint != before


# --- files


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder, key = FindingsFolder(tmp_path / "not" / "yet"), key_of(loaded_model(), target())
    assert folder.read(key) is None
    folder.write(key, FOUND)
    found = folder.read(key)
    assert found is not None
    assert found.exact == FOUND.exact
    assert found.cost.to_json() == FOUND.cost.to_json()
    assert folder.read(key | {"threads": 3}) is None
    folder.write(key, replace(found, exact=replace(FOUND.exact, widths=(2, 4))))
    assert only_file(tmp_path / "not" / "yet").name.endswith(".json")
    again = folder.read(key)
    assert again is not None
    assert again.exact.widths == (2, 4)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[1, 2, 3]",
        lambda text: '{"sha256": 1}',
        lambda text: text.replace('"tier": "B"', '"tier": "A"'),
        lambda text: text.replace('"threads": 2', '"threads": 1'),
        lambda text: "[" * 100_000,
        lambda text: "\udcff",
    ],
)
def test_a_damaged_or_foreign_file_counts_as_none_is_logged_and_written_again(
    tmp_path: Path, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    folder, key = FindingsFolder(tmp_path), key_of(loaded_model(), target())
    folder.write(key, FOUND)
    file = only_file(tmp_path)
    text = file.read_text()
    file.write_bytes(damage(text).encode(errors="surrogateescape"))
    assert folder.read(key) is None
    assert str(file) in caplog.text
    folder.write(key, FOUND)
    assert only_file(tmp_path).read_text() == text


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, key = FindingsFolder(tmp_path), key_of(loaded_model(), target())
    folder.write(key, FOUND)
    text = only_file(tmp_path).read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    folder.write(key, replace(FOUND, exact=replace(FOUND.exact, widths=(1,))))
    assert "No space left" in caplog.text
    assert [file.read_text() for file in tmp_path.glob("*.json")] == [text]
    found = folder.read(key)
    assert found is not None
    assert found.exact == FOUND.exact


def test_the_folder_keeps_the_latest(tmp_path: Path) -> None:
    folder, key = FindingsFolder(tmp_path), key_of(loaded_model(), target())
    for number in range(KEPT + 5):
        folder.write(key | {"threads": number}, FOUND)
        newest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        os.utime(newest, ns=(number, number))
    assert len(list(tmp_path.iterdir())) == KEPT
    assert folder.read(key | {"threads": 0}) is None
    assert folder.read(key | {"threads": KEPT + 4}) is not None


# --- the cost curve


def test_a_known_curve_makes_the_look_short_and_never_slower_than_it_was(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []

    def time_round(target: Any, cache: Any, width: int) -> tuple[float, torch.Tensor]:
        rounds.append(width)
        return 0.001 * width, torch.zeros(width, 8)

    monkeypatch.setattr(cost, "time_round", time_round)
    monkeypatch.setattr(cost, "_AGAIN_BUDGET_S", 0.0)
    target = SimpleNamespace(context_length=4096, new_cache=lambda tokens: None, fill=lambda cache, length: ())
    known = measure(target, lambda logits: logits)  # type: ignore[arg-type]
    full = len(rounds)
    rounds.clear()
    low = CostCurve({64: {1: 0.0005, 64: 9.0}, 1024: {1: 9.0}}, {1: 9.0})
    seen = dict(measure(target, lambda logits: logits, low).points)  # type: ignore[arg-type]
    assert rounds == [], "a look that would take longer than a person should wait"
    assert seen == {1: 0.0005, 64: 9.0}
    seen = dict(measure(target, None, known.lowered(CostCurve({64: {1: 0.0005}}))).points)  # type: ignore[arg-type]
    assert seen == dict(known.points) | {1: 0.0005}
    assert 0 < len(rounds) < full / 2


def test_the_latest_figure_of_each_backend_is_known_by_the_weights(tmp_path: Path) -> None:
    folder = FindingsFolder(tmp_path)
    assert FindingsFolder(None).usual_tokens("a") == {}
    assert FindingsFolder(tmp_path / "none").usual_tokens("a") == {}
    later = replace(FOUND, cost=CostCurve({64: {4: 0.01, 8: 0.02}}))
    for number, (changes, found) in enumerate(
        [({}, FOUND), ({"backend": "llama-cpp"}, FOUND), ({"backend": "llama-cpp", "threads": 1}, later)]
    ):
        key = key_of(loaded_model(**changes), target())
        folder.write(key, found)
        os.utime(tmp_path / engine.probe.findings._name(key), (number, number))
    (tmp_path / "damaged.json").write_text("{")
    first, last = (usual_token_s(found.cost.at(0), found.exact.widths) for found in (FOUND, later))
    assert folder.usual_tokens("a") == {"torch": first, "llama-cpp": last}
    assert first > 5 * last
    assert folder.usual_tokens("b") == {}


def test_rounds_that_other_code_took_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = FindingsFolder(tmp_path)
    folder.write(key_of(loaded_model(), target()), FOUND)
    monkeypatch.setattr(engine.probe.findings, "_own_code", lambda: "another")
    assert folder.usual_tokens("a") == {}


# --- loads


def test_a_second_load_does_not_probe_and_one_that_is_asked_to_does(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    probed = []
    certificate = replace(FOUND.exact, widths=(1, 8))

    def certify(*_: object) -> Certificate:
        probed.append(certificate)
        return certificate

    def clock(target: Any, tell: Any, known: CostCurve | None) -> CostCurve:
        curve = CostCurve({64: {1: 0.1, 8: 0.2 if known is None else 0.15}})
        return curve if known is None else curve.lowered(known)

    monkeypatch.setattr(engine.probe.findings, "certify_steps", lambda target: steps_to(certify(target)))
    monkeypatch.setattr(engine.probe.findings, "measure_steps", lambda *given: steps_to(clock(*given)))
    monkeypatch.setattr("engine.drafting.adaptive.warm_up", lambda: None)
    caplog.set_level(logging.WARNING, "engine.probe.findings")
    spec = ModelSpec(model=str(tiny_model("llama")), dtype="float32", device="cpu")
    runner = Engine(tmp_path / "findings")

    def load(spec: ModelSpec) -> tuple[int, float]:
        *_, last = runner.load(spec)
        assert last.stage == "ready"
        assert runner.info is not None
        assert runner.info.exact == certificate
        return len(probed), dict(runner.info.cost_curve)[8]

    assert load(spec) == (1, 0.2)
    file = only_file(tmp_path / "findings")
    assert load(spec) == (1, 0.15)
    assert load(replace(spec, reprobe=True)) == (2, 0.2)
    assert load(replace(spec, stock_layers=True)) == (3, 0.2)
    file.write_text("{")
    assert load(spec) == (4, 0.2)
    assert load(spec) == (4, 0.15)
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine.probe.findings, "certify_steps", lambda *_: steps_to(FOUND.exact))
    curve = CostCurve({64: {1: 0.1, 4: 0.2, 8: 0.2}})
    monkeypatch.setattr(engine.probe.findings, "measure_steps", lambda *_: steps_to(curve))
    (tmp_path / "file").write_text("in the way")
    runner = Engine(tmp_path / "file" / "findings")
    *_, last = runner.load(ModelSpec(model=str(tiny_model("llama")), dtype="float32", device="cpu"))
    assert last.stage == "ready"
    assert "cannot be kept" in caplog.text

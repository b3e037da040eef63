"""What the model picker offers, over fake home folders."""

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from app.chat import offers
from app.chat.services import Services
from app.page.downloads import catalogue
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.models import choices
from app.store.store import Store
from engine.config import ModelSpec
from engine.errors import NetworkUnavailable, UnsupportedModel
from engine.models.on_disk import ollama
from tests.engine.models.test_on_disk import write_ollama, write_sparse
from tests.scripted import ScriptedEngine

GB = 10**9


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "no-such-service")
    monkeypatch.setattr(offers, "free_bytes", lambda device, freed: 9 * GB)
    return tmp_path


@pytest.mark.parametrize("installed", [True, False])
def test_the_picker_offers_our_models_the_recent_ones_and_those_of_other_programs(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.setattr(offers.bundled, "find", lambda: home / "it.gguf" if installed else None)
    services = Services(ScriptedEngine(), store, environment={"HF_HOME": str(home / "hf")})
    ours = [("SmolLM2 135M (comes along)", "smollm2")] if installed else []
    ours += [("Starter (small demonstration)", "starter")]
    assert choices(services) == ours
    eight = write_sparse(home / ".lmstudio/models/maker/repo/Eight-Q4_K_M.gguf", int(4.9 * GB))
    write_sparse(home / "hf/hub/models--a--b/snapshots/1/Small-Q8_0.gguf", GB // 2, {})
    write_ollama(home / ".ollama/models", "registry.ollama.ai/library/big/70b", "a" * 64).unlink()
    write_sparse(home / ".ollama/models/blobs" / f"sha256-{'a' * 64}", 40 * GB, {})
    others = [
        ("big:70b (Ollama, 40.0 GB, too large)", "ollama:big:70b"),
        ("Eight-Q4_K_M (LM Studio, 4.9 GB, tight)", str(eight)),
        ("Small-Q8_0 (Hugging Face, 500 MB, fits)", "a/b:Q8_0"),
    ]
    assert choices(services) == ours + others
    for name in ("smollm2", "a/b:Q8_0", "Qwen/Qwen3-0.6B", "starter"):
        services.settings.remember_model(ModelSpec(model=name))
    recent = [("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"), others[2]]
    assert choices(services) == ours + recent + others[:2]


def test_the_catalogue_marks_the_best_fit_and_what_is_here(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "gpu_bytes", lambda: 0)
    monkeypatch.setattr(offers.platform, "system", lambda: "Linux")
    environment = {"HF_HOME": str(home / "hf")}
    services = Services(ScriptedEngine(), store, environment=environment)
    entries, first, facts = catalogue(services)
    assert ("Qwen3 1.7B (1.8 GB, best fit)", "Qwen3 1.7B") in entries
    assert ("Qwen3 14B (9.0 GB, too large)", "Qwen3 14B") in entries
    assert first == "Qwen3 1.7B"
    assert facts.startswith("The best fit for this machine.")
    assert services.best is not None
    snapshot = home / "hf/hub/models--Qwen--Qwen3-1.7B-GGUF/snapshots/1"
    write_sparse(snapshot / "Qwen3-1.7B-Q8_0.gguf", 2 * GB, {})
    blobs = home / "hf/hub/models--Qwen--Qwen3-0.6B-GGUF/blobs"
    write_sparse(blobs / f"{'a' * 64}.Qwen3-0.6B-Q8_0.gguf.part", GB // 5)
    entries, _, _ = catalogue(services)
    assert ("Qwen3 1.7B (on this disk)", "Qwen3 1.7B") in entries
    assert ("Qwen3 0.6B (200 MB of 639 MB)", "Qwen3 0.6B") in entries
    assert services.best is None, "what is here is not offered"
    again = Services(ScriptedEngine(), store, environment=environment)
    state = again.downloads.state
    assert state is not None
    assert (state.model.name, state.status, state.done) == ("Qwen3 0.6B", "paused", GB // 5)


def test_a_model_that_was_measured_says_how_quick_others_would_be(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine(loaded=True)
    slow = replace(engine.info, weights_bytes=540_000_000, cost_curve=((1, 1 / 14), (8, 0.1)))
    monkeypatch.setattr(ScriptedEngine, "info", slow)
    _, first, _ = catalogue(Services(engine, store, environment={}))
    assert first == "SmolLM2 360M"  # 7.6 GB/s


def test_what_cannot_be_run_is_refused_while_the_present_model_stays(home: Path, store: Store) -> None:
    services = Services(ScriptedEngine(), store, environment={"HF_HOME": str(home / "hf")})
    snapshot = home / "hf/hub/models--a--b/snapshots/1"
    for name, architecture in (("x-Q8_0", "mamba"), ("x-Q4_0", "llama")):
        writer = gguf.GGUFWriter(snapshot_file(snapshot, name), architecture)
        writer.add_tensor("token_embd.weight", np.zeros((2, 2), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with pytest.raises(UnsupportedModel, match="'mamba'"):
        services.load("a/b:Q8_0", "none", "auto")
    assert services.loader.state().spec is None
    services.load("a/b:Q4_0", "none", "auto")  # damaged: the engine may download it again
    state = services.loader.state()
    while state.running:
        state = services.loader.wait(state.sequence, 5)
    assert state.error is None


def snapshot_file(snapshot: Path, name: str) -> Path:
    snapshot.mkdir(parents=True, exist_ok=True)
    return snapshot / f"{name}.gguf"


def test_offline_nothing_is_offered_for_download(home: Path, store: Store) -> None:
    services = Services(ScriptedEngine(), store, ModelSpec(offline=True), environment={})
    assert services.catalogue()
    assert services.best is None
    with pytest.raises(NetworkUnavailable, match="Offline mode is on"):
        services.download(services.catalogue()[0].chat_model)


@pytest.mark.parametrize(("device", "slow"), [("cpu", True), ("cuda:0", False), ("mps", False)])
def test_four_bits_are_said_to_be_slow_without_a_gpu(store: Store, device: str, slow: bool) -> None:
    services = Services(ScriptedEngine(), store, ModelSpec(device=device), environment={})
    assert services.slow_nf4 is slow
    with Page():
        parts = build_parts([], slow_nf4=slow)
    labels = [label for label, _ in parts.picker.quant.choices]
    assert labels == ["auto", "none", "int8", "nf4 (slow here)" if slow else "nf4"]

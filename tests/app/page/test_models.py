"""What the model picker offers, over fake home folders."""

from pathlib import Path

import pytest

from app.chat import offers
from app.chat.services import Services
from app.page.models import choices
from app.store.store import Store
from engine.config import ModelSpec
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

"""The command line as where the model that comes along is installed."""

from pathlib import Path

import pytest

from engine.models import bundled


@pytest.fixture(autouse=True)
def _bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "find", lambda: tmp_path / "model.gguf")

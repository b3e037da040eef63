"""Fixtures that more than one folder of tests uses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a tiny random model of a family once per session: `tiny_model("qwen3")` -> its folder."""
    built: dict[str, Path] = {}

    def get(family: str = "llama", **options: Any) -> Path:
        from tests import models

        key = repr((family, sorted(options.items())))
        if key not in built:
            folder = tmp_path_factory.mktemp("models") / f"tiny-{family}"
            built[key] = models.build_styled(folder, family, **options)
        return built[key]

    return get

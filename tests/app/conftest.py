"""A store for tests that make turns."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    before = set(threading.enumerate())
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()
    assert set(threading.enumerate()) <= before, "a turn left a thread behind"

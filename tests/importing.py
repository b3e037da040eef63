"""An import over HTTP, as the page does it, for tests."""

import json
import time
from collections.abc import Callable
from typing import Any

Request = Callable[[str, bytes | None], Any]  # a path and, of a POST, what is sent; returns an open answer

PATIENCE_S = 30.0  # for what takes a moment on an idle machine; reaching it is the failure
RUNNING = ("reading", "adding")


def import_into(request: Request, data: bytes, name: str = "export.json") -> dict[str, Any]:
    """Import a file, asking the application so; returns what the page would say in the end."""
    number = _ask(request, "begin", b"")["id"]
    _ask(request, f"{number}/file?name={name}", data)
    for step in ("read", "add"):
        state = _ask(request, f"{number}/{step}", b"")
        deadline = time.monotonic() + PATIENCE_S
        while state["phase"] in RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.02)
            state = _ask(request, str(number))
    return state


def _ask(request: Request, path: str, data: bytes | None = None) -> dict[str, Any]:
    with request(f"import/{path}", data) as answer:
        state: dict[str, Any] = json.load(answer)
    return state

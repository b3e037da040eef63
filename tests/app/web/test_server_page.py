"""The real page behind the real server, asked by clients that are no browsers: raw queue calls with nonsense."""

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from app.chat.services import Services
from app.home import Home
from app.page.pace import Pacer
from app.serve import page_builder
from app.store.store import Store
from app.web import server
from engine.config import ModelSpec
from tests.scripted import ScriptedEngine

NONSENSE: list[Any] = [None, "x" * 300_000, {"path": "/etc/passwd"}]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Services]]:
    folder = tmp_path_factory.mktemp("home")
    home = Home(data=folder, logs=folder, cache=folder)
    store = Store(home.database)
    services = Services(ScriptedEngine(loaded=True), store)
    listener = server.bind(_free_port())
    app = server.create_app(page_builder(services, Pacer()))
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    _wait_until_ready(url)
    yield url, services
    running.should_exit = True
    thread.join(20)
    services.close()
    store.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str) -> None:
    for _ in range(600):
        answer = httpx.get(f"{url}/healthz").json()
        if answer["status"] == "ready":
            return
        assert answer["status"] == "starting", answer
        threading.Event().wait(0.1)
    raise AssertionError("the page was never built")


def call(url: str, fn_index: int, data: list[Any], event_data: Any = None) -> list[dict[str, Any]]:
    """Join Gradio's queue as a script would; returns the messages until the event has ended."""
    session = uuid.uuid4().hex
    body = {"data": data, "event_data": event_data, "fn_index": fn_index, "trigger_id": None, "session_hash": session}
    joined = httpx.post(f"{url}/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return [{"msg": "refused", "status": joined.status_code, "text": joined.text}]
    messages: list[dict[str, Any]] = []
    with httpx.stream("GET", f"{url}/gradio_api/queue/data", params={"session_hash": session}, timeout=30) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                messages.append(json.loads(line[5:]))
                if messages[-1]["msg"] in ("process_completed", "close_stream", "unexpected_error"):
                    break
    return messages


def handlers(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{url}/config").json()["dependencies"]
    return found


def error_of(messages: list[dict[str, Any]]) -> str | None:
    last = messages[-1]
    if last["msg"] == "refused":
        return str(last["text"])
    if last.get("success") is False:
        return str(last["output"].get("error"))
    return None


def assert_sentence(error: str) -> None:
    assert error
    assert error != "None"
    assert "Traceback" not in error
    assert ".py" not in error
    assert len(error) < 500


def named(url: str, name: str) -> dict[str, Any]:
    return next(handler for handler in handlers(url) if handler["api_name"] == name)


def test_every_handler_answers_nonsense_with_a_sentence(page: tuple[str, Services]) -> None:
    url, services = page
    refused = 0
    for handler in handlers(url):
        count = len(handler["inputs"])
        for data in ([], ["x"] * (count + 3), *([value] * count for value in NONSENSE)):
            error = error_of(call(url, handler["id"], data, {"id": "x", "index": "y", "value": 3}))
            if error is not None:
                refused += 1
                assert_sentence(error)
    assert refused > 50
    assert services.chat.running is None
    assert services.store.conversations() == []


def settings_of(url: str) -> list[Any]:
    """The values that the settings' controls start with, as the page would send them."""
    config = httpx.get(f"{url}/config").json()
    values = {component["id"]: component["props"].get("value") for component in config["components"]}
    return [values[id] for id in named(url, "send")["inputs"][2:]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The message is empty: write something first."),
        (" \n\t ", "The message is empty: write something first."),
        ("\x00\x07\x1b", "The message is empty: write something first."),
        ("x" * 1_000_000, "The message has 1,000,000 characters; at most 200,000 fit."),
    ],
)
def test_a_message_that_cannot_be_sent_is_a_sentence(page: tuple[str, Services], text: str, sentence: str) -> None:
    url, services = page
    error = error_of(call(url, named(url, "send")["id"], [None, text, *settings_of(url)]))
    assert error is not None
    assert error.startswith(sentence)
    assert services.store.conversations() == []


def test_settings_out_of_range_are_a_sentence(page: tuple[str, Services]) -> None:
    url, services = page
    settings = settings_of(url)
    settings[7] = 0  # new tokens at most
    error = error_of(call(url, named(url, "send")["id"], [None, "Hello", *settings]))
    assert error is not None
    assert_sentence(error)
    assert services.store.conversations() == []


def test_a_good_call_is_answered_and_kept(page: tuple[str, Services]) -> None:
    url, services = page
    list(services.engine.load(ModelSpec()))
    messages = call(url, named(url, "send")["id"], [None, "Hello\x07 there", *settings_of(url)])
    assert error_of(messages) is None
    assert len([message for message in messages if message["msg"] == "process_generating"]) >= 2
    (kept,) = services.store.conversations()
    asked, answer = services.store.path(kept.id)
    assert asked.text == "Hello there"
    assert answer.status == "complete"
    assert answer.run is not None
    services.store.delete(kept.id)


def test_headers_are_numbered_in_the_order_in_which_they_were_made(page: tuple[str, Services]) -> None:
    """So that a page leaves out one that comes late and would take its address away."""
    url, _ = page
    event = named(url, "new")
    place = next(at for at, part in enumerate(event["outputs"]) if part == header_id(url))
    numbers = [call(url, event["id"], [None])[-1]["output"]["data"][place]["number"] for _ in range(3)]
    assert numbers == sorted(set(numbers))


def header_id(url: str) -> int:
    parts = httpx.get(f"{url}/config").json()["components"]
    return next(part["id"] for part in parts if part["props"].get("elem_id") == "header")


def test_the_head_stands_in_the_document_before_gradios_scripts_run(page: tuple[str, Services]) -> None:
    answer = httpx.get(page[0])
    head, body = answer.text.split("</head>", 1)
    assert len(answer.content) == int(answer.headers["content-length"])
    assert [*(head.count(part) for part in ("/theme.js", "/statustracker-", "window.slipstream = {"))] == [1, 1, 1]
    assert "slipstream" not in body.lower()


def test_a_wrong_body_is_refused(page: tuple[str, Services]) -> None:
    url, _ = page
    for body in (b"", b"[", b"{}", b'{"fn_index": 99999, "data": []}', b'{"fn_index": "send"}'):
        answer = httpx.post(f"{url}/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
        assert answer.status_code >= 400
        assert "Traceback" not in answer.text


def test_no_file_of_this_machine_is_given_out(page: tuple[str, Services]) -> None:
    url, services = page
    for path in ("/etc/passwd", str(services.store.file), str(Path(__file__))):
        assert httpx.get(f"{url}/gradio_api/file={path}").status_code in (403, 404)

"""Requests: raw calls of the page's queue, every HTTP route, settings, lines of a batch."""

import json
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.api.routes import is_api
from app.chat.imports import Imports
from app.chat.services import Services
from app.page import settings as page_settings
from app.page.events import Refused
from app.page.pace import Pacer
from app.page.parts import Settings
from app.serve import Exposure, _application, page_builder
from app.store.records import ConversationSettings
from app.store.store import Store
from app.web import server
from engine import codec
from engine.batch import Options, PromptLine, parse_line
from engine.config import ModelSpec
from tests.api import serving
from tests.engine.models.test_damaged_folders import mutated, values
from tests.fuzz.boundary import Boundary, Check, check_sentence
from tests.fuzz.variants import at, varied
from tests.scripted import ScriptedEngine
from tests.turns import wait_until

NUMBERS = st.sampled_from([0, 1, 2, -1, 3, 2**31, 2**53, 2**63, 2**64, 0.5, True])
WORDS = st.sampled_from(
    ["", "x", "starter", "http://127.0.0.1:1", "../../etc/passwd", "\0", "\ud800", "a" * 5000, "<b>"]
)
ANYTHING = st.one_of(values, NUMBERS, WORDS)


@contextmanager
def _services() -> Iterator[Services]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "slipstream.db")
        environment = {"HF_HOME": folder, "HF_HUB_OFFLINE": "1", "HOME": folder}
        flags = ModelSpec(offline=True)  # nothing is downloaded
        services = Services(ScriptedEngine(loaded=True, answers=("yes",)), store, flags, environment)
        chat = store.new_conversation(ConversationSettings(), "A talk")
        asked = store.add_message(chat.id, None, "user", "a question")
        store.add_message(chat.id, asked.id, "assistant", "an answer")
        try:
            yield services
        finally:
            services.close()
            store.close()


# The page's queue

CALLS = 25  # of one page, so that they can wait for each other
SOME_IDS = st.lists(st.sampled_from([1, 2, 3, -1, 2**60, True, "1"]), max_size=3)
SENT = {  # what handlers read of an event's data, and what comes near to it
    **dict.fromkeys(("id", "message", "offset"), st.sampled_from([1, 2, -1, 2**53])),
    **dict.fromkeys(("text", "title", "label"), WORDS),
    **dict.fromkeys(("plain", "archive", "private", "all"), st.booleans()),
    **dict.fromkeys(("ids", "added", "without"), SOME_IDS),
    "warmer": st.sampled_from([-1, 0, 1]),
    "act": st.sampled_from(["pin", "unpin", "archive", "unarchive", "label", "unlabel", "delete", "x"]),
    "action": st.sampled_from(["cancel", "pause", "load", "x"]),  # nothing that asks others for anything
}
EVENTS = st.one_of(
    st.none(),
    st.fixed_dictionaries({}, optional={name: st.one_of(ANYTHING, near) for name, near in SENT.items()}),
    st.fixed_dictionaries({name: SENT[name] for name in ("ids", "act", "label")}),
    ANYTHING,
)
QUEUE_CALLS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(-1, 1), st.lists(ANYTHING, min_size=1, max_size=6), EVENTS),
    min_size=CALLS,
    max_size=CALLS,
)


@contextmanager
def queue() -> Iterator[Check]:
    with _services() as services:
        app = server.create_app(page_builder(services, Pacer()))
        with serving(app) as url, httpx.Client(base_url=url, timeout=60) as page:
            wait_until(lambda: page.get("/healthz").json()["status"] == "ready")
            events = page.get("/config").json()["dependencies"]

            def check(calls: list[tuple[int, int, list[Any], Any]]) -> None:
                session, waiting = uuid.uuid4().hex, 0
                for number, more, given, data in calls:
                    event = events[number % len(events)]
                    count = max(0, len(event["inputs"]) + (more if number % 5 == 0 else 0))
                    body = {
                        "data": [given[at % len(given)] for at in range(count)],
                        "event_data": data,
                        "fn_index": event["id"],
                        "session_hash": session,
                    }
                    try:
                        sent = json.dumps(body).encode()
                    except ValueError:  # what JSON cannot say
                        continue
                    joined = page.post(
                        "/gradio_api/queue/join", content=sent, headers={"Content-Type": "application/json"}
                    )
                    assert joined.status_code < 500, (event["api_name"], joined.text[:300])
                    waiting += joined.status_code == 200
                _until_over(page, session, waiting)
                assert page.get("/healthz").json()["status"] == "ready"

            yield check


def _until_over(page: httpx.Client, session: str, waiting: int) -> None:
    """Read what a page is told until all its events have ended, each well or with a sentence."""
    if not waiting:
        return
    with page.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            told = json.loads(line[5:]) if line.startswith("data:") else {}
            assert told.get("msg") != "unexpected_error", told
            if told.get("msg") == "process_completed":
                waiting -= 1
                error = told["output"].get("error")
                if not told["success"]:
                    check_sentence(error)
                if not waiting:
                    return


# Routes

PATHS = [
    *(f"/export/{{}}.{kind}" for kind in ("json", "md", "html")),
    *("/export/all.json", "/export/all.html", "/export/all.md", "/import/begin", "/import/{}", "/import/{}/file"),
    *("/import/{}/{}", "/attachments/{}", "/attachments/{}/remove", "/attachments/{}/text", "/origins/shown/{}"),
    *("/origins/message/{}", "/origins/running/{}", "/memory/look/{}", "/memory/forget/{}", "/memory/forget-all"),
    *("/memory/undo", "/memory/export/{}.json", "/memory/import", "/report/{}", "/report", "/theme.js", "/theme/{}"),
    *("/drawn", "/draft/{}", "/draft", "/v1/models", "/v1/models/{}", "/v1/chat/completions", "/v1/completions"),
    *("/healthz", "/", "/favicon.ico", "/ticket", "/gradio_api/queue/join", "/config", "/{}", "/private/{}"),
    *("/export/chosen.{}", "/attachments/held", "/private/{}/leave", "/manifest.json", "/favicon.svg"),
    *("/models", "/models/{}", "/chat/completions", "/chat/completions/{}", "/completions", "/completions/{}"),
    *("/v1", "/v1/{}", "/origins/shown", "/theme"),
]
PARTS = st.sampled_from(
    ["0", "1", "2", "-1", "9" * 30, "all", "x", "read", "add", "undo", "cancel", "on", "%00", "%2e%2e", "é", "1.5", ""]
)
QUERIES = st.dictionaries(
    st.sampled_from(["name", "pasted", "phrase", "number", "token", "ticket", "sent", "ids", "conversation"]),
    st.text(max_size=9) | st.sampled_from(["1", "1,2", "1,99", "9" * 30]),
    max_size=2,
)
API_BODY = {
    "model": "starter",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    "stream": False,
    "max_tokens": 5,
    "temperature": 0.5,
    "stop": ["END"],
    "logprobs": True,
    "top_logprobs": 2,
    "stream_options": {"include_usage": True},
    "seed": 3,
}
BODIES = st.one_of(
    st.binary(max_size=40),
    mutated(API_BODY).map(lambda body: json.dumps(body).encode()),
    mutated({**API_BODY, "prompt": "hello"}).map(lambda body: json.dumps(body).encode()),
    values.map(lambda body: json.dumps(body).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Origin", "Range", "Accept", "Cookie", "X-A", "Sec-Fetch-Site", "If-None-Match"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    max_size=2,
)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    st.sampled_from(PATHS),
    st.lists(PARTS, min_size=2, max_size=2),
    QUERIES,
    HEADERS,
    BODIES,
)


def _paths(served: Iterable[Any]) -> Iterator[str]:
    """The paths that are served, as `PATHS` has them."""
    for route in served:
        inner = getattr(route, "original_router", None)  # what FastAPI makes of a router that is included
        if inner is not None:
            yield from _paths(inner.routes)
        elif route.path:  # Gradio's has none
            yield re.sub(r"{[^}]*}", "{}", route.path)


@contextmanager
def routes() -> Iterator[Check]:
    with _services() as services, tempfile.TemporaryDirectory() as folder:
        services.access.switch(True)
        key = services.access.new_key()
        imports = Imports(services.store, Path(folder) / "import", services.imported, services.delete)
        app = _application(services, imports, Pacer(), None, Exposure(page=True, api=True), None)
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True)  # the page is never built

        left_out = set(_paths(app.routes)) - set(PATHS)
        assert not left_out, left_out

        def check(value: tuple[str, str, list[str], dict[str, str], dict[str, str], bytes]) -> None:
            method, path, parts, query, headers, body = value
            for part in parts:
                path = path.replace("{}", part, 1)
            if is_api(path):
                headers = {**headers, "Authorization": f"Bearer {key}"}
            answer = client.request(method, path, params=query, headers=headers, content=body, follow_redirects=False)
            assert answer.status_code in (503, *range(500)), (answer.status_code, answer.text[:300])  # 503: it starts
            assert "Traceback" not in answer.text
            if answer.status_code >= 400 and method != "HEAD":
                assert answer.text.strip()

        try:
            yield check
        finally:
            imports.close()


# Settings

CONTROLS = tuple(Settings.__dataclass_fields__)
KEPT = json.loads(codec.dumps(ConversationSettings(system="s", seed=3)))


@contextmanager
def settings() -> Iterator[Check]:
    def check(value: tuple[list[Any], Any]) -> None:
        said, kept = value
        try:
            page_settings.read(said)
        except Refused as exc:
            check_sentence(exc)
        try:
            read = codec.load_settings(ConversationSettings, kept, "the settings")
        except ValueError as exc:
            check_sentence(exc)
            return
        assert codec.load(ConversationSettings, json.loads(codec.dumps(read)), "the settings") == read

    yield check


SETTINGS = st.tuples(
    st.one_of(
        st.lists(ANYTHING, max_size=len(CONTROLS) + 1),
        st.tuples(
            *(st.one_of(ANYTHING, NUMBERS, st.sampled_from(["exact", "default", "adaptive", "12"])) for _ in CONTROLS)
        ).map(list),
    ),
    mutated(KEPT),
)

# Batches

LINES = [
    {"prompt": "hello", "max_tokens": 5, "temperature": 0.5, "stop": ["a"], "id": "x", "category": 3},
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "seed": 3, "mode": "plain"},
    {"turns": ["a", "b"], "system": "s", "model": "starter", "exactness": "fast", "drafter": "adaptive"},
]
BATCH = st.tuples(
    st.one_of(
        st.sampled_from(LINES).flatmap(mutated).map(lambda line: json.dumps(line).encode()),
        st.binary(max_size=40),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ),
    st.booleans(),
)


@contextmanager
def batch() -> Iterator[Check]:
    defaults = Options()

    def check(value: tuple[bytes, bool]) -> None:
        line, with_turns = value
        try:
            parsed = parse_line(line, 7, defaults, with_turns=with_turns)
        except ValueError as exc:
            check_sentence(str(exc).removeprefix("Line 7: "))
        else:
            assert isinstance(parsed, PromptLine)
            codec.dumps(parsed.request())

    yield check


ASKED = (
    Boundary("queue", QUEUE_CALLS, queue, CALLS),
    Boundary("routes", REQUESTS, routes, vary=at(3, 5)),
    Boundary("settings", SETTINGS, settings, vary=varied),
    Boundary("batch-lines", BATCH, batch, vary=varied),
)

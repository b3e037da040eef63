"""The API as the command line serves it: with the page or without, on this machine or beyond."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import app.serve as compose
from app.api.routes import is_api
from app.commands.cli import Serve, parse
from app.commands.flags import UsageError
from app.commands.server_flags import Exposure
from app.home import Home
from app.store.access import PREFIX, ApiAccess
from app.store.store import Store
from app.web import server
from tests.api import URL, question
from tests.scripted import loaded_engine
from tests.turns import ANSWER, WAIT_S


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(data=tmp_path, logs=tmp_path / "logs", cache=tmp_path / "cache").create()


@pytest.fixture
def serve(home: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Serve, and let `look` ask the application before it ends."""

    def served(exposure: Exposure, look: Callable[[FastAPI, list[socket.socket]], None]) -> None:
        def run(app: FastAPI, listeners: list[socket.socket]) -> None:
            try:
                look(app, listeners)
            finally:
                for listener in listeners:
                    listener.close()

        monkeypatch.setattr(compose, "run", run)
        engine = loaded_engine(answers=(ANSWER,))
        assert compose.serve(home, engine, lambda: Store(home.database), open_browser=False, exposure=exposure) == 0
        assert engine.closed

    return served


def nothing(app: FastAPI, listeners: list[socket.socket]) -> None:
    """Do not ask anything."""


def shown_key(said: str) -> str:
    return next(word for word in said.split() if word.startswith(PREFIX))


def test_the_key_is_shown_once_and_works(
    serve: Callable[..., None], capsys: pytest.CaptureFixture[str], home: Home
) -> None:
    answers: list[Any] = []

    def ask(app: FastAPI, listeners: list[socket.socket]) -> None:
        key = shown_key(capsys.readouterr().out)
        with TestClient(app, base_url=URL, headers={"Authorization": f"Bearer {key}"}) as client:
            answers.append(client.post("/v1/chat/completions", json=question(model="smollm2")).json())
            answers.append(client.get("/").text)
            assert client.get("/import").status_code == 404

    serve(Exposure(page=False, api=True), ask)
    assert answers[0]["choices"][0]["message"]["content"] == ANSWER
    assert answers[1].startswith("Slipstream serves its API here, under /v1")
    serve(Exposure(page=False, api=True), nothing)
    again = capsys.readouterr().out
    assert PREFIX not in again
    assert "--new-key makes another one" in again
    serve(Exposure(page=False, api=True, new_key=True), nothing)
    assert shown_key(capsys.readouterr().out)
    assert not any(PREFIX.encode() in path.read_bytes() for path in home.data.rglob("*") if path.is_file())


def test_without_the_flag_the_api_is_off_and_not_spoken_of(
    serve: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(app: FastAPI, listeners: list[socket.socket]) -> None:
        with TestClient(app, base_url=URL) as client:
            assert client.get("/v1/models").json()["error"]["code"] == "api_off"

    serve(Exposure(), ask)
    assert "/v1" not in capsys.readouterr().out


def test_another_machine_may_use_the_api_and_nothing_else(serve: Callable[..., None]) -> None:
    def ask(app: FastAPI, listeners: list[socket.socket]) -> None:
        assert [listener.getsockname()[0] for listener in listeners] == ["0.0.0.0"]
        with TestClient(app, base_url="http://192.168.1.7:7860", client=("192.168.1.9", 5000)) as far:
            assert far.get("/v1/models").status_code == 401
            for path in ("/", "/healthz", "/export/all.json", "/gradio_api/info"):
                assert far.get(path).status_code == 403
            assert far.get("/v1/models", headers={"Host": "rebound.evil.com"}).status_code == 400
            assert far.get("/v1/models", headers={"Host": socket.gethostname()}).status_code == 401
            assert far.get("/v1/models", headers={"Origin": "http://evil.com"}).status_code == 403
        with TestClient(app, base_url=URL, client=("127.0.0.1", 5000)) as near:
            assert near.get("/healthz").status_code == 200

    serve(Exposure(api=True, host="0.0.0.0"), ask)


@pytest.mark.parametrize(
    ("client", "here"),
    [
        *((address, True) for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")),
        *((address, False) for address in ("10.0.0.1", "::ffff:10.0.0.1", "", "unix")),
    ],
)
def test_this_machine_is_known_by_its_address(client: str, here: bool) -> None:
    app = server.create_app(FastAPI, is_open=is_api, names=["box"])
    with TestClient(app, base_url=URL, client=(client, 5000)) as asking:
        assert (asking.get("/healthz").status_code == 200) is here
        for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"):  # a proxy here asks for somebody elsewhere
            assert asking.get("/healthz", headers={name: "10.0.0.1"}).status_code == 403


def test_an_address_of_this_machine_is_listened_on_beside_its_loopback() -> None:
    wanted = {
        None: ["127.0.0.1"],
        "localhost": ["127.0.0.1"],
        "0.0.0.0": ["0.0.0.0"],
        **({"127.0.0.2": ["127.0.0.1", "127.0.0.2"]} if sys.platform == "linux" else {}),  # elsewhere it must be added
    }
    for host, addresses in wanted.items():
        listeners = server.listen(None, host)
        assert [listener.getsockname()[0] for listener in listeners] == addresses
        for listener in listeners:
            listener.close()
    for host in ("203.0.113.5", "no such host"):
        with pytest.raises(server.UnknownHost, match=f"{host} is no address of this machine"):
            server.listen(None, host)


def test_the_command_line_says_who_is_served() -> None:
    def read(*argv: str) -> Serve:
        command, _ = parse([*argv])
        assert isinstance(command, Serve)
        return command

    alone = read("--port", "8000", "serve", "--host", "0.0.0.0", "--new-key", "--model", "starter")
    assert alone.exposure == Exposure(page=False, api=True, host="0.0.0.0", new_key=True)
    assert alone.port == 8000
    assert (alone.named, alone.spec.model) == (True, "starter")
    both = read("--api", "--no-browser")
    assert (both.exposure, both.browser) == (Exposure(api=True), False)
    page = read()
    assert (page.exposure, page.port) == (Exposure(), None)
    for argv in (["--host", "0.0.0.0"], ["--new-key"], ["serve", "--host", " "]):
        with pytest.raises(UsageError, match="--host"):
            parse(argv)


def test_every_address_is_also_the_loopback_address_that_the_page_has(monkeypatch: pytest.MonkeyPatch) -> None:
    class SixOnly(socket.socket):
        """As Windows makes them."""

        def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
            super().__init__(family, kind, proto, fileno)
            if family == socket.AF_INET6 and fileno is None:
                self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)

    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        pytest.skip("this system has no IPv6")
    monkeypatch.setattr(socket, "socket", SixOnly)
    listeners = server.listen(None, "::")
    try:
        socket.create_connection((server.HOST, listeners[0].getsockname()[1]), timeout=WAIT_S).close()
    finally:
        for listener in listeners:
            listener.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_told_an_address_that_they_can_use(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(compose, "own_address", lambda: "192.168.1.7")
    compose.announce_api(ApiAccess(store), Exposure(api=True, host=host), 7860)
    said = capsys.readouterr().out
    assert "reach the model at http://127.0.0.1:7860/v1" in said
    assert "from other machines at http://192.168.1.7:7860/v1" in said
    assert host not in said


def test_this_machine_has_an_address_or_a_name() -> None:
    assert server.own_address() not in ("", "0.0.0.0")

"""Who may open the page: the token, tickets, the cookie, and everybody else."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from starlette.testclient import TestClient

import app.serve as compose
from app.api.routes import is_api
from app.commands.server_flags import Exposure
from app.home import Home, Instance, InstanceLock
from app.store.store import Store
from app.web import page_token, peer, server
from app.web.page_token import PageToken
from tests.app.web.test_server import small_page, wait_for
from tests.scripted import loaded_engine

URL = "http://127.0.0.1:7860"
TOKEN = "t" * 43
BEARER = {"Authorization": f"Bearer {TOKEN}"}
AS_ANOTHER_ACCOUNT = """
import encodings.idna, json, os, sys, urllib.error, urllib.request
os.setgroups([]); os.setgid(65534); os.setuid(65534)

def ask(url):
    try:
        return urllib.request.urlopen(url, timeout=20).status
    except urllib.error.HTTPError as exc:
        return exc.code

def read(path):
    try:
        return open(path).read()
    except OSError as exc:
        return type(exc).__name__

_, paths, url, *files = sys.argv
print(json.dumps([{name: ask(url + path) for name, path in json.loads(paths).items()}, [read(file) for file in files]]))
"""
PAGE = {"Accept": "text/html,application/xhtml+xml"}


def routes() -> APIRouter:
    router = APIRouter()

    @router.api_route("/export/all.json", methods=["GET", "POST"])
    @router.get("/v1/models")
    def secret() -> PlainTextResponse:
        return PlainTextResponse("kept")

    return router


@pytest.fixture
def token() -> PageToken:
    return PageToken(TOKEN)


@pytest.fixture
def client(token: PageToken) -> Iterator[TestClient]:
    app = server.create_app(small_page, [routes()], token=token, is_keyed=is_api)
    with TestClient(app, base_url=URL, follow_redirects=False) as client:
        wait_for(client, "ready")
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        PAGE,
        {"Cookie": "slipstream-7860=" + "u" * 43},
        {"Cookie": f"slipstream-7861={TOKEN}"},
        {"Cookie": "slipstream-7860"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \xe9"},
    ],
)
def test_whoever_shows_no_token_gets_nothing(client: TestClient, headers: dict[str, str]) -> None:
    raw = {key: value.encode("latin-1") for key, value in headers.items()}
    for path in ("/", "/export/all.json", "/config", "/gradio_api/queue/data", "/ticket", "//", "/v10"):
        for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT"):
            answer = client.request(method, f"{URL}{path}", headers=raw)
            assert answer.status_code == 401
            assert "kept" not in answer.text
            assert "the page" not in answer.text
            assert TOKEN not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/favicon.svg", "/favicon.ico", "/v1/models"])
def test_health_icon_and_the_api_which_has_a_key_of_its_own_ask_for_none(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_a_person_is_told_how_to_come_in_and_a_program_too(client: TestClient) -> None:
    page = client.get("/", headers=PAGE)
    assert page.headers["content-type"].startswith("text/html")
    assert "<code>python launcher.py url</code>" in page.text
    assert '<input type="password" name="token"' in page.text
    assert "python launcher.py url" in client.get("/export/all.json").json()["error"]


def test_the_address_with_the_token_opens_the_page_for_good(client: TestClient) -> None:
    opened = client.get("/", params={"token": TOKEN, "__theme": "dark"})
    assert (opened.status_code, opened.headers["location"]) == (303, "/?__theme=dark")
    cookie = opened.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert client.get("/").text == "the page"
    assert client.post("/export/all.json").text == "kept"
    assert client.get("/", headers={"Cookie": f"other=a=b; ; {cookie.split(';')[0]}; x"}).text == "the page"


@pytest.mark.parametrize(
    "query", ["token=", "token=wrong", "ticket=", f"ticket={TOKEN}", "token=%ff", f"ticket=a&token={TOKEN}x"]
)
def test_a_wrong_token_opens_nothing(client: TestClient, query: str) -> None:
    answer = client.get(f"/?{query}")
    assert answer.status_code == 401
    assert "not the token" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_program_shows_the_token_in_a_header(client: TestClient) -> None:
    assert client.get("/export/all.json", headers=BEARER).text == "kept"
    assert client.get("/export/all.json", params={"token": TOKEN}).status_code == 401  # in no address but the page's


def test_a_ticket_opens_the_page_once(client: TestClient, token: PageToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_token, "account_of", lambda *_: None)
    ticket = client.get("/ticket", headers=BEARER).json()["ticket"]
    assert ticket != TOKEN
    assert client.get("/", params={"ticket": ticket}).status_code == 303
    assert client.get("/", params={"ticket": ticket}).status_code == 303  # reloaded, by whom it let in
    client.cookies.clear()
    assert client.get("/", params={"ticket": ticket}).status_code == 401


def test_a_ticket_is_void_after_a_minute_and_for_other_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    token = PageToken(TOKEN, lambda: now[0])
    late, early = token.ticket(), token.ticket()
    monkeypatch.setattr(page_token, "_this_account", lambda: 1000)
    watched = token.ticket()
    for account, fits in ((1001, False), (1000, True)):  # another account cannot make it void
        monkeypatch.setattr(page_token, "account_of", lambda *_, account=account: account)
        assert token.redeem(watched, None, None) is fits
    for account, fits in ((1000, True), (1001, False), (peer.NOBODY, False), (None, True)):
        monkeypatch.setattr(page_token, "account_of", lambda *_, account=account: account)
        assert token.redeem(token.ticket(), None, None) is fits
    now[0] = 59.9
    assert token.redeem(early, None, None)
    now[0] = 60.1
    assert not token.redeem(late, None, None)


@contextmanager
def answering(token: PageToken, address: str = "127.0.0.1") -> Iterator[int]:
    """A real server, which asks for the token; its port."""
    listener = server.bind(0, address)
    app = server.create_app(small_page, [routes()], token=token, is_keyed=is_api)
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        for _ in range(200):
            if running.started:
                break
            threading.Event().wait(0.05)
        yield listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(20)


@pytest.mark.skipif(not peer.TABLES[0].exists(), reason="the system does not say whose connections are")
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_the_system_says_whose_a_connection_is(address: str) -> None:
    """Over a real connection: the other end is this account's, and one that is not there is nobody's."""
    if address == "::" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    token = PageToken(TOKEN)
    with answering(token, address) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", params={"ticket": token.ticket()}).status_code == 303
        client, there = ("127.0.0.1", 9), ("127.0.0.1", port)
        assert peer.account_of(client, there) == peer.NOBODY
        assert not token.redeem(token.ticket(), client, there)


@pytest.mark.skipif(
    not peer.TABLES[0].exists() or os.getuid() != 0, reason="only root may become another account, and Linux is needed"
)
def test_another_account_gets_nothing(home: Home) -> None:
    """A real process of another account, which has seen the ticket that the browser was started with."""
    token = PageToken.read(home.page_token)
    home.database.write_text("kept")
    with answering(token) as port:
        tried = {
            "the page": "/",
            "export": "/export/all.json",
            "a ticket": "/ticket",
            "a stolen ticket": f"/?ticket={token.ticket()}",
            "health": "/healthz",
        }
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                AS_ANOTHER_ACCOUNT,
                json.dumps(tried),
                f"http://127.0.0.1:{port}",
                home.page_token,
                home.database,
            ],
            stdout=subprocess.PIPE,
            check=True,
        )
    got, read = json.loads(done.stdout)
    assert got == dict.fromkeys(tried, 401) | {"health": 200}
    assert read == ["PermissionError", "PermissionError"]


def test_the_token_is_kept_for_this_account_alone(tmp_path: Path) -> None:
    path = tmp_path / "page-token"
    before = os.umask(0)
    try:
        first = PageToken.read(path)
    finally:
        os.umask(before)
    assert len(first.value) == 43
    assert PageToken.read(path).value == first.value
    assert PageToken.read(path, new=True).value != first.value
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["", "short", "é" * 43, "x" * 5000])
def test_a_damaged_token_is_made_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "page-token"
    path.write_text(damage, encoding="utf-8")
    path.chmod(0o600)
    token = PageToken.read(path)
    assert len(token.value) == 43
    assert path.read_text() == token.value


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights elsewhere")
def test_a_token_that_others_could_read_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "page-token"
    first = PageToken.read(path).value
    path.chmod(0o644)
    assert PageToken.read(path).value != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(data=tmp_path, logs=tmp_path / "logs", cache=tmp_path / "cache").create()


def test_a_token_that_cannot_be_kept_is_a_sentence(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.page_token.mkdir()
    engine = loaded_engine()
    assert compose.serve(home, engine, lambda: Store(home.database), open_browser=False) == 1
    assert engine.closed
    assert f"cannot be written to {home.page_token}" in capsys.readouterr().err


def served(home: Home, exposure: Exposure, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[int]]:
    """Serve in this process and start a second one beside it: the addresses that browsers got, and what they were
    answered with."""
    opened: list[str] = []
    statuses: list[int] = []
    browsing = threading.Event()

    def browse(url: str, environment: object) -> None:
        opened.append(url)
        statuses.append(httpx.get(url).status_code)
        browsing.set()

    def run(app: FastAPI, listeners: list[socket.socket]) -> None:
        running = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": listeners}, daemon=True)
        thread.start()
        assert browsing.wait(30)
        second = loaded_engine()
        assert compose.serve(home, second, lambda: Store(home.database), open_browser=True) == 1
        assert compose.print_address(home, sys.stdout) == 0
        running.should_exit = True
        thread.join(30)

    monkeypatch.setattr(compose, "_open_browser", browse)
    monkeypatch.setattr(compose, "run", run)
    assert compose.serve(home, loaded_engine(), lambda: Store(home.database), exposure=exposure) == 0
    return opened, statuses


def test_browsers_get_tickets_and_people_the_token(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, statuses = served(home, Exposure(), monkeypatch)
    kept = home.page_token.read_text()
    said = capsys.readouterr()
    first, *_, last = said.out.splitlines()
    url = first.split()[3]
    assert url.endswith(f"/?token={kept}")
    assert last == url
    assert statuses == [303, 303]
    assert all("ticket=" in each and kept not in each for each in opened)
    assert f"already running at {url} (process" in said.err


def test_all_accounts_are_served_where_the_flag_says_so(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, statuses = served(home, Exposure(to_all_accounts=True), monkeypatch)
    assert statuses == [200, 200]
    assert not home.page_token.exists()
    assert [url.split()[3] for url in capsys.readouterr().out.splitlines()[:1]] == opened[:1]


def test_the_address_of_none_is_a_sentence(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert compose.print_address(home, sys.stdout) == 1
    with InstanceLock(home) as lock:
        lock.announce(Instance(1, 9, "http://127.0.0.1:9/"))  # of another machine
        assert compose.print_address(home, sys.stdout) == 1
    PageToken.read(home.page_token)
    with answering(PageToken(TOKEN)) as port:  # one was killed, and another program has its port now
        home.instance.write_text(json.dumps({"pid": 1, "port": port, "url": f"http://127.0.0.1:{port}/"}))
        assert compose.print_address(home, sys.stdout) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count(f"No Slipstream is running on {home.data}: start it") == 3

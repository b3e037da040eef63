"""The server without its page: health, splash, who is refused, ports, second instance, files."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from sqlite_utils import Database, Migrations
from starlette.testclient import TestClient
from starlette.types import ASGIApp

import app.serve as compose
from app.home import Home, Instance, InstanceLock
from app.store.store import Store
from app.web import server
from tests.scripted import ScriptedEngine

URL = "http://127.0.0.1:7860"


def small_page() -> ASGIApp:
    page = FastAPI()

    @page.api_route("/", methods=["GET", "POST"])
    def root() -> PlainTextResponse:
        return PlainTextResponse("the page")

    return page


def wait_for(client: TestClient, status: str) -> dict[str, object]:
    for _ in range(500):
        answer: dict[str, object] = client.get("/healthz").json()
        if answer["status"] == status:
            return answer
        threading.Event().wait(0.01)
    raise AssertionError(f"never {status}, but {answer}")


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(server.create_app(small_page), base_url=URL) as client:
        wait_for(client, "ready")
        yield client


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(data=tmp_path, logs=tmp_path / "logs", cache=tmp_path / "cache").create()


def test_health_and_splash_come_before_the_page() -> None:
    built = threading.Event()

    def slowly() -> ASGIApp:
        assert built.wait(30)
        return small_page()

    with TestClient(server.create_app(slowly), base_url=URL) as client:
        assert client.get("/healthz").json()["status"] == "starting"
        splash = client.get("/")
        assert splash.status_code == 200
        assert "/healthz" in splash.text
        assert splash.headers["cache-control"] == "no-store"
        too_early = client.get("/gradio_api/info")
        assert (too_early.status_code, too_early.headers["retry-after"]) == (503, "1")
        assert too_early.json() == {"detail": "Slipstream is starting."}
        built.set()
        wait_for(client, "ready")
        assert client.get("/").text == "the page"


def test_a_page_that_cannot_be_built_is_one_sentence() -> None:
    def broken() -> ASGIApp:
        raise RuntimeError("secret detail")

    with TestClient(server.create_app(broken), base_url=URL) as client:
        message = str(wait_for(client, "failed")["message"])
        assert "--repair" in message
        assert "secret" not in message
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860"])
def test_this_machine_is_served(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).text == "the page"


@pytest.mark.parametrize(
    "host",
    [
        "evil.com",
        "evil.com:7860",
        "127.0.0.1.evil.com",
        "192.168.0.7",
        "",
        "[::1",
        "evil.com@localhost",
        "127.0.0.1#x",
        "127.0.0.1/x",
    ],
)
@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_a_foreign_host_is_refused(client: TestClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("open the address that it printed.")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://[::1"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://localhost:7860"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
)
def test_another_site_is_refused_in_a_sentence(client: TestClient, headers: dict[str, str]) -> None:
    for answer in (client.get("/", headers=headers), client.post("/", headers=headers)):
        assert answer.status_code == 403
        assert answer.json()["error"].endswith("came from another site.")


def test_its_own_page_and_a_link_are_served(client: TestClient) -> None:
    own = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/", headers=own).text == "the page"
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=link).text == "the page"
    assert client.post("/", headers=link).status_code == 403  # a form of another site


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_the_browser_is_told_to_fetch_nothing_from_another_machine(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "//" not in policy
    assert headers["x-dns-prefetch-control"] == "off"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_port_in_use_is_refused_and_otherwise_another_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(server.PortInUse, match=f"Port {port} is in use.*--port"):
            server.bind(port)
    with server.bind(None) as first, server.bind(None) as second:
        assert first.getsockname()[0] == "127.0.0.1"
        assert first.getsockname()[1] != second.getsockname()[1]


def serve(home: Home, **options: object) -> tuple[int, ScriptedEngine]:
    engine = ScriptedEngine()
    code = compose.serve(home, engine, lambda: Store(home.database), **options)  # type: ignore[arg-type]
    return code, engine


def test_serving_on_a_port_in_use_fails_with_a_sentence(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        code, engine = serve(home, port=taken.getsockname()[1], open_browser=False)
    assert code == 1
    assert engine.closed
    assert "in use" in capsys.readouterr().err


def test_a_second_instance_says_so_and_opens_the_first_page(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(compose, "_open_browser", lambda url, environment: opened.append(url))
    with InstanceLock(home) as lock:
        lock.announce(Instance(1, 7861, "http://127.0.0.1:7861/"))
        code, engine = serve(home)
    assert code == 1
    assert engine.closed
    assert opened == ["http://127.0.0.1:7861/"]
    assert "already running at http://127.0.0.1:7861/" in capsys.readouterr().err
    assert not home.database.exists()  # a second one does not touch the first one's store


def test_a_broken_database_fails_with_a_sentence(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.database.write_bytes(b"not a database" * 1000)
    code, _ = serve(home, open_browser=False)
    error = capsys.readouterr().err
    assert code == 1
    assert str(home.database) in error
    assert "Traceback" not in error


def test_a_newer_database_is_refused_and_stays_as_it_was(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    Store(home.database).close()
    later = Migrations("slipstream")
    later(name="9999_later")(lambda db: None)
    with closing(Database(home.database)) as file:
        later.apply(file)
    before = home.database.read_bytes()
    code, engine = serve(home, open_browser=False)
    error = capsys.readouterr().err
    assert code == 1
    assert "was written by a newer version of Slipstream (its step 9999_later is unknown here)" in error
    assert "Traceback" not in error
    assert home.database.read_bytes() == before
    assert engine.closed


def test_the_page_s_process_imports_neither_torch_nor_early_gradio() -> None:
    import subprocess
    import sys

    code = "import sys, app.serve; print([m for m in ('torch', 'gradio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_whole_page_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, app.serve, app.page.page; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""A real Chromium and real servers for the tests of the page; they look at what is visible."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = os.environ.get("SLIPSTREAM_REQUIRE_BROWSER") == "1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
START_S = 90


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.flaky(reruns=1))  # a busy machine outruns a wait; both tries are shown


def _missing(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"{reason} (SLIPSTREAM_REQUIRE_BROWSER=1)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; where there is none the tests are skipped, or fail under `SLIPSTREAM_REQUIRE_BROWSER=1`."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        _missing(f"no browser: none of {', '.join(BROWSERS)} is installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("no browser: playwright is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield chromium
        chromium.close()


@dataclass
class Server:
    """A server in a process of its own."""

    home: Path
    url: str
    process: subprocess.Popen[bytes]
    command: list[str]

    @property
    def token(self) -> str:
        """What opens the page."""
        return (self.home / "page-token").read_text(encoding="ascii")

    def request(self, path: str, data: bytes | None = None) -> Any:
        """Ask for a path outside a browser; the open answer."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers))

    def kill(self) -> None:
        """End the server and what it started without a warning, as a power cut does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def start_again(self) -> None:
        self.process = _start(self.command, self.home, self.url)

    def release(self) -> None:
        """Let go on what the scripted engine holds."""
        (self.home / "release").touch()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def _start(command: list[str], home: Path, url: str) -> "subprocess.Popen[bytes]":
    log = (home / "server.out").open("ab")
    with log:
        env = os.environ | {"HF_HOME": str(home / "hf")}  # models that a test puts on this disk
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, env=env)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}healthz", timeout=2) as answer:
                if json.load(answer)["status"] == "ready":
                    return process
        except OSError:
            pass
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the server did not start:\n{(home / 'server.out').read_text()}")


def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start the real server: over a scripted engine with these arguments, or `real=True` over the starter model."""
    servers: list[Server] = []

    def start(*, real: bool = False, **options: Any) -> Server:
        home = tmp_path_factory.mktemp("home")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        if real:
            main = "import sys; from app.main import main; sys.exit(main(sys.argv[1:]))"
            command = [
                sys.executable,
                "-c",
                main,
                "--home",
                str(home),
                "--port",
                port,
                "--no-browser",
                "--model",
                "starter",
            ]
        else:
            script = str(Path(__file__).with_name("scripted_server.py"))
            command = [sys.executable, script, str(home), port, json.dumps(options)]
        url = f"http://127.0.0.1:{port}/"
        servers.append(Server(home, url, _start(command, home, url), command))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server for one test."""
    yield from _servers(tmp_path_factory)


@pytest.fixture(scope="module")
def start_shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server for the tests of one file."""
    yield from _servers(tmp_path_factory)


@pytest.fixture(scope="module")
def server(start_shared_server: Callable[..., Server]) -> Server:
    """The server that most tests of a file share; a round takes 30 ms."""
    return start_shared_server(delay_s=0.03)


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a fresh profile; afterwards: nothing was asked of another machine, and no script failed."""
    contexts: list[Any] = []
    outside: list[str] = []
    failures: list[str] = []

    def open_page(server: Server, path: str = "", **options: Any) -> Any:
        from playwright.sync_api import expect

        expect.set_options(timeout=15_000)
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()

        def note(request: Any) -> None:
            if not request.url.startswith((server.url, "data:", "blob:")):
                outside.append(request.url)

        page.on("request", note)
        page.on("requestfailed", lambda request: request.failure == "csp" and outside.remove(request.url))  # never sent
        page.on("websocket", lambda socket: outside.append(socket.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(f"{server.url}{path}{'&' if '?' in path else '?'}token={server.token}")
        expect(page.locator("#box textarea")).to_be_visible()
        expect(page.locator("#live .sentence")).to_have_text(re.compile("^(?!Starting)"))
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            assert "Traceback" not in page.content()
        context.close()
    assert outside == []
    assert failures == []

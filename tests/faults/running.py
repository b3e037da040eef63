"""A real Slipstream in processes of its own, and what a harness asks it as a page would."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.faults import clock

ROOT = Path(__file__).resolve().parents[2]
MAIN = """
import sys
from pathlib import Path
from tests.faults import clock
clock.install(Path(sys.argv.pop(1)))
from app.store import backups
backups.FIRST_LOOK_S = backups.LOOK_S = 1.0  # whether a new day has begun
from app.main import main
sys.exit(main(sys.argv[1:]))
"""
PATIENCE_S = 600.0  # for what takes seconds; reaching it is the failure
HTTP = httpx.Client(  # a client for each request would read all certificates each time; servers come and go
    verify=False, trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
)


class Broken(AssertionError):
    """A promise that was not kept."""


def until(condition: Any, what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for a value that is true, and return it; raises `Broken`."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise Broken(f"never: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Slipstream:
    """The application on a home of its own, with the starter model."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = home / "slipstream.db"
        self.port, self.hub_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.said = home / "said.txt"
        self._clock = home / "clock"
        home.mkdir(parents=True, exist_ok=True)
        self.move_clock(0)
        self.process: subprocess.Popen[bytes] | None = None
        self._config: tuple[int, dict[str, Any]] = (0, {})

    def move_clock(self, seconds: float) -> None:
        """Let the server's clock be wrong by so much, from now on."""
        clock.move(self._clock, seconds)

    @property
    def environment(self) -> dict[str, str]:
        """The Hub is where a harness may start one, and nowhere else."""
        return {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{self.hub_port}", "HF_HOME": str(self.home / "hf")}

    def launch(self, *flags: str) -> "subprocess.Popen[bytes]":
        """Start the server, and do not wait for anything."""
        options = ["--home", str(self.home), "--port", str(self.port), "--no-browser", "--model", "starter"]
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, str(self._clock), *options, *flags],
                cwd=ROOT,
                env=self.environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        with suppress(OSError, IndexError):  # a session has a priority of its own on Linux: be as modest as this one
            own = Path("/proc/self/autogroup").read_text().split()[-1]
            Path(f"/proc/{self.process.pid}/autogroup").write_text(own)
        return self.process

    def start(self, *flags: str) -> None:
        """Start the server; returns when the page stands."""
        process = self.launch(*flags)
        until(lambda: process.poll() is not None or self.status() == "ready", "the page stands")
        if process.poll() is not None:
            raise Broken(f"the server ended with {process.returncode}: {self.said.read_text()[-500:]}")

    def refusal(self) -> str:
        """Start a server that must not come up; what it says."""
        before = self.said.stat().st_size if self.said.exists() else 0
        process = self.launch()
        until(lambda: process.poll() is not None, "a start that is refused ends")
        if process.returncode != 1:
            raise Broken(f"a start that is refused ended with {process.returncode}")
        return self.said.read_text(encoding="utf-8", errors="replace")[before:]

    def status(self) -> str | None:
        try:
            return str(HTTP.get(f"{self.url}/healthz", timeout=5).json()["status"])
        except (httpx.HTTPError, ValueError, KeyError):
            return None

    def server(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def engine(self) -> psutil.Process:
        """The engine's process."""

        def found() -> psutil.Process | None:
            for child in self.server().children():
                with suppress(psutil.Error):  # it has just ended
                    if any("engine.process" in part or "worker" in part for part in child.cmdline()):
                        return child
            return None

        process: psutil.Process = until(found, "an engine's process")
        return process

    def end(self) -> None:
        """End everything that still runs."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    # What a page asks

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.home / 'page-token').read_text(encoding='ascii')}"}

    def config(self) -> dict[str, Any]:
        """What the page is made of."""
        pid = self.process.pid if self.process is not None else 0
        if self._config[0] != pid or not self._config[1]:
            self._config = pid, HTTP.get(f"{self.url}/config", headers=self.headers, timeout=60).json()
        return self._config[1]

    def send(self, text: str) -> "Sent":
        """Send a message in a new conversation."""
        return Sent(self, text)

    # What is on the disk

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        source = f"{self.database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(source, uri=True, timeout=30)) as db:
            return db.execute(sql, parameters).fetchall()


class Tab:
    """A page without its browser: the server keeps what it shows under the session's name."""

    def __init__(self, slipstream: Slipstream) -> None:
        config = slipstream.config()
        self._slipstream = slipstream
        self.session = uuid.uuid4().hex
        self._events: list[dict[str, Any]] = config["dependencies"]
        self._values = {component["id"]: component["props"].get("value") for component in config["components"]}

    def defaults(self, name: str) -> list[Any]:
        """What a new page sends with an event."""
        return [self._values[id] for id in self._event(name)["inputs"]]

    def _event(self, name: str, num_given: int = 0) -> dict[str, Any]:
        """The event of that name; of several, which Gradio numbers, the first that takes just what is given."""
        found = [each for each in self._events if re.fullmatch(rf"{name}(_\d+)?", each["api_name"])]
        return next((each for each in found if len(each["inputs"]) == num_given), found[0])

    def join(self, name: str, *given: object, data: object = None) -> None:
        """Ask for an event, with these values for its first parts and for the rest what a new page shows."""
        event = self._event(name, len(given))
        body = {
            "data": [*given, *(self._values[id] for id in event["inputs"][len(given) :])],
            "event_data": data,
            "fn_index": event["id"],
            "trigger_id": None,
            "session_hash": self.session,
        }
        url = f"{self._slipstream.url}/gradio_api/queue/join"
        joined = HTTP.post(url, json=body, headers=self._slipstream.headers, timeout=60)
        if joined.status_code != 200:
            raise Broken(f"the page's {name} was refused: {joined.text[:300]}")

    def lines(self) -> Iterator[str]:
        """What the server sends until the event that runs has ended."""
        given: dict[str, Any] = {"params": {"session_hash": self.session}, "headers": self._slipstream.headers}
        with HTTP.stream("GET", f"{self._slipstream.url}/gradio_api/queue/data", **given, timeout=None) as stream:
            for line in stream.iter_lines():
                yield line
                if '"process_completed"' in line:
                    return

    def call(self, name: str, *given: object, data: object = None) -> "Answered":
        """Ask for an event and wait for its end."""
        self.join(name, *given, data=data)
        told = [json.loads(line[5:]) for line in self.lines() if line.startswith("data:")]
        return Answered(told)


@dataclass(frozen=True)
class Answered:
    """All that was sent of an event."""

    messages: list[dict[str, Any]]

    @property
    def refusal(self) -> str | None:
        """The sentence with which it ended, if that is a refusal."""
        last = self.messages[-1]
        return None if last.get("success", True) else str(last["output"].get("error"))

    def shown(self, key: str) -> dict[str, Any]:
        """The last part that was drawn from an object with this key."""
        for message in reversed(self.messages):
            for part in (message.get("output") or {}).get("data") or ():
                value = part.get("value", part) if isinstance(part, dict) else None
                if isinstance(value, dict) and key in value:
                    return value
        raise Broken(f"nothing with {key!r} was shown: {json.dumps(self.messages)[-500:]}")


class Sent:
    """A message on its way, and the answer as its page sees it."""

    def __init__(self, slipstream: Slipstream, text: str) -> None:
        self.text = text
        self.slipstream = slipstream
        self._tab = Tab(slipstream)
        settings = self._tab.defaults("send")[2:]
        settings[7] = 400  # new tokens at most
        self._tab.join("send", None, text, *settings)
        self.over = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.message_id = self._answer_id()

    def _listen(self) -> None:
        try:
            for _ in self._tab.lines():
                if self._leave.is_set():
                    break
        except (httpx.HTTPError, OSError):
            pass  # the server has gone
        self.over.set()

    def _answer_id(self) -> int:
        """The message that the answer is written to."""

        def found() -> list[tuple[Any, ...]]:
            return self.slipstream.rows(
                "SELECT answer.id FROM messages answer JOIN messages asked ON answer.parent_id = asked.id "
                "WHERE asked.text = ? AND answer.role = 'assistant' ORDER BY answer.id DESC LIMIT 1",
                self.text,
            )

        return int(until(found, f"an answer to {self.text!r} is begun")[0][0])

    def leave(self) -> None:
        """Close the page."""
        self._leave.set()

    def growing(self) -> str:
        """What the page has been shown of the answer that is being written; empty when there is none."""
        (conversation,) = self.slipstream.rows("SELECT conversation_id FROM messages WHERE id = ?", self.message_id)[0]
        try:
            url = f"{self.slipstream.url}/origins/running/{conversation}"
            told = HTTP.get(url, headers=self.slipstream.headers, timeout=5)
            drawn = told.json() if told.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return ""
        blocks = drawn.get("blocks", [])
        parts = ["".join(part[0] for part in block.get("parts", [])) + block.get("own", "") for block in blocks]
        return str(drawn.get("before", "")) + "".join(parts) + str(drawn.get("rest", ""))

    def stored(self) -> tuple[str, str, str | None]:
        """Text, status and failure of the answer on the disk."""
        return self.slipstream.rows("SELECT text, status, error FROM messages WHERE id = ?", self.message_id)[0]  # type: ignore[return-value]

    def wait_until_stored(self) -> tuple[str, str, str | None]:
        """The answer when it is no longer being written."""

        def ended() -> tuple[str, str, str | None] | None:
            stored = self.stored()
            return stored if stored[1] != "streaming" else None

        stored: tuple[str, str, str | None] = until(ended, "the answer ends")
        return stored


def traces(slipstream: Slipstream) -> list[str]:
    """Tracebacks that a person would have seen."""
    said = slipstream.said.read_text(encoding="utf-8", errors="replace") if slipstream.said.exists() else ""
    return [json.dumps(said[max(0, said.index("Traceback") - 200) :][:1500])] if "Traceback" in said else []

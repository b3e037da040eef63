"""`ask` with a server in the engine's place: its answer and figures, its key, Ctrl-C while it is silent."""

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from app.home import Home
from app.main import main
from tests.remote_server import DONE, FakeServer, delta, end, event, for_ever, running

KEY = "a-key-of-that-server"
FIGURES = {"timings": {"predicted_n": 2, "draft_n": 12, "draft_n_accepted": 3}}
ANSWER = (event(delta("one")), event(delta(" two")), event(end()), event({"choices": [], **FIGURES}), DONE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    return Home.find()


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any], str]:
    code = main(["ask", *argv, "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out.splitlines()[-1]), printed.err


def test_a_server_answers_and_tells_its_figures(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeServer(owner="llamacpp", answers=(ANSWER,))
    with running(server) as url:
        code, result, _ = ask(capsys, "Hi", "--engine", url, "--system", "Be brief.", "--seed", "4")
    assert (code, result["text"], result["num_tokens"], result["seed"]) == (0, "one two", 2, 4)
    assert result["server"]["address"] == url
    assert (result["server"]["kind"], result["server"]["answer"]["drafted"]) == ("llama-server", 12)
    assert [message["role"] for message in server.asked[0]["messages"]] == ["system", "user"]
    assert not home.data.exists(), "nothing was given to keep"


def test_its_key_comes_out_of_a_file_and_is_kept(
    home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.write_text(f"{KEY}\n")
    server = FakeServer(key=KEY)
    with running(server) as url:
        code, result, _ = ask(capsys, "Hi", "--engine", url)
        assert (code, result["error"]["type"]) == (1, "KeyRefused")
        assert ask(capsys, "Hi", "--engine", url, "--engine-key", str(given))[0] == 0
        assert ask(capsys, "Hi", "--engine", url)[0] == 0
    assert stat.S_IMODE(home.servers.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("given", "why"), [(None, "cannot be read"), (b"\xff\xfe", "holds no key"), (b"two words", "without spaces")]
)
def test_a_file_without_a_key(
    given: bytes | None, why: str, home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if given is not None:
        (tmp_path / "given").write_bytes(given)
    argv = ("--engine", "http://127.0.0.1:9", "--engine-key", str(tmp_path / "given"))
    code, result, _ = ask(capsys, "Hi", *argv)
    assert code == 2
    assert why in result["error"]["message"]
    assert not home.servers.exists()


def test_nothing_goes_to_another_machine_unasked(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, _ = ask(capsys, "Hi", "--engine", "http://192.0.2.7:8080")
    assert (code, result["error"]["type"]) == (1, "NotConfirmed")
    assert "--confirm-engine" in result["error"]["message"]


def test_an_interrupt_ends_an_answer_that_has_gone_silent(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    async def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await for_ever()

    server = FakeServer(answers=((event(delta("one")), interrupted),))
    with running(server) as url:
        code, result, _ = ask(capsys, "Hi", "--engine", url)
    assert (code, result["stop_reason"]) == (130, "cancelled")

"""What the engine's process is told to remember of other conversations, and what it forgets; a scripted engine."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import NoModelLoaded
from engine.events import Finished
from engine.process import wire
from engine.process.client import EngineProcess
from engine.process.wire import Command, DamagedLine
from tests.worker_process import REQUEST, Starter, answer, load, posix, wait_until

TELLS = """
class Engine(ScriptedEngine):
    def __post_init__(self):
        super().__post_init__()
        self.answers = [lambda request: "knows " + " ".join(f"{k}={'+'.join(v)}" for k, v in self.remembered.items())]
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.close()


def known(engine: EngineProcess) -> str:
    return answer(engine).text.removeprefix("knows").strip()


def test_answers_know_what_was_remembered_and_not_what_was_forgotten(start: Starter) -> None:
    engine = start(before=TELLS)
    engine.remember("1", ["lost: there is no model yet"])
    load(engine)
    engine.remember("1", ["one", "two"])
    engine.remember("2", ["three"])
    wait_until(lambda: known(engine) == "1=one+two 2=three")
    engine.remember("2", ["four"])
    engine.forget("1")
    assert "1=" not in known(engine)
    wait_until(lambda: known(engine) == "2=four")


def test_a_conversation_that_is_deleted_during_an_answer_is_not_known_afterwards(start: Starter) -> None:
    """The remembering still waits for the answer's end when the forgetting overtakes it."""
    engine = start("delay_s=0.02", before=TELLS)
    load(engine)
    events = engine.generate(REQUEST)
    next(events)
    engine.remember("7", ["secret"])
    engine.remember("8", ["open"])
    engine.forget("7")
    assert isinstance(list(events)[-1], Finished)
    wait_until(lambda: known(engine) == "8=open")
    assert known(engine) == "8=open"


@posix
def test_whoever_listens_is_told_of_every_process_that_has_a_model(start: Starter) -> None:
    engine = start()
    ready: list[int | None] = []
    engine.on_ready(lambda: ready.append(engine.pid))
    first = load(engine)
    assert ready == [first]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(ready) == 2)
    assert ready[1] == engine.pid != first


@pytest.mark.parametrize(
    "command",
    [Command(id=1, do="remember", conversation="5", texts=("a", "b\n")), Command(id=2, do="forget", conversation="5")],
)
def test_what_is_remembered_crosses_the_pipe(command: Command) -> None:
    assert wire.decode_command(wire.encode(command)) == command


@pytest.mark.parametrize("line", [b'{"id":1,"do":"remember"}', b'{"id":1,"do":"forget","conversation":3,"texts":[]}'])
def test_a_line_that_names_no_conversation_is_refused(line: bytes) -> None:
    with pytest.raises(DamagedLine, match="no command"):
        wire.decode_command(line)


def test_the_memory_is_looked_into_over_the_pipe(start: Starter) -> None:
    engine = start(before=TELLS)
    with pytest.raises(NoModelLoaded, match="nothing is remembered"):
        engine.look()
    load(engine)
    engine.remember("1", ["the old station"])
    wait_until(lambda: len(engine.look().conversations) == 1)
    view = engine.look("the old")
    assert [(match.conversation, match.times) for match in view.matches] == [("1", 1)]
    assert (view.proposals[0].text, view.proposals[0].place) == ("station", "chat 1")
    assert known(engine) == "1=the old station"  # it is ready for the next request

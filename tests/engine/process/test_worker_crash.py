"""What the death of the engine's process costs, and what the death of the page's process leaves: real kills."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import ModelSpec
from engine.errors import EngineCrashed, EngineError, NoModelLoaded
from engine.events import Finished, LaneEvent, TextDelta, Verdict
from engine.process import wire
from engine.process.client import EngineProcess
from tests.scripted import default_answer
from tests.scripted_answer import scripted_info
from tests.worker_process import (
    PATIENCE_S,
    REQUEST,
    ROOT,
    SPEC,
    Starter,
    answer,
    is_absent,
    is_running,
    load,
    posix,
    wait_until,
    write_script,
)

PARENT = """
import sys, threading, time
sys.path.insert(0, {root!r})
from engine.process import wire
from engine.process.client import EngineProcess
from engine.config import *
engine = EngineProcess([sys.executable, {script!r}], log=None)
def work():
    for _ in engine.load(ModelSpec(model="scripted")): pass
thread = threading.Thread(target=work); thread.start(); thread.join()
print(engine.pid, flush=True)
for _ in engine.generate(GenerationRequest(messages=(Message.of("user", "hello"),))): pass
print("answered", flush=True)
time.sleep(1000)
"""

SLEEPERS = {
    "idle": "",
    "computing": "ScriptedEngine._pace = lambda *_: time.sleep(1000)",
    "wedged": "import ctypes\nScriptedEngine._pace = lambda *_: ctypes.PyDLL(None).sleep(1000)  # keeps the GIL",
}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.close()


@posix
def test_kill_in_the_middle_of_an_answer_costs_that_answer_only(start: Starter) -> None:
    engine = start("hold_after=9, delay_s=0.01")
    pid = load(engine)
    events = engine.generate(REQUEST)
    partial = "".join(event.text for _ in range(9) if isinstance(event := next(events), TextDelta))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineCrashed, match=r"was killed by SIGKILL.*so far is kept; the model is being loaded again"):
        next(events)
    assert engine.status.state in ("crashed", "starting", "loading", "ready")
    assert partial
    assert default_answer(REQUEST).startswith(partial)
    events = engine.generate(REQUEST)  # waits for the reload
    assert next(events)
    events.cancel()
    assert isinstance([*events][-1], Finished)
    assert engine.pid not in (pid, None)
    assert engine.info == scripted_info(SPEC)
    assert engine.status.state == "ready"


@posix
def test_kill_between_answers_loads_the_model_again_unasked(start: Starter) -> None:
    engine = start()
    pid = load(engine)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.pid != pid and engine.status.state == "ready")
    assert answer(engine).text == default_answer(REQUEST)


@posix
def test_a_crash_while_loading_is_said_and_not_repeated(start: Starter, tmp_path: Path) -> None:
    before = """
    class Engine(ScriptedEngine):
        def _load(self, spec, stop):
            with open(HERE / "starts", "a") as file: file.write("x")
            for event in super()._load(spec, stop):
                yield event
                if spec.model == "huge" and event.stage == "weights": os.kill(os.getpid(), 9)
    """
    engine = start(before=before)
    with pytest.raises(EngineCrashed, match=r"SIGKILL.*too little memory.*while it loaded huge.*smaller"):
        list(engine.load(ModelSpec(model="huge")))
    assert engine.status.state == "crashed"
    assert "huge" in engine.status.message
    with pytest.raises(NoModelLoaded):
        list(engine.generate(REQUEST))
    assert (tmp_path / "starts").read_text() == "x"
    load(engine)
    assert answer(engine).text == default_answer(REQUEST)


@posix
def test_a_reload_that_fails_is_said_to_the_next_request_which_tries_again(start: Starter) -> None:
    before = """
    class Engine(ScriptedEngine):
        def _load(self, spec, stop):
            yield from super()._load(spec, stop)
            if (HERE / "broken").exists(): raise NotEnoughMemory("3 GB are free, 4 GB are needed: close something.")
    """
    engine = start(before=before)
    pid = load(engine)
    broken = start.folder / "broken"
    broken.touch()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.status.state == "absent")
    assert engine.info is None
    with pytest.raises(EngineError, match="3 GB are free"):
        list(engine.generate(REQUEST))
    broken.unlink()
    assert answer(engine).text == default_answer(REQUEST)


@posix
def test_a_crash_of_the_reload_is_not_repeated_unasked(start: Starter, tmp_path: Path) -> None:
    before = """
    class Engine(ScriptedEngine):
        def _load(self, spec, stop):
            with open(HERE / "starts", "a") as file: file.write("x")
            yield from super()._load(spec, stop)
            if (HERE / "deadly").exists(): os.kill(os.getpid(), 9)
    """
    engine = start(before=before)
    pid = load(engine)
    (tmp_path / "deadly").touch()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.status.state == "crashed" and "while it loaded scripted" in engine.status.message)
    time.sleep(0.1)  # a third start would need longer than this only on a machine where the test then misses it
    assert (tmp_path / "starts").read_text() == "xx"
    with pytest.raises(EngineCrashed, match="while it loaded scripted"):
        list(engine.generate(REQUEST))
    assert (tmp_path / "starts").read_text() == "xxx"
    (tmp_path / "deadly").unlink()
    assert answer(engine).text == default_answer(REQUEST)


@posix
def test_another_model_or_none_may_be_chosen_while_the_old_one_is_being_loaded_again(
    start: Starter, tmp_path: Path
) -> None:
    before = """
    class Engine(ScriptedEngine):
        def _load(self, spec, stop):
            events = super()._load(spec, stop)
            yield next(events)
            while spec.model == "scripted" and (HERE / "wait").exists(): time.sleep(0.01)
            yield from events
    """
    engine = start(before=before)
    for _ in range(3):
        pid = load(engine)
        (tmp_path / "wait").touch()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: engine.status.state == "loading")
        reloading = engine.pid
        load(engine, ModelSpec(model="other"))
        assert reloading is not None
        assert not is_running(reloading)
        assert engine.info == scripted_info(ModelSpec(model="other"))
        assert answer(engine).text == default_answer(REQUEST)
        (tmp_path / "wait").unlink()
    pid = load(engine)
    os.kill(pid, signal.SIGKILL)
    engine.unload()
    assert is_absent(engine)
    with pytest.raises(NoModelLoaded):
        list(engine.generate(REQUEST))


@posix
def test_cancel_while_the_model_is_being_loaded_again(start: Starter) -> None:
    before = """
    class Engine(ScriptedEngine):
        def _load(self, spec, stop):
            while (HERE / "wait").exists(): time.sleep(0.01)
            yield from super()._load(spec, stop)
    """
    engine = start(before=before)
    pid = load(engine)
    wait = start.folder / "wait"
    wait.touch()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.info is None)
    events = engine.generate(REQUEST)
    threading.Timer(0.1, events.cancel).start()
    (last,) = [*events]
    assert isinstance(last, Finished)
    assert (last.stop_reason, last.text, last.stats.num_tokens) == ("cancelled", "", 0)
    compared = engine.compare(REQUEST)
    compared.cancel()
    assert [type(event) for event in compared] == [LaneEvent, LaneEvent, Verdict]
    wait.unlink()
    assert answer(engine).text == default_answer(REQUEST)


@pytest.mark.parametrize("junk", [b"not JSON at all\n", b'{"id":2,"kind":"event","event":{"event":"Round"}}\n'])
def test_a_damaged_line_from_the_engine_is_a_sentence(start: Starter, junk: bytes) -> None:
    before = f"""
    from engine.process import worker
    take_pipe = worker._take_pipe
    def tap():
        global pipe
        commands, pipe = take_pipe()
        return commands, pipe
    worker._take_pipe = tap
    class Engine(ScriptedEngine):
        def generate(self, request):
            if (HERE / "damage").exists():
                (HERE / "damage").unlink()
                pipe.write({junk!r}); pipe.flush()
            return super().generate(request)
    """
    engine = start(before=before)
    load(engine)
    (start.folder / "damage").touch()
    with pytest.raises(EngineCrashed, match=r"ended because of a damaged line.*loaded again"):
        list(engine.generate(REQUEST))
    assert answer(engine).text == default_answer(REQUEST)


def test_a_lost_device_means_another_process(start: Starter) -> None:
    before = """
    class Engine(ScriptedEngine):
        def generate(self, request):
            if (HERE / "fault").exists():
                (HERE / "fault").unlink()
                self.fail_after, self.error = 3, RuntimeError("CUDA error: device-side assert triggered")
            return super().generate(request)
    """
    engine = start(before=before)
    pid = load(engine)
    (start.folder / "fault").touch()
    events = engine.generate(REQUEST)
    with pytest.raises(EngineCrashed, match=r"device-side assert.*so far is kept; the model is being loaded again"):
        list(events)
    assert answer(engine).text == default_answer(REQUEST)
    assert engine.pid != pid


def test_an_engine_that_does_not_stop_is_replaced(start: Starter) -> None:
    before = """
    class Engine(ScriptedEngine):
        def _generate(self, request, stop):
            for event in super()._generate(request, stop):
                yield event
                while (HERE / "wedge").exists(): time.sleep(0.01)
    """
    engine = start(before=before, stop_timeout_s=0.3)
    pid = load(engine)
    wedge = start.folder / "wedge"
    wedge.touch()
    events = engine.generate(REQUEST)
    next(events)
    events.cancel()
    with pytest.raises(EngineCrashed, match=r"did not stop within 0.3 s"):
        list(events)
    second = engine.generate(REQUEST)
    next(second)
    assert engine.pid != pid
    second.close()
    with pytest.raises(EngineCrashed, match=r"did not stop within 0.3 s"):  # the abandoned one is still in the way
        list(engine.generate(REQUEST))
    wedge.unlink()
    assert answer(engine).text == default_answer(REQUEST)


def test_close_ends_a_long_computation(start: Starter) -> None:
    engine = start(before="ScriptedEngine._pace = lambda *_: time.sleep(1000)")
    pid = load(engine)
    errors: list[Exception] = []

    def consume() -> None:
        try:
            list(engine.generate(REQUEST))
        except EngineError as exc:
            errors.append(exc)

    consumer = threading.Thread(target=consume)
    consumer.start()
    wait_until(lambda: engine._busy.locked())
    engine.close()
    consumer.join(PATIENCE_S)
    assert not is_running(pid)
    assert len(errors) == 1


def test_the_end_of_the_pipe_ends_a_long_computation_in_a_living_parent(tmp_path: Path) -> None:
    script = write_script(tmp_path / "worker.py", "loaded=True", "ScriptedEngine._pace = lambda *_: time.sleep(1000)")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], env=environment, **pipes) as worker:  # type: ignore[call-overload]
        worker.stdout.readline()
        worker.stdin.write(wire.encode(wire.Command(id=1, do="generate", request=REQUEST)))
        worker.stdin.close()
        assert worker.wait(PATIENCE_S) == 0


@posix
def test_a_reload_that_comes_too_late_replaces_nothing(tmp_path: Path) -> None:
    class Late(EngineProcess):
        """Its reloads begin when `gate` opens."""

        gate, over = threading.Event(), threading.Event()

        def _load_again(self, *arguments: Any) -> None:
            self.gate.wait()
            super()._load_again(*arguments)
            self.over.set()

    engine = Late([sys.executable, str(write_script(tmp_path / "worker.py", "", ""))], log=tmp_path / "engine.log")
    pid = load(engine)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.status.state == "crashed")
    other = load(engine, ModelSpec(model="other"))
    engine.gate.set()
    assert engine.over.wait(PATIENCE_S)
    assert engine.pid == other
    assert engine.info == scripted_info(ModelSpec(model="other"))
    assert answer(engine).text == default_answer(REQUEST)
    engine.close()


@posix
def test_a_death_is_seen_though_something_holds_the_pipe_open(start: Starter) -> None:
    before = """
    from engine.process import worker
    take_pipe = worker._take_pipe
    def tap():
        pipes = take_pipe()
        if not (HERE / "child").exists():
            pid = os.fork()  # inherits every pipe
            if pid == 0: time.sleep(30); os._exit(0)
            (HERE / "child").write_text(str(pid))
        return pipes
    worker._take_pipe = tap
    """
    engine = start("hold_after=3", before=before)
    pid = load(engine)
    child = int((start.folder / "child").read_text())
    try:
        events = engine.generate(REQUEST)
        next(events)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineCrashed):
            list(events)
        events = engine.generate(REQUEST)
        assert next(events)
        events.close()
    finally:
        os.kill(child, signal.SIGKILL)


@posix
@pytest.mark.parametrize("state", [*SLEEPERS])
def test_no_orphan_is_left_when_the_parent_is_killed(tmp_path: Path, state: str) -> None:
    if state == "wedged" and sys.platform != "linux":
        pytest.skip("only Linux ends a process whose threads cannot run")
    script = write_script(tmp_path / "worker.py", "", SLEEPERS[state])
    code = PARENT.format(root=str(ROOT), script=str(script))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        if state == "idle":
            assert parent.stdout.readline() == "answered\n", "the thread that loaded has ended, the engine has not"
        else:
            time.sleep(0.2)  # well into the computation; too short would only make the test easier
        assert is_running(pid)
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_running(pid))
    finally:
        parent.kill()
        parent.stdout.close()
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)

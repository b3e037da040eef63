"""The engine in a real child process, a scripted one in the real one's place: crashes, cancels, orphans, restarts."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.client import EngineProcess
from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import EngineBusy, EngineCrashed, EngineError, ModelNotFound, NoModelLoaded
from engine.events import Finished, LaneEvent, Round, TextDelta, Verdict
from tests.scripted import default_answer, loaded_engine, scripted_info

ROOT = Path(__file__).resolve().parents[2]
SPEC = ModelSpec(model="scripted")
REQUEST = GenerationRequest(messages=(Message("user", "Say something about the weather in the mountains."),))
PATIENCE_S = 20.0  # for things that take milliseconds on an idle machine; reaching it is the failure

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")

Start = Callable[..., EngineProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Builds an `EngineProcess` whose child runs `ScriptedEngine(<parameters>)`, after the lines of `before`."""
    engines: list[EngineProcess] = []

    def build(parameters: str = "", *, before: str = "", grace_s: float = 60.0) -> EngineProcess:
        script = write_script(tmp_path / f"worker{len(engines)}.py", parameters, before)
        engines.append(EngineProcess([sys.executable, str(script)], log=tmp_path / "engine.log", stop_grace_s=grace_s))
        return engines[-1]

    yield build
    for engine in engines:
        engine.close()


def write_script(path: Path, parameters: str, before: str) -> Path:
    """A worker with a scripted engine; `Engine` may be redefined, `HERE` is the script's folder."""
    lines = f"""
import os, sys, time, threading
from pathlib import Path
from tests.scripted import ScriptedEngine
from engine.worker import run
from engine.errors import *
HERE = Path({str(path.parent)!r})
Engine = ScriptedEngine
{textwrap.dedent(before)}
if __name__ == "__main__":
    sys.exit(run(lambda: Engine({parameters})))
"""
    path.write_text(lines, encoding="utf-8")
    return path


def load(engine: EngineProcess, spec: ModelSpec = SPEC) -> int:
    """Load, and return the child's process id."""
    assert [event.stage for event in engine.load(spec)][-1] == "ready"
    assert engine.pid is not None
    return engine.pid


def answer(engine: EngineProcess, request: GenerationRequest = REQUEST) -> Finished:
    last = list(engine.generate(request))[-1]
    assert isinstance(last, Finished)
    return last


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.parent.parent.joinpath("self").exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_page_side_imports_no_torch() -> None:
    code = "import engine.client, sys; sys.exit(bool({'torch', 'transformers', 'numpy', 'asyncio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_what_comes_through_the_pipe_is_what_the_engine_said(start: Start) -> None:
    engine = start()
    assert (engine.info, engine.pid, engine.status.state) == (None, None, "absent")
    load(engine)
    assert engine.info == scripted_info(SPEC)
    assert engine.status.state == "ready"
    assert engine.status.progress is not None
    assert engine.status.progress.stage == "ready"
    here = loaded_engine()
    assert list(engine.generate(REQUEST)) == list(here.generate(REQUEST))
    assert list(engine.compare(REQUEST)) == list(here.compare(REQUEST))


def test_no_model_is_a_sentence_and_starts_nothing(start: Start) -> None:
    engine = start()
    with pytest.raises(NoModelLoaded, match="choose one"):
        list(engine.generate(REQUEST))
    assert engine.pid is None


def test_what_libraries_print_and_ask_stays_out_of_the_protocol(start: Start, tmp_path: Path) -> None:
    before = """
    os.write(1, b"printed before the pipe was safe\\n")
    class Engine(ScriptedEngine):
        def load(self, spec):
            print("printed by Python")
            os.write(1, b"printed by C\\n")
            os.system("echo printed by a subprocess")
            assert sys.stdin.read() == ""
            return super().load(spec)
    """
    engine = start(before=before)
    load(engine)
    assert answer(engine).text == default_answer(REQUEST)
    engine.close()
    log = (tmp_path / "engine.log").read_text()
    assert all(f"printed by {who}" in log for who in ("Python", "C", "a subprocess"))


@posix
def test_ctrl_c_does_not_reach_the_engine(start: Start) -> None:
    engine = start("hold_after=5")
    pid = load(engine)
    events = engine.generate(REQUEST)
    next(events)
    os.kill(pid, signal.SIGINT)
    engine.cancel()
    assert [*events][-1].stop_reason == "cancelled"  # type: ignore[union-attr]
    assert engine.pid == pid


def test_an_error_crosses_with_its_type_and_the_process_lives_on(start: Start) -> None:
    engine = start("load_error=ModelNotFound('No folder and no repository is called scripted.')")
    with pytest.raises(ModelNotFound, match="No folder"):
        list(engine.load(SPEC))
    assert (engine.info, engine.status.state) == (None, "absent")
    assert "No folder" in engine.status.message
    pid = engine.pid
    with pytest.raises(ModelNotFound):
        list(engine.load(SPEC))
    assert engine.pid == pid, "nothing was loaded: the process is as good as new"
    with pytest.raises(NoModelLoaded):
        list(engine.generate(REQUEST))


def test_an_unforeseen_error_keeps_the_process_and_logs_the_traceback(start: Start, tmp_path: Path) -> None:
    engine = start("fail_after=4, error=KeyError('logits')")
    pid = load(engine)
    for _ in range(2):
        events = engine.generate(REQUEST)
        assert len([next(events) for _ in range(4)]) == 4
        with pytest.raises(EngineError, match=r"KeyError: 'logits'.*see the log"):
            next(events)
    assert engine.pid == pid
    assert "Traceback" in (tmp_path / "engine.log").read_text()


@posix
def test_kill_in_the_middle_of_an_answer_costs_that_answer_only(start: Start) -> None:
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
    engine.cancel()
    assert isinstance([*events][-1], Finished)
    assert engine.pid not in (pid, None)
    assert engine.info == scripted_info(SPEC)
    assert engine.status.state == "ready"


@posix
def test_kill_between_answers_loads_the_model_again_unasked(start: Start) -> None:
    engine = start()
    pid = load(engine)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.pid != pid and engine.status.state == "ready")
    assert answer(engine).text == default_answer(REQUEST)


@posix
def test_a_crash_while_loading_is_said_and_not_repeated(start: Start, tmp_path: Path) -> None:
    before = """
    class Engine(ScriptedEngine):
        def load(self, spec):
            with open(HERE / "starts", "a") as file: file.write("x")
            for event in super().load(spec):
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
def test_a_reload_that_fails_is_said_to_the_next_request_which_tries_again(start: Start) -> None:
    before = """
    class Engine(ScriptedEngine):
        def load(self, spec):
            yield from super().load(spec)
            if (HERE / "broken").exists(): raise NotEnoughMemory("3 GB are free, 4 GB are needed: close something.")
    """
    engine = start(before=before)
    pid = load(engine)
    broken = Path(engine._command[1]).parent / "broken"
    broken.touch()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.status.state == "absent")
    assert engine.info is None
    with pytest.raises(EngineError, match="3 GB are free"):
        list(engine.generate(REQUEST))
    broken.unlink()
    assert answer(engine).text == default_answer(REQUEST)


def test_another_model_and_none_mean_another_process(start: Start) -> None:
    engine = start()
    first = load(engine)
    second = load(engine, ModelSpec(model="other"))
    assert second != first
    assert not is_running(first)
    assert engine.info == scripted_info(ModelSpec(model="other"))
    engine.unload()
    assert not is_running(second)
    assert (engine.info, engine.pid, engine.status.state) == (None, None, "absent")
    with pytest.raises(NoModelLoaded):
        list(engine.generate(REQUEST))
    engine.unload()
    load(engine)
    assert answer(engine).text == default_answer(REQUEST)


def test_closing_an_answer_early_cancels_it_and_leaves_nothing_behind(start: Start) -> None:
    engine = start("delay_s=0.005")
    pid = load(engine)
    endless = GenerationRequest(messages=REQUEST.messages, ignore_eos=True, max_tokens=3000, mode="plain")
    for count in (1, 2, 5):
        events = engine.generate(endless)
        for _ in range(count):
            next(events)
        events.close()  # type: ignore[attr-defined]
        assert answer(engine).text == default_answer(REQUEST)
    compared = engine.compare(endless)
    next(compared)
    compared.close()  # type: ignore[attr-defined]
    for event in engine.generate(REQUEST):
        if isinstance(event, Finished):
            break  # the end of the command is still unread
    assert answer(engine).text == default_answer(REQUEST)
    assert engine.pid == pid


def test_closing_or_cancelling_a_load_ends_the_process(start: Start) -> None:
    engine = start("delay_s=0.05")
    progress = engine.load(SPEC)
    next(progress)
    pid = engine.pid
    assert pid is not None
    assert engine.status.state == "loading"
    progress.close()  # type: ignore[attr-defined]
    assert not is_running(pid)
    assert engine.status.state == "absent"
    progress = engine.load(SPEC)
    next(progress)
    engine.cancel()
    with pytest.raises(EngineError, match="Loading scripted was stopped"):
        list(progress)
    assert (engine.pid, engine.status.state) == (None, "absent")
    load(engine)


def test_cancel_from_another_thread_finishes_the_answer(start: Start) -> None:
    engine = start("hold_after=6")
    load(engine)
    events = engine.generate(REQUEST)
    seen = [next(events) for _ in range(6)]
    threading.Thread(target=engine.cancel).start()
    seen += events
    assert isinstance(seen[-1], Finished)
    assert seen[-1].stop_reason == "cancelled"
    assert seen[-1].stats.rounds == sum(isinstance(event, Round) for event in seen)
    compared = [*_cancel_after(engine, engine.compare(REQUEST), 4)]
    assert isinstance(compared[-1], Verdict)
    assert not compared[-1].complete


def _cancel_after(engine: EngineProcess, events: Iterator[object], count: int) -> Iterator[object]:
    for number, event in enumerate(events, 1):
        yield event
        if number == count:
            engine.cancel()


def test_cancel_before_the_first_event_counts_and_a_late_one_does_not(start: Start) -> None:
    engine = start("delay_s=0.01")
    load(engine)
    events = engine.generate(REQUEST)
    engine.cancel()
    last = [*events][-1]
    assert isinstance(last, Finished)
    assert last.stop_reason == "cancelled"
    engine.cancel()
    assert answer(engine).stop_reason == "eos"


@posix
def test_cancel_while_the_model_is_being_loaded_again(start: Start) -> None:
    before = """
    class Engine(ScriptedEngine):
        def load(self, spec):
            while (HERE / "wait").exists(): time.sleep(0.01)
            yield from super().load(spec)
    """
    engine = start(before=before)
    pid = load(engine)
    wait = Path(engine._command[1]).parent / "wait"
    wait.touch()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.info is None)
    events = engine.generate(REQUEST)
    threading.Timer(0.1, engine.cancel).start()
    (last,) = [*events]
    assert isinstance(last, Finished)
    assert (last.stop_reason, last.text, last.stats.num_tokens) == ("cancelled", "", 0)
    compared = engine.compare(REQUEST)
    engine.cancel()
    assert [type(event) for event in compared] == [LaneEvent, LaneEvent, Verdict]
    wait.unlink()
    assert answer(engine).text == default_answer(REQUEST)


def test_one_thing_at_a_time(start: Start) -> None:
    engine = start("hold_after=3")
    pid = load(engine)
    events = engine.generate(REQUEST)
    next(events)
    for refused in (engine.generate(REQUEST), engine.compare(REQUEST), engine.load(SPEC)):
        with pytest.raises(EngineBusy, match="The engine is answering: wait"):
            next(iter(refused))
    with pytest.raises(EngineBusy):
        engine.unload()
    engine.cancel()  # still reaches the one that runs
    assert isinstance([*events][-1], Finished)
    progress = engine.load(SPEC)
    next(progress)
    with pytest.raises(EngineBusy, match="loading a model"):
        next(engine.generate(REQUEST))
    list(progress)
    assert engine.pid != pid


def test_a_slow_consumer_does_not_hold_up_the_worker(start: Start, tmp_path: Path) -> None:
    before = """
    class Engine(ScriptedEngine):
        def generate(self, request):
            yield from super().generate(request)
            (HERE / "finished").touch()
    """
    engine = start(before=before)
    load(engine)
    long = GenerationRequest(messages=REQUEST.messages, ignore_eos=True, max_tokens=5000, mode="plain")
    events = engine.generate(long)
    next(events)  # and no more: over 500 KB of events would block a pipe of 64 KB
    wait_until((tmp_path / "finished").exists)
    last = [*events][-1]
    assert isinstance(last, Finished)
    assert last.stats.num_tokens == 5000


@pytest.mark.parametrize("junk", [b"not JSON at all\n", b'{"id":2,"kind":"event","event":{"event":"Round"}}\n'])
def test_a_damaged_line_from_the_engine_is_a_sentence(start: Start, junk: bytes) -> None:
    before = f"""
    from engine import worker
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
    (Path(engine._command[1]).parent / "damage").touch()
    with pytest.raises(EngineCrashed, match=r"ended because of a damaged line.*loaded again"):
        list(engine.generate(REQUEST))
    assert answer(engine).text == default_answer(REQUEST)


def test_an_engine_that_cannot_start_is_a_sentence_and_is_not_tried_again(tmp_path: Path) -> None:
    engine = EngineProcess([str(tmp_path / "nothing-here")])
    with pytest.raises(EngineError, match=r"could not be started.*nothing-here.*--repair"):
        list(engine.load(SPEC))
    engine.close()
    script = write_script(tmp_path / "worker.py", "", "def Engine(): import no_such_module_anywhere")
    engine = EngineProcess([sys.executable, str(script)], log=tmp_path / "engine.log")
    with pytest.raises(EngineError, match=r"could not start: ModuleNotFoundError.*no_such_module_anywhere.*--repair"):
        list(engine.load(SPEC))
    assert engine.status.state != "ready"
    with pytest.raises(NoModelLoaded):
        list(engine.generate(REQUEST))
    engine.close()


def test_a_lost_device_means_another_process(start: Start) -> None:
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
    (Path(engine._command[1]).parent / "fault").touch()
    events = engine.generate(REQUEST)
    with pytest.raises(EngineCrashed, match=r"device-side assert.*so far is kept; the model is being loaded again"):
        list(events)
    assert answer(engine).text == default_answer(REQUEST)
    assert engine.pid != pid


def test_an_engine_that_does_not_stop_is_replaced(start: Start) -> None:
    before = """
    class Engine(ScriptedEngine):
        def generate(self, request):
            for event in super().generate(request):
                yield event
                while (HERE / "wedge").exists(): time.sleep(0.01)
    """
    engine = start(before=before, grace_s=0.3)
    pid = load(engine)
    wedge = Path(engine._command[1]).parent / "wedge"
    wedge.touch()
    events = engine.generate(REQUEST)
    next(events)
    engine.cancel()
    with pytest.raises(EngineCrashed, match=r"did not stop within 0.3 s"):
        list(events)
    second = engine.generate(REQUEST)
    next(second)
    assert engine.pid != pid
    second.close()  # type: ignore[attr-defined]
    with pytest.raises(EngineCrashed, match=r"did not stop within 0.3 s"):  # the abandoned one is still in the way
        list(engine.generate(REQUEST))
    wedge.unlink()
    assert answer(engine).text == default_answer(REQUEST)


def test_close_while_answering_and_twice(start: Start) -> None:
    engine = start("hold_after=6")
    pid = load(engine)
    events = engine.generate(REQUEST)
    seen = [next(events) for _ in range(6)]
    closers = [threading.Thread(target=engine.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    try:
        seen += events
        assert isinstance(seen[-1], Finished)
        assert seen[-1].stop_reason == "cancelled"
    except EngineCrashed as exc:  # the process was quicker
        assert "so far is kept" in str(exc)  # noqa: PT017
    for closer in closers:
        closer.join(PATIENCE_S)
        assert not closer.is_alive()
    assert not is_running(pid)
    engine.close()
    for refused in (engine.load(SPEC), engine.generate(REQUEST)):
        with pytest.raises(EngineError, match="is closed"):
            next(iter(refused))
    engine.cancel()


def test_close_ends_a_long_computation(start: Start) -> None:
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


@posix
def test_a_death_is_seen_though_something_holds_the_pipe_open(start: Start) -> None:
    before = """
    from engine import worker
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
    child = int((Path(engine._command[1]).parent / "child").read_text())
    try:
        events = engine.generate(REQUEST)
        next(events)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineCrashed):
            list(events)
        events = engine.generate(REQUEST)
        assert next(events)
        events.close()  # type: ignore[attr-defined]
    finally:
        os.kill(child, signal.SIGKILL)


PARENT = """
import sys, threading, time
sys.path.insert(0, {root!r})
from engine.client import EngineProcess
from engine.config import *
engine = EngineProcess([sys.executable, {script!r}], log=None)
def work():
    for _ in engine.load(ModelSpec(model="scripted")): pass
thread = threading.Thread(target=work); thread.start(); thread.join()
print(engine.pid, flush=True)
for _ in engine.generate(GenerationRequest(messages=(Message("user", "hello"),))): pass
print("answered", flush=True)
time.sleep(1000)
"""

SLEEPERS = {
    "idle": "",
    "computing": "ScriptedEngine._pace = lambda *_: time.sleep(1000)",
    "wedged": "import ctypes\nScriptedEngine._pace = lambda *_: ctypes.PyDLL(None).sleep(1000)  # keeps the GIL",
}


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


def test_a_large_log_is_set_aside(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("wb") as file:
        file.truncate(5 * 2**20)
    load(start(before="print('a new beginning', file=sys.stderr)"))
    assert log.read_text() == "a new beginning\n"
    assert (tmp_path / "engine.log.1").stat().st_size == 5 * 2**20

"""The engine in a real child process, a scripted one in the real one's place: requests, cancels, other models."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Running
from engine.config import GenerationRequest, ModelSpec
from engine.errors import EngineBusy, EngineCrashed, EngineError, ModelNotFound, NoModelLoaded
from engine.events import Finished, Round, Verdict
from engine.process.child import DEFAULT_COMMAND
from engine.process.client import EngineProcess
from tests.scripted import default_answer, loaded_engine
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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.close()


def test_the_page_side_imports_no_torch() -> None:
    heavy = {"torch", "transformers", "numpy", "asyncio"}
    code = f"import engine.process.client, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_child_has_the_environment_in_which_its_engine_was_made(
    start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's process drops the proxies afterwards; downloads still go through them."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    engine = start(before='(HERE / "proxy").write_text(os.environ.get("ALL_PROXY", "none"))')
    monkeypatch.delenv("ALL_PROXY")
    load(engine)
    assert (tmp_path / "proxy").read_text() == "socks5://127.0.0.1:9"


def test_what_comes_through_the_pipe_is_what_the_engine_said(start: Starter) -> None:
    engine = start()
    assert is_absent(engine)
    load(engine)
    assert engine.info == scripted_info(SPEC)
    assert engine.status.state == "ready"
    assert engine.status.progress is not None
    assert engine.status.progress.stage == "ready"
    here = loaded_engine()
    assert list(engine.generate(REQUEST)) == list(here.generate(REQUEST))
    assert list(engine.compare(REQUEST)) == list(here.compare(REQUEST))


def test_no_model_is_a_sentence_and_starts_nothing(start: Starter) -> None:
    engine = start()
    with pytest.raises(NoModelLoaded, match="choose one"):
        list(engine.generate(REQUEST))
    assert engine.pid is None


def test_what_libraries_print_and_ask_stays_out_of_the_protocol(start: Starter, tmp_path: Path) -> None:
    before = """
    os.write(1, b"printed before\\rthe pipe was safe\\n")
    class Engine(ScriptedEngine):
        def _load(self, spec, stop):
            print("printed by Python")
            os.write(1, b"printed by C\\n")
            os.system("echo printed by a subprocess")
            assert sys.stdin.read() == ""
            return super()._load(spec, stop)
    """
    engine = start(before=before)
    load(engine)
    assert answer(engine).text == default_answer(REQUEST)
    engine.close()
    log = (tmp_path / "engine.log").read_text()
    assert all(f"printed by {who}" in log for who in ("Python", "C", "a subprocess"))


@posix
def test_ctrl_c_does_not_reach_the_engine(start: Starter) -> None:
    engine = start("hold_after=5")
    pid = load(engine)
    events = engine.generate(REQUEST)
    next(events)
    os.kill(pid, signal.SIGINT)
    events.cancel()
    assert [*events][-1].stop_reason == "cancelled"  # type: ignore[union-attr]
    assert engine.pid == pid


def test_an_error_crosses_with_its_type_and_the_process_lives_on(start: Starter) -> None:
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


def test_an_unforeseen_error_keeps_the_process_and_logs_the_traceback(start: Starter, tmp_path: Path) -> None:
    engine = start("fail_after=4, error=KeyError('logits')")
    pid = load(engine)
    for _ in range(2):
        events = engine.generate(REQUEST)
        assert len([next(events) for _ in range(4)]) == 4
        with pytest.raises(EngineError, match=r"KeyError: 'logits'.*see the log"):
            next(events)
    assert engine.pid == pid
    assert "Traceback" in (tmp_path / "engine.log").read_text()


def test_another_model_and_none_mean_another_process(start: Starter) -> None:
    engine = start()
    first = load(engine)
    second = load(engine, ModelSpec(model="other"))
    assert second != first
    assert not is_running(first)
    assert engine.info == scripted_info(ModelSpec(model="other"))
    engine.unload()
    assert not is_running(second)
    assert is_absent(engine)
    with pytest.raises(NoModelLoaded):
        list(engine.generate(REQUEST))
    engine.unload()
    load(engine)
    assert answer(engine).text == default_answer(REQUEST)


def test_closing_an_answer_early_cancels_it_and_leaves_nothing_behind(start: Starter) -> None:
    engine = start("delay_s=0.005")
    pid = load(engine)
    endless = GenerationRequest(messages=REQUEST.messages, ignore_eos=True, max_tokens=3000, mode="plain")
    for count in (1, 2, 5):
        events = engine.generate(endless)
        for _ in range(count):
            next(events)
        events.close()
        assert answer(engine).text == default_answer(REQUEST)
    compared = engine.compare(endless)
    next(compared)
    compared.close()
    for event in engine.generate(REQUEST):
        if isinstance(event, Finished):
            break  # the end of the command is still unread
    assert answer(engine).text == default_answer(REQUEST)
    assert engine.pid == pid


def test_a_long_silence_after_an_answer_that_was_closed_early_is_waited_for(start: Starter) -> None:
    before = """
    class Engine(ScriptedEngine):
        def generate(self, request):
            if self.requests: time.sleep(1)  # a long prefill
            return super().generate(request)
    """
    engine = start(before=before, stop_timeout_s=0.3)
    load(engine)
    for event in engine.generate(REQUEST):
        if isinstance(event, Finished):
            break
    assert answer(engine).text == default_answer(REQUEST)


def test_closing_or_cancelling_a_load_ends_the_process(start: Starter) -> None:
    engine = start("delay_s=0.05")
    progress = engine.load(SPEC)
    next(progress)
    pid = engine.pid
    assert pid is not None
    assert engine.status.state == "loading"
    progress.close()
    assert not is_running(pid)
    assert is_absent(engine)
    progress = engine.load(SPEC)
    next(progress)
    progress.cancel()
    with pytest.raises(EngineError, match="Loading scripted was stopped"):
        list(progress)
    assert is_absent(engine)
    load(engine)


def test_who_stops_listening_at_ready_has_a_model(start: Starter) -> None:
    engine = start()
    progress = engine.load(SPEC)
    while next(progress).stage != "ready":
        assert engine.info is None
    assert engine.info == scripted_info(SPEC)
    progress.cancel()  # too late: it is loaded
    progress.close()
    assert engine.status.state == "ready"
    assert answer(engine).text == default_answer(REQUEST)


def test_a_load_that_is_cancelled_with_its_end_unread_is_stopped(start: Starter) -> None:
    engine = start()
    progress = engine.load(SPEC)
    next(progress)
    child = engine._child
    assert child is not None
    wait_until(lambda: child._replies.qsize() == 6)  # five more steps and the end
    progress.cancel()
    with pytest.raises(EngineError, match="Loading scripted was stopped"):
        list(progress)
    assert is_absent(engine)
    with pytest.raises(NoModelLoaded):
        list(engine.generate(REQUEST))


def test_cancel_from_another_thread_finishes_the_answer(start: Starter) -> None:
    engine = start("hold_after=6")
    load(engine)
    events = engine.generate(REQUEST)
    seen = [next(events) for _ in range(6)]
    threading.Thread(target=events.cancel).start()
    seen += events
    assert isinstance(seen[-1], Finished)
    assert seen[-1].stop_reason == "cancelled"
    assert seen[-1].stats.rounds == sum(isinstance(event, Round) for event in seen)
    compared = [*_cancel_after(engine.compare(REQUEST), 4)]
    assert isinstance(compared[-1], Verdict)
    assert not compared[-1].complete


def test_drafting_is_switched_from_another_thread_in_mid_answer(start: Starter) -> None:
    engine = start("delay_s=0.01")
    load(engine)
    running = engine.generate(REQUEST)
    sizes: list[int] = []
    for event in running:
        if isinstance(event, Round):
            sizes.append(event.draft_size)
            if event.index == 1:
                running.draft(False)
    running.draft(True)  # after its end: nothing happens
    assert max(sizes[:2]) > 0
    assert sizes[-1] == 0
    assert max(round.draft_size for round in engine.generate(REQUEST) if isinstance(round, Round)) > 0


def _cancel_after(events: Running[object], count: int) -> Iterator[object]:
    for number, event in enumerate(events, 1):
        yield event
        if number == count:
            events.cancel()


def test_a_cancel_before_the_first_event_counts_and_touches_no_other_answer(start: Starter) -> None:
    engine = start("delay_s=0.01")
    load(engine)
    events = engine.generate(REQUEST)
    later = engine.generate(REQUEST)
    events.cancel()
    last = [*events][-1]
    assert isinstance(last, Finished)
    assert last.stop_reason == "cancelled"
    events.cancel()
    last = [*later][-1]
    assert isinstance(last, Finished)
    assert last.stop_reason == "eos"
    assert answer(engine).stop_reason == "eos"


def test_one_thing_at_a_time(start: Starter) -> None:
    engine = start("hold_after=3")
    pid = load(engine)
    events = engine.generate(REQUEST)
    next(events)
    for refused in (engine.generate(REQUEST), engine.compare(REQUEST), engine.load(SPEC)):
        with pytest.raises(EngineBusy, match="The engine is answering: wait"):
            next(iter(refused))
    with pytest.raises(EngineBusy):
        engine.unload()
    events.cancel()
    assert isinstance([*events][-1], Finished)
    progress = engine.load(SPEC)
    next(progress)
    with pytest.raises(EngineBusy, match="loading a model"):
        next(engine.generate(REQUEST))
    list(progress)
    assert engine.pid != pid


def test_a_slow_consumer_does_not_hold_up_the_worker(start: Starter, tmp_path: Path) -> None:
    before = """
    class Engine(ScriptedEngine):
        def _generate(self, request, stop):
            yield from super()._generate(request, stop)
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


def test_close_while_answering_and_twice(start: Starter) -> None:
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
    events.cancel()


def test_a_large_log_is_set_aside(start: Starter, tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("wb") as file:
        file.truncate(5 * 2**20)
    load(start(before="print('a new beginning', file=sys.stderr)"))
    assert log.read_text() == "a new beginning\n"
    assert (tmp_path / "engine.log.1").stat().st_size == 5 * 2**20


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


def test_the_real_worker_starts_and_answers(tmp_path: Path) -> None:
    engine = EngineProcess((*DEFAULT_COMMAND, str(tmp_path / "findings")), log=tmp_path / "engine.log")
    with pytest.raises(EngineError, match="nothing-here") as caught:
        list(engine.load(ModelSpec(model=str(tmp_path / "nothing-here"), offline=True)))
    assert caught.value.type == "ModelNotFound"
    assert engine.pid is not None
    engine.close()

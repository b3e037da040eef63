"""What the engine's process does in the background reaches the page's process, without a request."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import ModelSpec
from engine.events import Certificate, LoadProgress
from engine.process.wire import Reply, decode_reply, encode
from tests.scripted_answer import scripted_info
from tests.worker_process import Starter, answer, load, wait_until

PROGRESS = LoadProgress(stage="certify", message="Checking", done=3, total=10, seconds_left=7.5)
INFO = replace(scripted_info(ModelSpec(model="scripted")), exact=None, cost_curve=None, provisional=True)

# Not yet certified when a load ends. What conversation is remembered says what happens next.
LATER = """
from dataclasses import replace
from engine.events import Certificate, LoadProgress
from tests.scripted_answer import EXACT
class Engine(ScriptedEngine):
    progress = None
    @property
    def background(self):
        return self
    def on_change(self, listener):
        self.changed = listener
    def _load(self, spec, stop):
        for progress in super()._load(spec, stop):
            if progress.stage == "ready":
                self._info = replace(self._info, exact=None, cost_curve=None, provisional=True)
                self.note(1)
            yield progress
    def note(self, done):
        self.progress = LoadProgress(stage="certify", message="Checking", done=done, total=1000, seconds_left=1.5)
        self.changed()
    def remember(self, conversation, texts):
        if conversation == "certified":
            self._info, self.progress = replace(self._info, exact=EXACT, provisional=False), None
            self.changed()
        elif conversation == "die":
            os.kill(os.getpid(), 9)
        else:
            self.note(int(conversation))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.close()


@pytest.mark.parametrize("progress", [PROGRESS, None])
@pytest.mark.parametrize("certificate", [None, Certificate(setting="exact", tier="A", widths=(1, 2))])
def test_a_state_crosses_the_pipe(progress: LoadProgress | None, certificate: Certificate | None) -> None:
    reply = Reply(id=None, kind="state", info=replace(INFO, exact=certificate), event=progress)
    assert decode_reply(encode(reply)) == reply


def test_the_model_is_known_better_without_a_request(start: Starter) -> None:
    engine = start(before=LATER)
    changes: list[tuple[bool, LoadProgress | None]] = []
    engine.on_change(lambda: changes.append((bool(engine.info and engine.info.exact), engine.progress)))
    load(engine)
    assert engine.info is not None
    assert engine.info.provisional
    assert engine.progress is not None, "what came before the load's end counts too"
    engine.remember("500", ["x"])
    wait_until(lambda: engine.progress is not None and engine.progress.done == 500)
    assert answer(engine).text
    engine.remember("501", ["x"])  # the same percent is not worth a line
    engine.remember("certified", ["x"])
    wait_until(lambda: bool(engine.info and not engine.info.provisional))
    assert engine.progress is None
    assert [progress and progress.done for _, progress in changes] == [500, None]
    assert answer(engine).text


@pytest.mark.parametrize("end", ["unload", "close", "load"])
def test_no_progress_outlives_its_process(start: Starter, end: str) -> None:
    engine = start(before=LATER)
    load(engine)
    engine.remember("500", ["x"])
    wait_until(lambda: engine.progress is not None and engine.progress.done == 500)
    if end == "load":
        load(engine, ModelSpec(model="another"))
        assert engine.progress is not None
        assert engine.progress.done == 1
    else:
        getattr(engine, end)()
        assert engine.progress is None


def test_a_process_that_dies_takes_its_progress_along(start: Starter) -> None:
    engine = start(before=LATER)
    pid = load(engine)
    engine.remember("500", ["x"])
    engine.remember("die", ["x"])
    wait_until(lambda: engine.pid not in (pid, None) and engine.info is not None)
    assert engine.info is not None
    assert engine.info.provisional
    assert engine.progress is not None
    assert engine.progress.done == 1

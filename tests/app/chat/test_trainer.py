"""The training of a drafter that a page begins, in a process that stands in for `train-drafter`, and its line."""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app import home
from app.chat import trainer as trainer_module
from app.chat.loading import LoadState, ModelState
from app.chat.queue import Asker
from app.chat.services import Services
from app.chat.trainer import Trainer, TrainingState, cost_of, why_not
from app.chat.training_note import Order
from app.store.store import Store
from app.view.trainer import HIDDEN, trainer_line
from engine.config import ModelSpec
from engine.errors import EngineBusy, ModelNotFound
from engine.training.forecast import EPOCHS, HEADS, TOKENS, disk_of_heads
from tests.scripted import ScriptedEngine
from tests.scripted_answer import scripted_info

WAIT_S = 60.0
TinyModel = Callable[..., Path]

# Writes as `train-drafter` does: a stage to its end, then what its argument says.
STAND_IN = """
import json, pathlib, sys, time
how, pack = sys.argv[1], pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
say = lambda **values: print(json.dumps(values), flush=True)
say(work={"answers": 100.0, "heads": 100.0})
print("What a library says.\\n[3]", flush=True)
(pack / "training").mkdir(parents=True, exist_ok=True)
say(stage="answers", done=50, total=100)
while not (pack / "go").exists():
    time.sleep(0.01)
if how == "dies":
    sys.exit(3)
if how == "fails":
    say(error={"type": "NotEnoughDisk", "message": "There is no room: make some."})
    sys.exit(1)
(pack / "config.json").write_text("{}")
say(pack=str(pack), figures={"markov": {"tokens_per_round": 1.5}})
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Trainer]]:
    """What the application makes at each start."""
    monkeypatch.setattr(trainer_module, "REST_S", 0.0)
    monkeypatch.setattr(trainer_module, "LOOKED_S", 0.02)
    script, started = tmp_path / "stand_in.py", list[Trainer]()
    script.write_text(STAND_IN)

    def start() -> Trainer:
        started.append(Trainer(tmp_path / "drafters", os.environ, tmp_path / "log", (sys.executable, str(script))))
        return started[-1]

    yield start
    for each in started:
        each.close()


def order(tmp_path: Path, how: str = "ends") -> Order:
    return Order(name="Tiny", pack=str(tmp_path / "drafters" / "Tiny"), arguments=(how,))


def until(trainer: Trainer, *statuses: str | None) -> TrainingState | None:
    """The state once it is one of these, and something of it is known."""

    def still(state: TrainingState | None) -> bool:
        status = state.status if state is not None else None
        return status not in statuses or (state is not None and status == "running" and state.share == 0)

    state = trainer.wait(still, WAIT_S)
    assert not still(state), state
    return state


def go(tmp_path: Path) -> None:
    (tmp_path / "drafters" / "Tiny").mkdir(parents=True, exist_ok=True)
    (tmp_path / "drafters" / "Tiny" / "go").touch()


def test_a_training_runs_to_its_end_and_leaves_a_pack(start: Callable[[], Trainer], tmp_path: Path) -> None:
    trainer = start()
    trainer.attend(lambda: False, lambda: 7)
    trainer.begin(order(tmp_path))
    state = until(trainer, "running")
    assert state is not None
    assert (state.stage, state.share) == ("answers", 0.25)
    with pytest.raises(EngineBusy, match="A drafter for Tiny is being trained"):
        trainer.begin(order(tmp_path))
    go(tmp_path)
    state = until(trainer, "done")
    assert state is not None
    assert (state.tokens_per_round, state.sequence) == (1.5, 7)
    assert start().state is None, "a later start has nothing to go on with"


def test_its_end_holds_up_nobody_who_begins_to_be_answered(start: Callable[[], Trainer], tmp_path: Path) -> None:
    """A load holds the loader's lock while it takes its place in the line, which tells the trainer."""
    trainer, told = start(), threading.Event()

    def sequence() -> int:
        threading.Thread(target=lambda: (trainer.answering(False), told.set()), daemon=True).start()
        return 7 if told.wait(5) else 0

    trainer.attend(lambda: False, sequence)
    go(tmp_path)
    trainer.begin(order(tmp_path))
    state = until(trainer, "done")
    assert state is not None
    assert state.sequence == 7


def test_two_who_begin_at_once_get_one_training(start: Callable[[], Trainer], tmp_path: Path) -> None:
    trainer, refused = start(), list[EngineBusy]()

    def second() -> None:
        try:
            trainer.begin(order(tmp_path))
        except EngineBusy as exc:
            refused.append(exc)

    class Ending(threading.Thread):
        """An earlier training that is about to end; meanwhile somebody else begins."""

        def join(self, timeout: float | None = None) -> None:
            others.start()
            others.join(0.1)

    others = threading.Thread(target=second)
    trainer._thread = Ending()
    trainer.begin(order(tmp_path))
    others.join(WAIT_S)
    assert len(refused) == 1


def test_paused_cancelled_and_found_again(start: Callable[[], Trainer], tmp_path: Path) -> None:
    first = start()
    first.begin(order(tmp_path))
    until(first, "running")
    (process,) = [each for each in psutil.Process().children() if "stand_in.py" in " ".join(each.cmdline())]
    first.close()
    assert not process.is_running()
    again = start()
    state = again.state
    assert state is not None
    assert (state.status, state.order) == ("paused", order(tmp_path))
    again.resume()
    until(again, "running")
    again.cancel()
    assert again.state is None
    assert not (tmp_path / "drafters" / "Tiny").exists()
    assert start().state is None


def test_cancelling_keeps_a_pack_that_is_whole(start: Callable[[], Trainer], tmp_path: Path) -> None:
    trainer = start()
    trainer.begin(order(tmp_path))
    until(trainer, "running")
    (tmp_path / "drafters" / "Tiny" / "config.json").write_text("{}")
    trainer.cancel()
    assert (tmp_path / "drafters" / "Tiny" / "config.json").exists()
    assert not (tmp_path / "drafters" / "Tiny" / "training").exists()


def test_it_stands_still_while_anybody_is_answered_or_rounds_are_measured(
    start: Callable[[], Trainer], tmp_path: Path
) -> None:
    trainer, measuring = start(), [False]
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(loaded=True), store, trainer=trainer)
    trainer.attend(lambda: measuring[0], lambda: 0)
    trainer.begin(order(tmp_path))
    until(trainer, "running")
    (process,) = [each for each in psutil.Process().children() if "stand_in.py" in " ".join(each.cmdline())]
    with services.queue.join(Asker(kind="api", name="another program")):
        state = trainer.state
        assert state is not None
        assert state.status == "resting", "before the answer begins"
        assert state.memory_bytes is not None
        assert state.memory_bytes > 0
        if sys.platform != "win32":
            deadline = time.monotonic() + WAIT_S
            while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
                time.sleep(0.01)
            assert process.status() == psutil.STATUS_STOPPED
        go(tmp_path)
        trainer.wait(lambda state: state is not None and state.status == "resting", 0.2)
        assert trainer.state == state
    until(trainer, "done")
    (tmp_path / "drafters" / "Tiny" / "go").unlink()
    trainer.begin(order(tmp_path))
    until(trainer, "running")
    measuring[0] = True
    until(trainer, "resting")
    trainer.pause()
    assert not process.is_running()
    services.close()
    store.close()


def test_a_failure_is_one_sentence_and_the_next_try_goes_on(start: Callable[[], Trainer], tmp_path: Path) -> None:
    trainer = start()
    for how, sentence in (
        ("fails", "There is no room: make room there, and try again."),
        ("dies", "The training ended unexpectedly (3)."),
    ):
        go(tmp_path)
        trainer.begin(order(tmp_path, how))
        state = until(trainer, "failed")
        assert state is not None
        assert state.error is not None
        assert state.error.startswith(sentence)
    missing = Trainer(tmp_path / "drafters", os.environ, None, (str(tmp_path / "nothing"),))
    missing.begin(order(tmp_path))
    state = until(missing, "failed")
    assert state is not None
    assert "could not be started" in (state.error or "")


def test_a_damaged_note_is_no_training(start: Callable[[], Trainer], tmp_path: Path) -> None:
    for text in ("", "[]", '{"name": 3}', "\xff"):
        (tmp_path / "drafters").mkdir(exist_ok=True)
        (tmp_path / "drafters" / "training.json").write_text(text, encoding="latin-1")
        assert start().state is None


def test_the_model_is_trained_for_as_it_was_loaded(start: Callable[[], Trainer], tmp_path: Path) -> None:
    trainer = start()
    spec = ModelSpec(model="Qwen/Qwen3-0.6B", dtype="float32", quant="int8", threads=3, no_adapter=True)
    made = trainer.order(scripted_info(spec), spec)
    arguments = " ".join(made.arguments)
    assert arguments == "--model Qwen/Qwen3-0.6B --dtype float32 --quant int8 --no-adapter --threads 3 --offline"
    assert Path(made.pack).parent == tmp_path / "drafters"
    assert "-int8-" in made.pack


def test_no_two_trainings_share_a_folder(start: Callable[[], Trainer], tiny_model: TinyModel, tmp_path: Path) -> None:
    trainer, folder = start(), tmp_path / "models" / "Tiny"
    shutil.copytree(tiny_model("llama"), folder)
    spec, other = ModelSpec(model="a/b"), tmp_path / "models" / "other" / "Tiny"
    info = replace(scripted_info(spec), path=str(folder))
    shutil.copytree(folder, other)
    (other / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1] + b"!")
    same = {trainer.order(info, replace(spec, threads=threads)).pack for threads in (None, 3)}
    assert len(same) == 1
    others = {
        trainer.order(info, replace(spec, dtype="float32")).pack,
        trainer.order(replace(info, name="a-b"), replace(spec, model="a-b")).pack,
        trainer.order(replace(info, path=str(other)), spec).pack,
        *same,
    }
    assert len(others) == 4


@pytest.mark.parametrize("pack", ["..", "../elsewhere", "."])
def test_discarding_removes_no_folder_but_a_packs_own(start: Callable[[], Trainer], tmp_path: Path, pack: str) -> None:
    (tmp_path / "drafters" / "another").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    asked = {"name": "Tiny", "pack": str(tmp_path / "drafters") + "/" + pack, "arguments": []}
    (tmp_path / "drafters" / "training.json").write_text(json.dumps(asked))
    start().cancel()
    assert (tmp_path / "drafters" / "another").is_dir()
    assert (tmp_path / "elsewhere").is_dir()


def test_the_process_of_a_start_that_was_killed_is_ended_and_no_other(
    start: Callable[[], Trainer], tmp_path: Path
) -> None:
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    for shift in (100.0, 0.0):
        with psutil.Popen(sleeps) as process:
            try:
                said = {"name": "Tiny", "pack": "x", "arguments": []}
                said["process"] = [process.pid, process.create_time() + shift]
                (tmp_path / "drafters").mkdir(exist_ok=True)
                (tmp_path / "drafters" / "training.json").write_text(json.dumps(said))
                state = start().state
                assert state is not None
                assert (state.status, process.is_running()) == ("paused", shift != 0)
            finally:
                if process.is_running():
                    process.kill()


def test_the_note_names_the_process(start: Callable[[], Trainer], tmp_path: Path) -> None:
    trainer = start()
    trainer.begin(order(tmp_path))
    until(trainer, "running")
    pid, begun_s = json.loads((tmp_path / "drafters" / "training.json").read_text())["process"]
    assert psutil.Process(pid).create_time() == begun_s


def test_a_log_that_has_grown_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "LOG_BYTES", 3)
    for said in (b"one", b" two", b"three"):
        with home.open_log(tmp_path / "a.log") as log:
            log.write(said)
    assert (tmp_path / "a.log").read_bytes() == b"three"
    assert (tmp_path / "a.log.1").read_bytes() == b"one two"


def test_services_refuse_what_cannot_be_trained(start: Callable[[], Trainer], tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(), store, trainer=start())
    with pytest.raises(ModelNotFound, match="No model is loaded"):
        services.train_drafter()
    services.close()
    store.close()
    assert "--backend torch" in (why_not(replace(scripted_info(ModelSpec()), backend="llama-cpp")) or "")


def test_what_it_takes_is_told_from_measured_rounds(tiny_model: TinyModel) -> None:
    curve = ((1, 0.01), (32, 0.1))
    info = replace(
        scripted_info(ModelSpec()), path=str(tiny_model("llama")), num_parameters=1_000_000, cost_curve=curve
    )
    cost = cost_of(info)
    assert cost is not None
    slower = cost_of(replace(info, cost_curve=((1, 0.02), (32, 0.2))))
    assert slower is not None
    assert slower.seconds == pytest.approx(2 * cost.seconds)
    assert cost_of(replace(info, cost_curve=None)) is None
    assert cost_of(replace(info, backend="llama-cpp")) is None
    assert cost_of(replace(info, path="/gone", name="gone")) is None
    config = json.loads((Path(info.path) / "config.json").read_text())
    assert cost.disk_bytes == disk_of_heads(config["hidden_size"], config["vocab_size"])
    assert (TOKENS, HEADS, EPOCHS) == (200_000, 4, 3)


def test_the_line_says_what_there_is_and_what_comes_next(tmp_path: Path) -> None:
    info = scripted_info(ModelSpec())
    model = ModelState(info=info, load=LoadState(sequence=4))
    assert trainer_line(None, model, None, []) == HIDDEN
    assert trainer_line(None, ModelState(info=None, load=LoadState()), None, []) == HIDDEN
    packed = replace(model, info=replace(info, drafter_pack="mine"))
    assert trainer_line(None, packed, None, []) == HIDDEN | {"sentence": "The trained drafter mine drafts along."}
    running = TrainingState(
        order=order(tmp_path), status="running", stage="states", share=0.42, seconds_left=3000.0
    )  # fmt: skip
    line = trainer_line(running, model, None, [])
    assert line["sentence"] == "Training a drafter for Tiny: its answers are read again, 42 %, about 50 min left."
    assert (line["action"], line["second_action"], line["progress"], line["running"]) == ("pause", "cancel", 0.42, True)
    assert line["second_asks"].startswith("Cancel the training for Tiny? The 42 % that are done are deleted")
    resting = replace(running, status="resting", memory_bytes=1_200_000_000)
    assert "holds 1.2 GB of memory" in trainer_line(resting, model, None, [])["sentence"]
    paused = trainer_line(replace(running, status="paused"), model, None, [])
    assert (paused["action"], paused["running"]) == ("resume", False)
    failed = trainer_line(replace(running, status="failed", error="Why."), model, None, [])
    assert (failed["sentence"], failed["tone"], failed["action"]) == ("Why.", "bad", "resume")
    done = replace(running, status="done", tokens_per_round=1.5, sequence=4)
    assert trainer_line(done, model, None, [])["button"] == "", "another model is there"
    mine = replace(done, order=replace(done.order, name=info.name))
    assert trainer_line(mine, model, None, [])["action"] == "load"
    later = replace(model, load=LoadState(sequence=5))
    assert trainer_line(mine, later, None, []) == HIDDEN, "a model was loaded since"

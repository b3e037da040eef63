"""The installation of the binding to llama.cpp that a page begins, and the line that says how far it is."""

import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.chat import llama_cpp
from app.chat.llama_cpp import LlamaCpp, LlamaCppState, is_gguf
from app.chat.loading import LoadState, ModelState
from app.chat.services import Services
from app.setup.environment import Environment
from app.setup.llama_cpp.binding import Binding
from app.setup.llama_cpp.steps import Step
from app.setup.prerequisites import SetupError
from app.store.store import Store
from app.view.llama_cpp import HIDDEN, llama_cpp_line
from engine.config import ModelSpec
from tests.scripted import ScriptedEngine
from tests.scripted_answer import scripted_info

COMPILING = Step(stage="compile", message="compiling 7 of 140", done=7, total=140, seconds_left=240.0)


class FakeBuild:
    """Stands at one step until it is released or cancelled; then it fails, or the binding is there."""

    made: list["FakeBuild"]
    fails: str | None = None

    def __init__(self, root: Path, *flags: str, variables: object) -> None:
        self.flags, self.variables = flags, variables
        self.cancelled = False
        self.released = threading.Event()
        self.made.append(self)

    def steps(self) -> Generator[Step, None, Path]:
        yield COMPILING
        self.released.wait(30)
        if self.cancelled or self.fails:
            raise SetupError(self.fails or "The build was cancelled; nothing was installed.")
        FakeBinding.version_found = "0.3.36"
        return Path("it.whl")

    def cancel(self) -> None:
        self.cancelled = True
        self.released.set()


class FakeBinding(Binding):
    version_found: str | None = None

    def found(self, site_packages: Path | None = None) -> str | None:
        return FakeBinding.version_found


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LlamaCpp]:
    monkeypatch.setattr(FakeBuild, "made", [], raising=False)
    monkeypatch.setattr(FakeBinding, "version_found", None)
    monkeypatch.setattr(llama_cpp, "Build", FakeBuild)
    monkeypatch.setattr(Environment, "is_running", True)
    monkeypatch.setattr(Environment, "read_stamp", lambda self: object())
    made = LlamaCpp(Environment(tmp_path), FakeBinding("llama-cpp-python", "0.3.36"), {"A": "b"}, "--offline")
    yield made
    made.close()


def at(service: LlamaCpp, stage: str | None) -> LlamaCppState:
    """The state once it is at this stage; None: at rest."""
    for _ in range(1000):
        state = service.state()
        if (state.step.stage if state.step else None) == stage:
            return state
        threading.Event().wait(0.01)
    raise AssertionError(f"{service.state()} never came to {stage}")


def model(device: str = "cpu", sequence: int = 4, **asked: Any) -> ModelState:
    info = replace(scripted_info(ModelSpec()), device=device, num_parameters=4 * 10**9)
    return ModelState(info=info, load=LoadState(sequence=sequence, spec=ModelSpec(**asked)))


def line(state: LlamaCppState | None, *, gguf: bool = True, **where: Any) -> dict[str, Any]:
    return llama_cpp_line(state, model(**where), gguf=gguf)


def test_from_not_installed_to_load_again(service: LlamaCpp) -> None:
    before = line(service.state())
    assert before["sentence"].startswith("llama.cpp is not installed: with it this model usually answers faster")
    assert (before["button"], before["action"]) == ("Install", "install")
    assert "models in GGUF files usually answer" in line(service.state(), gguf=False)["sentence"]
    assert line(service.state(), device="cuda") == HIDDEN
    assert line(service.state(), backend="torch") == HIDDEN
    assert "models in GGUF files" in line(service.state(), quant="int8")["sentence"], "llama.cpp cannot compute that"
    service.start(4)
    service.start(4)  # of another tab
    running = line(at(service, "compile"))
    assert running["sentence"] == "Installing llama.cpp: compiling 7 of 140, about 4 min left. You can chat meanwhile."
    assert (running["action"], running["progress"], running["running"]) == ("cancel", 0.05, True)
    (build,) = FakeBuild.made
    assert build.flags == ("--background", "--offline")
    assert build.variables == {"A": "b"}
    build.released.set()
    done = at(service, None)
    assert done.ready
    assert line(done)["action"] == "load"
    assert line(done, sequence=5) == HIDDEN, "loaded since"
    assert line(done, gguf=False) == HIDDEN
    assert line(done, dtype="float32") == HIDDEN
    assert service.num_changes == 2


def test_a_cancelled_installation_is_offered_again_without_a_reproach(service: LlamaCpp) -> None:
    service.start(0)
    at(service, "compile")
    service.cancel()
    state = at(service, None)
    assert state.error is None
    assert line(state)["action"] == "install"
    service.start(0)
    assert len(FakeBuild.made) == 2


def test_a_failure_is_said_and_can_be_tried_again(service: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeBuild, "fails", "There is no C++ compiler: install one (sudo apt install g++).")
    service.start(0)
    at(service, "compile")
    FakeBuild.made[0].released.set()
    said = line(at(service, None))
    assert said["sentence"] == FakeBuild.fails
    assert (said["tone"], said["button"], said["action"]) == ("bad", "Try again", "install")


def test_the_end_of_the_application_ends_it(service: LlamaCpp, store: Store) -> None:
    services = Services(ScriptedEngine(), store, llama_cpp=service)
    version = services.page_version()
    service.start(0)
    assert services.page_version() != version, "other tabs draw it, too"
    at(service, "compile")
    services.close()
    assert FakeBuild.made[0].cancelled
    assert service.state().step is None


def test_another_version_is_said(service: LlamaCpp) -> None:
    state = replace(service.state(), found="0.3.35")
    assert line(state)["sentence"] == "llama.cpp's binding is installed in version 0.3.35, and 0.3.36 is needed."


def test_a_python_that_the_launcher_did_not_make_gets_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBinding, "version_found", None)
    service = LlamaCpp(Environment(tmp_path), FakeBinding("llama-cpp-python", "0.3.36"), {})
    said = line(service.state())
    assert said["button"] == ""
    assert "-m pip install --no-deps -r" in said["sentence"]
    service.start(0)
    assert service.state().step is None
    assert line(None) == HIDDEN


def test_a_gguf_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"GGUF\x03")
    (tmp_path / "x.gguf").write_bytes(b"not")
    assert is_gguf(str(tmp_path / "blob"))
    assert not is_gguf(str(tmp_path / "x.gguf"))
    assert not is_gguf(str(tmp_path))

"""The binding to llama.cpp through the launcher and through set-ups: nothing that a person has added is lost."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import launcher
from app.setup import installer
from app.setup.environment import Environment
from app.setup.llama_cpp import child
from app.setup.llama_cpp.binding import Binding, about
from app.setup.llama_cpp.steps import Step
from app.setup.prerequisites import SetupError
from tests.app.setup.test_launcher import FakePip, add_package, finish, pip, project, set_up

__all__ = ["pip", "project"]  # fixtures


class PipWithBinding(FakePip):
    """Installs the binding's wheel, too, unless it `refuses`."""

    refuses = False

    def run(self, command: list[str], env: dict[str, str], keep_open: int) -> int:
        code = super().run(command, env, keep_open)
        if any(word.endswith("it.whl") for word in command):
            if self.refuses:
                return 1
            add_package(self.env, "llama_cpp_python", "0.3.36")
        return code


class FakeBuild:
    """Gets the wheel at once, unless it `fails`."""

    flags: list[tuple[str, ...]]
    fails: str | None = None

    def __init__(self, root: Path, *flags: str) -> None:
        self.flags.append(flags)

    def steps(self) -> Generator[Step, None, Path]:
        yield Step(stage="compile", message="compiling 1 of 1", done=1, total=1)
        if self.fails:
            raise SetupError(self.fails)
        return Path("it.whl")


@pytest.fixture
def binding(project: Environment, pip: FakePip, monkeypatch: pytest.MonkeyPatch) -> PipWithBinding:
    (project.root / "assets" / "llama-cpp.txt").write_text("llama-cpp-python==0.3.36 --hash=sha256:0\n")
    fake = PipWithBinding(project)
    monkeypatch.setattr(installer, "run", lambda *arguments: fake.run(*arguments))
    monkeypatch.setattr(installer.subprocess, "run", lambda *a, **k: fake.subprocess_run(*a, **k))
    monkeypatch.setattr(FakeBuild, "flags", [], raising=False)
    monkeypatch.setattr(installer, "BindingBuild", FakeBuild)
    monkeypatch.setattr(child, "Build", FakeBuild)
    return fake


def has_it(project: Environment) -> bool:
    return any(project.site_packages().glob("llama_cpp_python-0.3.36*"))


def test_a_set_up_installs_it_only_where_it_was(project: Environment, binding: PipWithBinding) -> None:
    set_up(project)
    assert FakeBuild.flags == []
    add_package(project, "llama_cpp_python", "0.3.36")
    set_up(project, "test")
    assert FakeBuild.flags == [], "what is there stays"
    set_up(project, repair=True, offline=True)
    assert FakeBuild.flags == [("--wheel", "--offline")]
    assert has_it(project)
    assert project.fault() is None


def test_another_version_is_brought_up_to_the_pin(project: Environment, binding: PipWithBinding) -> None:
    set_up(project)
    add_package(project, "llama_cpp_python", "0.3.35")
    set_up(project, "test")
    assert FakeBuild.flags == [("--wheel",)]


def test_a_rebuild_that_was_interrupted_remembers_it(project: Environment, binding: PipWithBinding) -> None:
    set_up(project)
    add_package(project, "llama_cpp_python", "0.3.36")
    binding.fail_on = "toy"
    with pytest.raises(KeyboardInterrupt):
        set_up(project, repair=True)
    assert not has_it(project)
    binding.fail_on = None
    set_up(project)
    assert has_it(project)


@pytest.mark.parametrize("built", [False, True])
def test_a_set_up_goes_on_without_it(
    project: Environment, binding: PipWithBinding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    built: bool,
) -> None:  # fmt: skip
    set_up(project)
    add_package(project, "llama_cpp_python", "0.3.36")
    monkeypatch.setattr(FakeBuild, "fails", None if built else "There is no compiler.")
    binding.refuses = built
    set_up(project, repair=True)
    assert project.fault() is None
    said = capsys.readouterr().err
    why = "pip could not install it.whl" if built else "There is no compiler."
    assert f"is left out: {why}" in said
    assert "Get it later with `python launcher.py --with-llama-cpp`." in said


# ---- the launcher


@pytest.fixture
def handed(project: Environment, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What was handed over to the application."""
    found: list[tuple[str, ...]] = []
    monkeypatch.setattr(launcher, "ROOT", project.root)
    monkeypatch.setattr(launcher, "hand_over", lambda python, request: found.append(request.argv) or 0)
    return found


def complete(project: Environment) -> None:
    finish(project)
    add_package(project, "torch", "2.9.0+cpu")
    add_package(project, "toy", "1.5")


def test_the_flag_installs_it_and_the_application_never_sees_it(
    project: Environment, binding: PipWithBinding, handed: list[tuple[str, ...]]
) -> None:
    complete(project)
    assert launcher.main(["--with-llama-cpp", "--offline", "--check"]) == 0
    assert FakeBuild.flags == [("--offline",)]
    assert handed == [("--offline", "--check")]
    add_package(project, "llama_cpp_python", "0.3.36")
    assert launcher.main(["--with-llama-cpp", "ask", "hi"]) == 0
    assert len(FakeBuild.flags) == 1
    assert launcher.main(["--with-llama-cpp", "ask", "hi", "--sed", "3"]) == 2, "a mistyped flag costs no build"


@pytest.mark.parametrize("error", [SetupError("There is no compiler."), KeyboardInterrupt()])
def test_where_it_cannot_be_had_nothing_starts(
    project: Environment, binding: PipWithBinding, handed: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], error: BaseException,
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise error

    complete(project)
    monkeypatch.setattr(child, "add_binding", fail)
    code = launcher.main(["--with-llama-cpp"])
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert ("interrupted" if code == 130 else "no compiler") in capsys.readouterr().err
    assert handed == []


def test_a_python_that_the_launcher_did_not_make_is_left_alone(
    project: Environment, binding: PipWithBinding, handed: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(launcher, "prove", lambda request: "/their/python")
    monkeypatch.setattr(launcher.sys, "path", [str(project.site_packages())])
    assert launcher.main(["--with-llama-cpp"]) == 1
    said = capsys.readouterr().err
    assert f"/their/python -m pip install --no-deps -r {project.root / 'assets' / 'llama-cpp.txt'}" in said
    assert FakeBuild.flags == []


def test_check_says_whether_it_is_there(project: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "assets" / "llama-cpp.txt").write_text("llama-cpp-python==0.3.36 --hash=sha256:0\n")

    def said(ours: bool) -> str:
        return about(Binding.read(project.root), project.root, ours)

    monkeypatch.setattr(sys, "path", [str(project.site_packages())])
    assert said(True) == "llama.cpp: not installed; `python launcher.py --with-llama-cpp` installs it"
    add_package(project, "llama_cpp_python", "0.3.35")
    assert "llama-cpp-python 0.3.35 is installed, and 0.3.36 is wanted; `" in said(False)
    add_package(project, "llama_cpp_python", "0.3.36")
    (project.site_packages() / "llama_cpp_python-0.3.35.dist-info" / "INSTALLER").unlink()
    assert said(True) == "llama.cpp: llama-cpp-python 0.3.36 is installed"

"""The launcher, with a fake pip and fake interpreters: nothing is downloaded and nothing is installed."""

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import launcher
from app.setup import environment, installer, prerequisites
from app.setup.environment import RUNNING_PYTHON, Environment, Stamp, missing, satisfies, version_key
from app.setup.installer import Installer
from app.setup.prerequisites import SetupError, check_disk, check_interpreter, system_package
from app.setup.torch_build import TORCH_INDEX, choose_build

ROOT = Path(launcher.__file__).parent
TORCH = "torch>=2.8,<2.14"


@pytest.fixture
def project(tmp_path: Path) -> Environment:
    """A project of two requirements, in an empty folder."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "constraints.txt").write_text("toy==1.5\n")
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nname = "x"\nversion = "1"\ndependencies = ["{TORCH}", "toy>=1"]\n'
        '[project.optional-dependencies]\ntest = ["toytest>=2"]\n'
    )
    return Environment(tmp_path)


def add_package(env: Environment, name: str, version: str, *, finished: bool = True) -> Path:
    info = env.site_packages() / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if finished:
        (info / "INSTALLER").write_text("pip\n")
    return info


def finish(env: Environment, **changes: Any) -> Stamp:
    """Make a `.venv` that looks complete."""
    env.python.parent.mkdir(parents=True, exist_ok=True)
    env.python.touch()
    stamp = Stamp(
        fingerprint=env.fingerprint(), python=RUNNING_PYTHON, extras=(), torch="2.9.0+cpu", device="cpu", warning=None
    )
    stamp = replace(stamp, **changes)
    env.write_stamp(asdict(stamp))
    return stamp


class FakePip:
    """Stands in for every child of the installer: `pip install` makes metadata, `-m venv` makes folders."""

    def __init__(self, env: Environment, fail_on: str | None = None) -> None:
        self.env, self.fail_on, self.commands = env, fail_on, list[list[str]]()

    def run(self, command: list[str], env: dict[str, str], keep_open: int) -> int:
        self.commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            self.env.python.parent.mkdir(parents=True)
            self.env.python.touch()
            self.env.site_packages().mkdir(parents=True)
            return 0
        if self.fail_on is not None and any(word.startswith(self.fail_on) for word in command):
            raise KeyboardInterrupt
        for requirement in missing([word for word in command if re.match(r"to\w+>", word)], self.env.site_packages()):
            name = environment.split_requirement(requirement)[0]
            add_package(self.env, name, {"torch": "2.13.0+cpu", "toy": "1.5", "toytest": "2.0"}[name])
        return 0

    def subprocess_run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        out = json.dumps({"torch": "2.13.0+cpu", "device": "cpu", "warning": None})
        return subprocess.CompletedProcess(command, 0, out if command[2] == installer.SELF_TEST else RUNNING_PYTHON, "")

    @property
    def installs(self) -> list[str]:
        return [" ".join(command[command.index("install") + 1 :]) for command in self.commands if "install" in command]


@pytest.fixture
def pip(project: Environment, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    fake = FakePip(project)
    monkeypatch.setattr(installer, "run", lambda *arguments: fake.run(*arguments))
    monkeypatch.setattr(installer.subprocess, "run", lambda *a, **k: fake.subprocess_run(*a, **k))
    monkeypatch.setattr(installer, "find_gpus", list)
    monkeypatch.setattr(installer.platform, "system", lambda: "Linux")
    monkeypatch.setattr(installer, "reachable", lambda url: False)
    return fake


def set_up(env: Environment, *extras: str, repair: bool = False, offline: bool = False) -> None:
    installer.set_up(env, extras, repair=repair, offline=offline)


# ---- versions and requirements


def test_versions_are_ordered() -> None:
    ordered = ["2.8.0.dev20250101", "2.8", "2.9.0rc1", "2.9.0", "2.10", "2.13.0+cpu", "2.14.0a0", "3"]
    assert sorted(reversed(ordered), key=version_key) == ordered
    assert version_key("2.13.0+cu126") == version_key("2.13")
    with pytest.raises(ValueError, match="is not a version"):
        version_key("unknown")


@pytest.mark.parametrize(
    ("version", "met"),
    [
        ("2.8", True),
        ("2.13.0+cpu", True),
        ("2.7.9", False),
        ("2.14.0", False),
        ("2.14.0rc1", False),
        ("2.8.0rc1", False),
    ],
)
def test_a_range_is_held(version: str, met: bool) -> None:
    assert satisfies(version, ">=2.8,<2.14") is met


def test_an_unknown_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match="comparison"):
        satisfies("1.0", "~=1.0")
    with pytest.raises(ValueError, match="requirement"):
        environment.split_requirement("toy>=1; python_version < '3.12'")


def test_every_requirement_of_the_project_can_be_read() -> None:
    for requirement in Environment(ROOT).requirements(["test", "dev"]):
        name, specifiers = environment.split_requirement(requirement)
        assert name
        assert satisfies("0", specifiers) in (True, False)


def test_missing_requirements_are_named(project: Environment) -> None:
    add_package(project, "torch", "2.7.0")
    assert missing(project.requirements(["test"]), project.site_packages()) == [TORCH, "toy>=1", "toytest>=2"]
    add_package(project, "toy", "1.0")
    assert missing(["toy>=1"], project.site_packages()) == []


def test_constraints_allow_what_the_project_asks_for_and_leave_torch_out() -> None:
    pinned = dict(
        line.split("==") for line in (ROOT / "assets/constraints.txt").read_text().splitlines() if line[:1] != "#"
    )
    names = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    assert "torch" not in names
    for requirement in Environment(ROOT).requirements(["test", "dev"]):
        name, specifiers = environment.split_requirement(requirement)
        if name != "torch":
            assert satisfies(names[name.lower().replace("_", "-")], specifiers), requirement


# ---- the proof


def test_a_complete_environment_has_no_fault(project: Environment) -> None:
    assert project.fault() == "there is no .venv yet"
    finish(project)
    assert project.fault() == f".venv lacks {TORCH}, toy>=1"
    add_package(project, "torch", "2.9.0+cpu")
    add_package(project, "toy", "1.5")
    assert project.fault() is None
    assert project.fault(["test"]) == ".venv lacks toytest>=2"


def test_changes_and_losses_are_faults(project: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    add_package(project, "torch", "2.9.0+cpu")
    add_package(project, "toy", "1.5")
    finish(project)
    project.constraints.write_text("toy==1.6\n")
    assert project.fault() == "the project's dependencies have changed"
    finish(project)
    pyproject = project.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('version = "1"', 'version = "2"'))
    assert project.fault() is None  # the version decides nothing
    pyproject.write_text(pyproject.read_text().replace("toytest>=2", "toytest>=3"))
    assert project.fault() == "the project's dependencies have changed"
    finish(project)
    project.python.unlink()
    assert project.fault() == "the Python that .venv was made with is gone"
    project.python.touch()
    finish(project, python="3.99")
    with monkeypatch.context() as patch:
        patch.setattr(environment.sys, "prefix", str(project.venv))
        assert "made with Python 3.99" in (project.fault() or "")
    project.write_stamp({})
    assert project.fault() == "an earlier set-up did not finish"
    project.stamp_path.write_text("{ half")
    assert project.fault() == "an earlier set-up did not finish"


def test_the_fingerprint_holds_pythons_version(project: Environment) -> None:
    assert project.fingerprint("3.11") != project.fingerprint("3.12")
    assert project.fingerprint("3.11") == Environment(project.root).fingerprint("3.11")


# ---- building


def test_torch_comes_first_and_is_pinned_for_the_rest(project: Environment, pip: FakePip) -> None:
    set_up(project)
    torch, rest = pip.installs
    assert torch.endswith(f"--no-deps {TORCH}")
    assert (project.venv / "torch.txt").read_text() == "torch==2.13.0+cpu\n"
    assert f"-c {project.constraints} -c {project.venv / 'torch.txt'} {TORCH} toy>=1" in rest
    assert project.fault() is None
    assert not (project.venv / "tmp").exists()


def test_pytorchs_index_is_used_where_it_answers(
    project: Environment, pip: FakePip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(project)
    assert "does not answer" in capsys.readouterr().err
    monkeypatch.setattr(installer, "reachable", lambda url: url == f"{TORCH_INDEX}cpu/torch/")
    set_up(project, repair=True)
    said = capsys.readouterr()
    assert "does not answer" not in said.err
    assert said.out == ""
    assert f"--index-url {TORCH_INDEX}cpu {TORCH}" in pip.installs[2]


def test_an_extra_is_added_without_touching_torch(project: Environment, pip: FakePip) -> None:
    set_up(project)
    set_up(project, "test")
    assert len(pip.installs) == 3
    assert "toytest>=2" in pip.installs[2]
    assert project.fault(["test"]) is None
    set_up(project, "test")
    assert len(pip.installs) == 3  # nothing left to do


def test_an_interrupted_set_up_goes_on(project: Environment, pip: FakePip) -> None:
    pip.fail_on = "toy"
    with pytest.raises(KeyboardInterrupt):
        set_up(project)
    assert project.fault() == "an earlier set-up did not finish"
    half = add_package(project, "toy", "1.5", finished=False)
    pip.fail_on = None
    set_up(project)
    assert project.fault() is None
    assert (half / "METADATA").exists()  # installed anew, for
    assert (half / "INSTALLER").exists()  # the half one was forgotten
    assert [install.split()[-1] for install in pip.installs] == [TORCH, "toy>=1", "toy>=1"]


def test_repair_builds_from_nothing(project: Environment, pip: FakePip) -> None:
    set_up(project)
    (project.site_packages() / "stray.py").touch()
    set_up(project, repair=True)
    assert not (project.site_packages() / "stray.py").exists()
    assert project.fault() is None


def test_a_foreign_environment_is_left_alone(project: Environment, pip: FakePip) -> None:
    project.venv.mkdir()
    (project.venv / "theirs").touch()
    for repair in (False, True):
        with pytest.raises(SetupError, match="not made by this launcher"):
            set_up(project, repair=repair)
    assert (project.venv / "theirs").exists()
    assert pip.commands == []


def test_offline_asks_no_index(project: Environment, pip: FakePip, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    def refuse(command: list[str], env: dict[str, str], keep_open: int) -> int:
        seen.append(env)
        return pip.run(command, env, keep_open) if "venv" in command else 1

    monkeypatch.setattr(installer, "run", refuse)
    with pytest.raises(SetupError, match="without --offline"):
        set_up(project, offline=True)
    assert seen[-1]["PIP_NO_INDEX"] == "1"
    with pytest.raises(SetupError, match="could not install PyTorch"):
        set_up(project)
    assert "PIP_NO_INDEX" not in seen[-1]


def test_children_see_nothing_of_another_environment(project: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    env = Installer(project, 0, offline=False).child_env()
    assert not {"PYTHONPATH", "PYTHONHOME"} & env.keys()
    assert env["TMPDIR"] == str(project.venv / "tmp")


def test_too_little_disk_is_said_with_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = installer.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(installer.shutil, "disk_usage", lambda path: usage._replace(free=2_500_000_000))
    assert check_disk(tmp_path, 2.0) == pytest.approx(2.5)
    with pytest.raises(SetupError, match=r"needs 3\.1 GB .* has 2\.5 GB free\. Free 0\.6 GB"):
        check_disk(tmp_path, 3.1)


def test_a_missing_ensurepip_names_the_systems_package(monkeypatch: pytest.MonkeyPatch) -> None:
    check_interpreter()
    monkeypatch.setattr(
        prerequisites.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object()
    )
    with pytest.raises(SetupError, match="ensurepip is missing"):
        check_interpreter()
    assert system_package("ID=debian\n", "3.11") == "sudo apt install python3.11-venv"
    assert system_package('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "3.12") == "sudo apt install python3.12-venv"
    assert system_package('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "3.12") == "sudo dnf install python3.12"
    assert "python3-venv" in system_package("", "3.12")


def test_the_self_tests_failure_is_a_sentence(project: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the judging of its answer: the program itself runs at every set-up."""
    it = Installer(project, 0, offline=False)
    build = choose_build("Linux", "x86_64", [])
    answers = iter(
        [(0, '{"torch": "2", "device": "cpu", "warning": null}', ""), (1, "", "Traceback\nOSError: no libc")]
    )
    monkeypatch.setattr(
        installer.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, *next(answers))
    )
    assert it.self_test(build)["device"] == "cpu"
    with pytest.raises(SetupError, match="OSError: no libc"):
        it.self_test(build)
    ast.parse(installer.SELF_TEST)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_child_does_not_stay_behind(tmp_path: Path) -> None:
    program = "import time; print('Installing it', flush=True); time.sleep(60)"
    child = tmp_path / "pid"
    outer = (
        "import os, sys; from app.setup import installer\n"
        "made = installer.subprocess.Popen\n"
        "def note(*a, **k):\n"
        f"    p = made(*a, **k); open({str(child)!r}, 'w').write(str(p.pid)); return p\n"
        "installer.subprocess.Popen = note\n"
        f"installer.run([sys.executable, '-c', {program!r}], dict(os.environ), os.open(os.devnull, os.O_RDONLY))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", outer], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "  Installing it\n"
    process.send_signal(2)
    process.communicate(timeout=30)
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)

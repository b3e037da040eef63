"""Which backend computes a model, and what is said where llama.cpp cannot."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.config import Backend, ModelSpec
from engine.errors import EngineError, UnsupportedDevice, UnsupportedModel
from engine.forward.llama_cpp import binding
from engine.forward.widths import WIDTHS
from engine.models.backends import BackendChoice, choose_backend
from engine.models.catalog import read_checkpoint
from engine.models.hardware import Device
from engine.probe.cost import usual_token_s
from tests.gguf_files import write_gguf

TinyModel = Callable[..., Path]
CPU = Device(torch.device("cpu"), "a processor", 10**10)
GPU = Device(torch.device("cuda", 0), "a GPU", 10**10)


@pytest.fixture
def file(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "why_not", lambda: None)


def choice(
    path: Path, place: Device = CPU, measured: Mapping[Backend, float] | None = None, **options: object
) -> BackendChoice:
    spec = ModelSpec(model=str(path), **options)  # type: ignore[arg-type]
    return choose_backend(spec, read_checkpoint(path, "tiny"), place, measured or {})


@pytest.mark.usefixtures("installed")
def test_auto_takes_llama_cpp_for_a_gguf_file_on_a_processor(file: Path, tiny_model: TinyModel) -> None:
    assert choice(file).name == "llama-cpp"
    assert choice(file, GPU).name == "torch"
    assert choice(file, dtype="bfloat16").name == "torch"
    assert choice(file, quant="int8").name == "torch"
    assert choice(file, quant="none").name == "llama-cpp"
    assert choice(file, adapter="some/folder").name == "llama-cpp"
    assert choice(tiny_model("llama")).name == "torch"
    assert choice(file, backend="torch") == BackendChoice("torch", "torch computes, as asked for.")


@pytest.mark.usefixtures("installed")
def test_auto_takes_what_was_faster_here(file: Path) -> None:
    assert choice(file, measured={"torch": 0.01}).name == "llama-cpp"
    chosen = choice(file, measured={"torch": 0.01, "llama-cpp": 0.02})
    said = "torch computes: with drafts a token usually takes 10.0 ms here, and 20.0 ms by llama.cpp."
    assert chosen == BackendChoice("torch", said)
    assert choice(file, measured={"torch": 0.03, "llama-cpp": 0.02}).name == "llama-cpp"


def test_cheap_rows_can_outweigh_a_faster_plain_round() -> None:
    """Twice as fast plain, but each row of a draft costs as much as a token: drafts gain nothing there."""
    dear, cheap = usual_token_s(lambda width: float(width), WIDTHS), usual_token_s(lambda width: 1.6, WIDTHS)
    assert dear == pytest.approx(1.0)
    assert cheap < dear
    assert usual_token_s(lambda width: 4.0, WIDTHS) > dear


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"dtype": "bfloat16"}, UnsupportedModel, "the weights stay as tiny has them, and bfloat16 was asked for"),
        ({"quant": "nf4"}, UnsupportedModel, "Choose quant auto, or backend torch"),
        ({"device": "cuda"}, UnsupportedDevice, "llama.cpp computes on the processor here, and a GPU was chosen"),
    ],
)
def test_what_llama_cpp_cannot_do_is_said_where_it_was_asked_for(
    file: Path, options: dict[str, str], error: type[EngineError], said: str
) -> None:
    with pytest.raises(error, match=said):
        choice(file, GPU if "device" in options else CPU, backend="llama-cpp", **options)


@pytest.mark.usefixtures("installed")
def test_other_formats_and_longrope_are_refused(tiny_model: TinyModel, file: Path) -> None:
    with pytest.raises(UnsupportedModel, match="no GGUF file"):
        choice(tiny_model("llama"), backend="llama-cpp")
    checkpoint = read_checkpoint(file, "tiny")
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 1024}
    longer = replace(checkpoint, config=checkpoint.config | {"rope_scaling": rope})
    with pytest.raises(UnsupportedModel, match="LongRoPE"):
        choose_backend(ModelSpec(model=str(file), backend="llama-cpp"), longer, CPU, {})


@pytest.mark.usefixtures("installed")
def test_a_window_that_llama_cpp_does_not_know_is_left_to_torch(tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("mistral"))
    assert choice(file).name == "torch"
    assert choice(file).reason == "torch computes: tiny attends to 32 tokens behind each, and llama.cpp to all of them."


def test_a_missing_library_is_said_with_how_to_get_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "installed_version", lambda: None)
    with pytest.raises(UnsupportedDevice, match=r"Llama.cpp is not installed \(get it with `python launcher.py"):
        choice(file, backend="llama-cpp")
    chosen = choice(file)
    assert chosen.name == "torch"
    assert chosen.reason == "torch computes: llama.cpp is not installed."


def test_another_version_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "installed_version", lambda: "0.1.2")
    with pytest.raises(UnsupportedDevice, match=rf"0\.1\.2 is installed and {binding.pinned_version()} was tested"):
        choice(file, backend="llama-cpp")
    assert choice(file).name == "torch"
    assert "0.1.2" in choice(file).reason


def test_a_library_that_cannot_be_loaded_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("wrong processor")

    monkeypatch.setattr(binding, "installed_version", binding.pinned_version)
    monkeypatch.setattr(binding, "library", broken)
    assert choice(file).name == "torch"
    assert "wrong processor" in choice(file).reason

"""`--check`: exit 0 only where both modes gave the same answer."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from app.chat.trainer import Cost
from app.commands import check
from app.main import main
from engine.config import ModelSpec
from engine.errors import UnsupportedDevice
from engine.models import bundled
from tests.scripted import ScriptedEngine
from tests.scripted_answer import scripted_info


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "not" / "there" / "yet"))


def test_all_is_well(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    engine = ScriptedEngine(answers=["one two three"])
    assert main(["--check"], make_engine=lambda: engine) == 0
    printed = capsys.readouterr().out
    for said in ("torch ", "gradio ", "Scripted CPU", "tier B, widths 16", "3 of 3 tokens identical", str(tmp_path)):
        assert said in printed
    assert [request.mode for request in engine.requests] == ["plain", "adaptive"]
    assert all(request.sampling.greedy and request.exactness == "exact" for request in engine.requests)
    assert engine.specs[0].model == "smollm2"
    assert engine.specs[0].reprobe, "a self-test takes nothing on trust from an earlier load"
    assert engine.closed
    assert not (tmp_path / "not").exists()


def test_the_pack_that_drafts_along_is_named() -> None:
    for pack in ("", "mine"):
        info = replace(scripted_info(ModelSpec()), drafter_pack=pack)
        out = io.StringIO()
        check._model(info, out)
        assert ("drafter pack: mine" in out.getvalue()) == bool(pack)


def test_without_a_pack_it_says_what_training_one_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for cost, said in ((None, False), (Cost(seconds=10_000.0, disk_bytes=300_000_000), True)):
        monkeypatch.setattr(check, "cost_of", lambda info, cost=cost: cost)
        out = io.StringIO()
        check._model(scripted_info(ModelSpec()), out)
        assert ("which takes about 3 hours and 300 MB of disk here" in out.getvalue()) == said


@pytest.mark.parametrize("answers", [["one two three", "one two four"], ["one two three", "one two"], ["", ""]])
def test_a_failed_self_test_is_exit_1(answers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], make_engine=lambda: ScriptedEngine(answers=answers)) == 1
    assert "The self-test failed" in capsys.readouterr().out


def test_an_engine_that_fails_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "This machine has no CUDA device: use --device cpu."
    engine = ScriptedEngine(load_error=UnsupportedDevice(sentence))
    assert main(["--check", "--device", "cuda"], make_engine=lambda: engine) == 1
    assert sentence in capsys.readouterr().err


def test_without_the_model_that_comes_along_the_starter_is_used_with_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "find", lambda: None)
    for argv, wanted in ((["--check"], "starter"), (["ask", "hi"], "starter"), (["ask", "hi", "--model", "m"], "m")):
        engine = ScriptedEngine()
        assert main(argv, make_engine=lambda engine=engine: engine) == 0  # type: ignore[misc]
        assert [spec.model for spec in engine.specs] == [wanted]
        said = "SmolLM2-135M-Instruct is not installed; the starter model, a small demonstration, is used instead."
        assert (said in capsys.readouterr().err) is (wanted == "starter")

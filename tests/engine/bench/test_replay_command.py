"""`bench replay` as a command: its outputs, and one sentence for each complaint."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.main import main
from engine.bench.inputs.curves import YARDSTICKS, find_curves
from engine.bench.reports.report_replay import replay_text
from tests.transcripts import COPY, TALK, record, write_tokenizer, written


@pytest.fixture
def tokenizers(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path)


def command(tmp_path: Path, tokenizers: Path, *more: str) -> list[str]:
    path = written(tmp_path / "f.jsonl", COPY, TALK)
    return ["bench", "replay", str(path), "--tokenizers", str(tokenizers), *more]


def test_the_command(tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "new" / "out.json", tmp_path / "plots" / "plot.png"
    argv = command(tmp_path, tokenizers, "--limit", "1", "--json", str(out), "--plot", str(plot))
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "oracle" in text
    assert "tiny, all" in text
    data = json.loads(out.read_text())
    assert {row["curve"] for row in data["results"]} == set(YARDSTICKS)
    assert {row["conversations"] for row in data["results"]} == {1}
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(command(tmp_path, tokenizers, "--curve", "flat", "--drafters", "anpd", "--json", "-")) == 0
    assert json.loads(capsys.readouterr().out)["benchmark"] == "replay"


def test_an_interrupt_keeps_what_is_finished(
    tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.drafting.baselines.anpd.AnpdDrafter.draft", interrupt)
    argv = command(tmp_path, tokenizers, "--drafters", "prompt-lookup,anpd", "--json", "-")
    assert main(argv) == 130
    data = json.loads(capsys.readouterr().out)
    assert {row["drafter"] for row in data["results"]} == {"prompt-lookup"}
    assert not data["complete"]
    assert "INTERRUPTED" in replay_text(data)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Line 1: is not JSON"),
        ("[1]", "there is no id"),
        ({**COPY, "tokenizer": 7}, "must be text"),
        ({**COPY, "tokenizer": "absent"}, "needs the tokenizer 'absent'"),
        ({key: value for key, value in COPY.items() if key != "suite"}, "there is no suite"),
        ({**COPY, "messages": []}, "non-empty"),
        ({**COPY, "messages": [{"role": "assistant", "content": "a"}]}, "answers nothing"),
        ({**COPY, "messages": [{"role": "system", "content": "a"}]}, "messages[0]"),
        ({**COPY, "messages": [{"role": "user", "content": 1}]}, "messages[0]"),
        (record("a"), "hold no answer"),
        ("", "no conversations"),
    ],
)
def test_a_bad_line_is_one_sentence(
    line: object, said: str, tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(tmp_path, tokenizers)
    written(tmp_path / "f.jsonl", line)
    assert main(argv) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--drafters", "recycling"], "recycling cannot draft without a model"),
        (["--drafters", "adaptive,racer,recycling"], "racer and recycling"),
        (["--drafters", "lucky"], "'lucky' is not one of"),
        (["--curve", "steep"], "no curve 'steep'"),
        (["--memory", "tepid"], "'tepid' is not one of"),
        (["--max-nodes", "0"], "between 1"),
        (["--curve", "{folder}/bad.json"], "bad.json"),
        (["/absent/file.jsonl"], "cannot be read"),
    ],
)
def test_bad_arguments_are_one_sentence(
    more: list[str], said: str, tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "bad.json", "[[2, 1]]")
    argv = command(tmp_path, tokenizers)
    given_more = [each.format(folder=tmp_path) for each in more]
    argv = [*argv, *given_more] if more[0].startswith("--") else [*argv[:2], *given_more, *argv[3:]]
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "list of"),
        ("[[1]]", "pairs"),
        ("[[1, -1]]", "above 0"),
        ("[[1, true]]", "above 0"),
        ('[["a", 1]]', "whole number"),
        ("[[2, 1], [3, 2]]", "begin with 1"),
        ("[[1, 1], [1, 2]]", "begin with 1 and rise"),
        ('{"cpu": [[1, 1]]}', "two different curves"),
    ],
)
def test_a_bad_curve_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "curve.json", text)
    with pytest.raises(ValueError, match=said):
        find_curves(f"cpu,{path}")


def test_a_tokenizer_that_is_none(tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tokenizers / "tiny" / "tokenizer.json").write_text("{}")
    assert main(command(tmp_path, tokenizers)) == 2
    assert "cannot be read" in capsys.readouterr().err

"""`bench trained` as a person types it: packs that were trained here, on prompts that they do not know."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.main import main
from engine.training import answers, measure, vocabulary

TinyModel = Callable[..., Path]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LIMIT", 24)
    monkeypatch.setattr(vocabulary, "_SIZES", (128,))
    monkeypatch.setattr(measure, "_LENGTHS", (2, 4))


def lines(file: Path, texts: list[str]) -> Path:
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return file


@pytest.mark.usefixtures("small")
def test_every_way_is_measured_on_prompts_that_the_pack_does_not_know(
    tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [f"Say {number}" for number in range(48)]
    own = ["--model", str(tiny_model("llama")), "--home", str(tmp_path / "home"), "--threads", "1", "--dtype", "fp32"]
    training = ["--tokens", "1000", "--heads", "4", "--epochs", "1", "--kind", "both", "--rescorer"]
    prompts = lines(tmp_path / "known.jsonl", known)
    pack = tmp_path / "pack"
    assert main(["train-drafter", *own, *training, "--prompts", str(prompts), "--out", str(pack)]) == 0
    new = lines(tmp_path / "new.jsonl", ["Tell 1", known[0], "Tell 2", "Tell 3"])
    out = tmp_path / "out.json"
    measuring = ["bench", "trained", *own, str(pack), "--prompts", str(new), "--keep", str(tmp_path / "kept")]
    assert main([*measuring, "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "oracle of the lattice" in said
    assert "adaptive with the pack" in said
    data: dict[str, Any] = json.loads(out.read_text())
    rows = data["results"]
    assert {row["set"] for row in rows} == {"new", "kept-out"}
    new_rows = [row for row in rows if row["set"] == "new"]
    told = len(json.loads((tmp_path / "kept" / "new.answers.jsonl").read_text().splitlines()[0]))
    positions = {row["positions"] for row in new_rows if "positions" in row}
    assert positions == {23 * 3}, f"of {told} answers that to a known prompt is left out"
    by_way = {(row["way"], row["length"]): row["tokens_per_round"] for row in new_rows}
    ways = {"alone", "local", "global", "global-16", "neural", "markov", "oracle", "chimera"}
    assert set(by_way) == {(way, length) for way in ways for length in (2, 4)} | {("adaptive", 32), ("merged", 32)}
    for length in (2, 4):
        assert all(by_way["oracle", length] >= by_way[way, length] for way in ways - {"chimera"})
        assert by_way["global-16", length] >= by_way["global", length]
        assert 1 <= by_way["chimera", length] <= 1 + length
    assert data["packs"][0]["numbers"].keys() == {"heads", "chimera", "rescorer"}
    answered = (tmp_path / "kept" / "new.answers.jsonl").read_bytes()
    assert main(measuring) == 0
    assert (tmp_path / "kept" / "new.answers.jsonl").read_bytes() == answered, "nothing is asked twice"


@pytest.mark.usefixtures("small")
def test_what_cannot_be_measured_is_refused_in_a_sentence(
    tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--model", str(tiny_model("llama")), "--home", str(tmp_path / "home"), "--keep", str(tmp_path / "kept")]
    assert main(["bench", "trained", *own, str(tmp_path / "none")]) == 1
    assert "nothing says which prompts it knows" in capsys.readouterr().err
    (tmp_path / "a").mkdir()
    twice = [lines(tmp_path / "x.jsonl", ["a"]), lines(tmp_path / "a" / "x.jsonl", ["b"])]
    named = [part for file in twice for part in ("--prompts", str(file))]
    assert main(["bench", "trained", *own, str(tmp_path / "none"), *named]) == 2
    assert "have one name" in capsys.readouterr().err

"""`train-drafter` as a person types it: from a file of prompts to a pack, and what it says on the way."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from app.commands import train
from app.commands.cli import Train, parse
from app.commands.flags import UsageError
from app.commands.running import Interrupt
from app.main import main
from engine.training import answers, vocabulary
from engine.training.plan import Progress

TinyModel = Callable[..., Path]


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(answers, "LIMIT", 24)
    monkeypatch.setattr(vocabulary, "_SIZES", (128,))
    file = tmp_path / "prompts.jsonl"
    lines = [
        {"prompt": f"Say {number}"} if number % 2 else {"turns": [f"Tell {number}", "More"]} for number in range(48)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def arguments(model: Path, prompts: Path, *more: str) -> list[str]:
    home = prompts.parent / "home"
    named = ["--model", str(model), "--home", str(home), "--prompts", str(prompts), "--threads", "1", "--dtype", "fp32"]
    return ["train-drafter", *named, "--tokens", "1000", "--heads", "2", "--epochs", "1", *more]


def test_a_pack_is_trained_said_and_found_again(
    tiny_model: TinyModel, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model("llama")
    assert main(arguments(model, prompts)) == 0
    said = capsys.readouterr()
    assert "48 prompts. Training takes up to" in said.err
    assert "From its beginning it takes " in said.err.split("[answers]")[0], "before it begins"
    for stage in ("[answers]", "[states]", "[heads]", "[calibrate]"):
        assert stage in said.err
    pack = prompts.parent / "home" / "drafters" / model.name
    assert f"The pack is in {pack}" in said.out
    assert "oracle" in said.out
    assert main(["ask", "Hi", "--json", "--model", str(model), "--home", str(prompts.parent / "home")]) == 0


def test_an_interrupt_says_how_it_goes_on(
    tiny_model: TinyModel, prompts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(self: Interrupt) -> None:
        self.seen = True

    monkeypatch.setattr(Interrupt, "__init__", pressed)
    assert main(arguments(tiny_model("llama"), prompts)) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert not (prompts.parent / "home" / "drafters" / tiny_model("llama").name / "config.json").exists()


def test_what_cannot_be_trained_is_refused_in_a_sentence(
    tiny_model: TinyModel, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model("llama")
    few = prompts.with_name("few.jsonl")
    few.write_text('{"prompt": "Hi"}\n')
    broken = prompts.with_name("broken.jsonl")
    broken.write_text('{"prompt": "Hi"}\n{"prompt": 3}\n')
    for file, sentence in (
        (few, "There are 1 prompts, and training needs 40"),
        (broken, "Line 2: prompt must be text; got 3"),
        (prompts.with_name("none.jsonl"), "cannot be read: No such file"),
    ):
        assert main(arguments(model, file)) == 2
        assert sentence in capsys.readouterr().err


def test_the_prompts_that_come_along_are_many_and_different() -> None:
    options = parse(["train-drafter"])[0].options
    texts = [request.messages[-1].text for request in train._requests(train.PROMPTS, options)]
    assert f"`openings.jsonl`: {len(texts):,} first messages" in (train.PROMPTS.parent / "README.md").read_text("utf-8")
    times = Counter(" ".join(text.split()).casefold() for text in texts)
    assert [text for text, count in times.items() if count > 1] == []


def test_flags_are_what_they_say() -> None:
    command, _ = parse(["train-drafter", "--model", "m", "--tokens", "5000", "--out", "x"])
    assert isinstance(command, Train)
    assert (command.named, command.tokens, command.heads, command.prompts, command.out) == (True, 5000, 4, None, "x")
    for wrong in (["--tokens", "5"], ["--heads", "9"], ["--kind", "lookup"], ["--drafter-pack", "none"]):
        with pytest.raises(UsageError):
            parse(["train-drafter", *wrong])


def test_progress_says_what_is_left_and_not_too_often(capsys: pytest.CaptureFixture[str]) -> None:
    show = train.printer()
    for done in (0, 5, 9, 10):
        show(Progress(stage="states", done=done, total=10, seconds_left=600.0))
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "[states] 0 of 10 answers read again, 10 minutes left",
        "[states] 10 of 10 answers read again, 10 minutes left",
    ]

"""`ask`, single and batch, with a scripted engine: what is printed where, and how it exits."""

import errno
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.commands.ask import result_json
from app.commands.running import generate
from app.main import main
from engine.api import Running
from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import ModelNotFound, NotEnoughMemory
from engine.events import Event, Finished, LoadProgress
from tests.scripted import ScriptedEngine
from tests.scripted_answer import split_tokens, token_id

FIELDS = [
    "text",
    "token_ids",
    "mode",
    "model",
    "device",
    "backend",
    "dtype",
    "quant",
    "seed",
    "stop_reason",
    "num_prompt_tokens",
    "num_tokens",
    "rounds",
    "tokens_per_round",
    "accepted_lengths",
    "acceptance_rate",
    "tokens_per_s",
    "ttft_s",
    "loop",
    "exactness",
    "server",
]


def ask(
    capsys: pytest.CaptureFixture[str], engine: ScriptedEngine, *argv: str
) -> tuple[int, list[dict[str, Any]], str]:
    """(exit code, the JSON objects on standard output, standard error)."""
    code = main(["ask", *argv], make_engine=lambda: engine)
    printed = capsys.readouterr()
    return code, [json.loads(line) for line in printed.out.splitlines()], printed.err


def batch(tmp_path: Path, *lines: object) -> str:
    path = tmp_path / "batch.jsonl"
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(texts) + b"\n")
    return str(path)


def test_one_answer_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    engine = ScriptedEngine(answers=["one two three four five six"])
    code, (result,), err = ask(capsys, engine, "Count!", "--json", "--seed", "5", "--model", "some/model")
    assert code == 0
    assert list(result) == FIELDS
    assert result["text"] == "one two three four five six"
    assert result["token_ids"] == [token_id(piece) for piece in split_tokens(result["text"])]
    assert (result["model"], result["seed"], result["mode"]) == ("some/model", 5, "adaptive")
    assert (result["stop_reason"], result["dtype"], result["device"]) == ("eos", "float32", "cpu")
    assert result["rounds"] == len(result["accepted_lengths"])
    assert result["tokens_per_round"] * result["rounds"] == pytest.approx(6)  # five after the first, and the end
    assert result["exactness"] == {"setting": "exact", "tier": "B", "widths": [16], "provisional": False}
    assert result["loop"] is None
    assert "Reading weights" in err
    assert engine.closed


def test_an_answer_in_circles_says_from_where_on(capsys: pytest.CaptureFixture[str]) -> None:
    _, (result,), _ = ask(capsys, ScriptedEngine(answers=["well then" + " so it goes" * 100]), "x", "--json")
    assert result["loop"] == {"start": 5, "period": 3}  # the second time


def test_what_is_unknown_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    _, (result,), _ = ask(capsys, ScriptedEngine(answers=["one"]), "x", "--json", "--max-tokens", "1")
    assert result["rounds"] == 0
    assert result["tokens_per_round"] is None
    assert result["acceptance_rate"] is None
    assert result["tokens_per_s"] is None


def test_an_answer_that_ended_before_its_first_token_has_no_time_to_it() -> None:
    request = GenerationRequest(messages=(Message.of("user", "Hi"),))
    engine = ScriptedEngine(answers=["one"])
    list(engine.load(ModelSpec()))
    *_, end = engine.generate(request)
    assert isinstance(end, Finished)
    cancelled = replace(end, stop_reason="cancelled", stats=replace(end.stats, ttft_s=0.0))
    assert result_json(engine, "starter", request, cancelled)["ttft_s"] is None


def test_text_streams_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Hi"], make_engine=lambda: ScriptedEngine(answers=["Hello, you."])) == 0
    assert capsys.readouterr().out == "Hello, you.\n"


def test_a_note_on_the_answer_begins_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.commands.ask.generate", lambda *given: replace(generate(*given), verbatim=True))
    monkeypatch.setattr("sys.stderr", sys.stdout)
    assert main(["ask", "Hi"], make_engine=lambda: ScriptedEngine(answers=["Hello, you."])) == 0
    assert "Hello, you.\n[prompt] The model has no chat template" in capsys.readouterr().out


def test_an_answer_steers_nobodys_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, said in ((Terminal(), "a]0;title b\tc\n"), (io.StringIO(), "a\x1b]0;title\x07 b\tc\n")):
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["ask", "Hi"], make_engine=lambda: ScriptedEngine(answers=["a\x1b]0;title\x07 b\tc"])) == 0
        assert out.getvalue() == said


def test_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    engine = ScriptedEngine(answers=["ok"])
    ask(capsys, engine, "Hi", "--json", "--system", "Be brief.", "--mode", "plain", "--stop", "X", "--temperature", "1")
    (request,) = engine.requests
    assert request.messages == (Message.of("system", "Be brief."), Message.of("user", "Hi"))
    assert (request.mode, request.stop, request.sampling.temperature) == ("plain", ("X",), 1.0)


def test_the_prompt_may_come_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Grüße,\nnoch eine Zeile\n".encode())))
    engine = ScriptedEngine(answers=["ok"])
    assert ask(capsys, engine, "--json")[0] == 0
    assert engine.requests[0].messages[-1].text == "Grüße,\nnoch eine Zeile"


BOM = "\ufeff"


@pytest.mark.parametrize("way", ["standard input", "argument", "batch"])
def test_a_prompt_is_cleaned_whichever_way_it_comes(
    way: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = f"{BOM}one\r\ntwo\x1b{'' if way == 'argument' else chr(0)}\r\n"
    if way == "standard input":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    words = {"standard input": [], "argument": [text], "batch": ["--batch", batch(tmp_path, {"prompt": text})]}
    engine = ScriptedEngine(answers=["ok"])
    assert ask(capsys, engine, *words[way], "--json", "--system", f"{BOM}Be\x07 brief.")[0] == 0
    system, question = engine.requests[0].messages
    assert system.text == "Be brief."
    assert question.text == ("one\ntwo\n" if way == "batch" else "one\ntwo")


def test_standard_input_that_is_no_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\xfa")))
    code, (result,), _ = ask(capsys, ScriptedEngine(), "--json")
    assert code == 2
    assert "UTF-8" in result["error"]["message"]


def test_a_failure_is_an_object_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "There is no model in /nowhere: choose another folder."
    code, (result,), err = ask(capsys, ScriptedEngine(load_error=ModelNotFound(sentence)), "Hi", "--json")
    assert code == 1
    assert result == {"error": {"type": "ModelNotFound", "message": sentence}}
    assert sentence in err


def test_a_failure_midway_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    engine = ScriptedEngine(fail_after=6, error=NotEnoughMemory("The device is full: choose a smaller model."))
    code, results, _ = ask(capsys, engine, "Hi", "--json")
    assert code == 1
    assert results[-1]["error"]["type"] == "NotEnoughMemory"


def test_a_defect_is_said_and_logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    code, results, _ = ask(capsys, ScriptedEngine(fail_after=2, error=ZeroDivisionError("oops")), "Hi", "--json")
    assert code == 1
    assert results[-1]["error"] == {"type": "ZeroDivisionError", "message": "oops"}
    assert any(record.exc_info for record in caplog.records)


class NoisyEngine(ScriptedEngine):
    """Prints while it loads, as libraries do."""

    def _load(self, spec: ModelSpec, stop: threading.Event) -> Generator[LoadProgress, None, None]:
        print("a library's chatter")
        yield from super()._load(spec, stop)


def test_what_libraries_print_is_kept_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    code, results, err = ask(capsys, NoisyEngine(answers=["ok"]), "Hi", "--json")
    assert (code, len(results)) == (0, 1)
    assert "chatter" in err


class InterruptedEngine(ScriptedEngine):
    """Gets a Ctrl-C after so many events."""

    after = 12

    def _generate(self, request: GenerationRequest, stop: threading.Event) -> Generator[Event, None, None]:
        for index, event in enumerate(super()._generate(request, stop)):
            if index == self.after:
                os.kill(os.getpid(), signal.SIGINT)
            yield event


def test_an_interrupt_keeps_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, (result,), _ = ask(capsys, InterruptedEngine(), "Hi", "--json")
    assert code == 130
    assert result["stop_reason"] == "cancelled"
    assert result["text"]
    with pytest.raises(KeyboardInterrupt):  # the handler is back in its place
        os.kill(os.getpid(), signal.SIGINT)


def test_batch_gives_one_line_each_in_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    engine = ScriptedEngine(answers=[lambda request: f"to: {request.messages[-1].text}"])
    path = batch(
        tmp_path,
        {"prompt": "first"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                      {"role": "user", "content": "second"}], "mode": "plain", "max_tokens": 2},
        {"prompt": "third", "ignore_eos": True, "max_tokens": 7, "stop": "third", "seed": 3, "temperature": 0.5,
         "repetition_penalty": 1.2, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "exactness": "fast", "system": "S"},
    )  # fmt: skip
    code, results, _ = ask(capsys, engine, "--batch", path, "--json", "--seed", "9")
    assert code == 0
    assert [result["text"] for result in results] == ["to: first", "to: second", "to: "]
    assert [result["seed"] for result in results] == [9, 9, 3]
    assert [result["mode"] for result in results] == ["adaptive", "plain", "adaptive"]
    assert [result["stop_reason"] for result in results] == ["eos", "length", "stop"]
    assert len(engine.specs) == 1
    assert [len(request.messages) for request in engine.requests] == [1, 3, 2]
    assert engine.requests[2].exactness == "fast"


BAD_LINES: list[tuple[object, str]] = [
    (b'{"prompt": "x"', "not JSON"),
    (b"\xff\xfe{}", "UTF-8"),
    (b"[" * 5000, "Line 1"),
    ([1], 'must be an object such as {"prompt": "Hello"}; got [1]'),
    (None, 'must be an object such as {"prompt": "Hello"}; got null'),
    ({"prompt": None}, "prompt must be text; got null"),
    ({}, "exactly one of"),
    ({"prompt": "x", "messages": []}, "exactly one of"),
    ({"prompt": 5}, "prompt must be text"),
    ({"prompt": " "}, "empty"),
    ({"prompt": "\ud800"}, "Unicode"),
    ({"prompt": "x", "max_token": 5}, "unknown key 'max_token'"),
    ({"prompt": "x", "max_tokens": "5"}, "max_tokens must be a whole number"),
    ({"prompt": "x", "max_tokens": 5.5}, "max_tokens must be a whole number"),
    ({"prompt": "x", "temperature": True}, "temperature must be a number"),
    ({"prompt": "x", "ignore_eos": 1}, "ignore_eos must be true or false"),
    ({"prompt": "x", "stop": 5}, "stop must be a list"),
    ({"prompt": "x", "stop": ["a", 5]}, "stop[1] must be text"),
    ({"prompt": "x", "stop": ""}, "stop strings"),
    ({"prompt": "x", "mode": ["plain"]}, "mode must be text"),
    ({"prompt": "x", "mode": "turbo"}, "mode must be one of"),
    ({"prompt": "x", "device": 3}, "device must be text"),
    ({"prompt": "x", "dtype": {}}, "dtype must be text"),
    ({"prompt": "x", "offline": True}, "unknown key"),
    ({"messages": []}, "non-empty list"),
    ({"messages": [{"role": "user"}]}, "keys role and content"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "role must be one of"),
    ({"messages": [{"role": "user", "content": None}]}, "content must be text"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "must be the user's"),
    ({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "x"}], "system": "b"}, "keep one"),
    ({"turns": ["a"]}, "for the benchmarks"),
    (b'{"prompt": "x", "temperature": NaN}', "temperature"),
]


@pytest.mark.parametrize(("bad", "said"), BAD_LINES)
def test_a_bad_line_yields_one_error_line_and_the_rest_go_on(
    bad: object, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = batch(tmp_path, bad, {"prompt": "good"})
    code, (error, result), err = ask(capsys, ScriptedEngine(answers=["fine"]), "--batch", path, "--json")
    assert code == 1
    assert list(error) == ["error"]
    assert error["error"]["type"] == "ValueError"
    assert error["error"]["message"].startswith("Line 1: ")
    assert said in error["error"]["message"]
    assert "Traceback" not in err
    assert result["text"] == "fine"


def test_blank_lines_are_skipped_and_null_means_not_set(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = batch(tmp_path, b"\xef\xbb\xbf", {"prompt": "x", "stop": None, "threads": None}, b"  ")
    code, results, _ = ask(capsys, ScriptedEngine(answers=["ok"]), "--batch", path, "--json")
    assert (code, len(results)) == (0, 1)


def test_another_model_is_loaded_only_when_it_changes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = [{"prompt": "x", "model": model} for model in ("a", "a", "b", "b", "a")]
    engine = ScriptedEngine(answers=["ok"])
    code, results, _ = ask(capsys, engine, "--batch", batch(tmp_path, *lines), "--json")
    assert code == 0
    assert [spec.model for spec in engine.specs] == ["a", "b", "a"]
    assert [result["model"] for result in results] == ["a", "a", "b", "b", "a"]


class PickyEngine(ScriptedEngine):
    """Loads every model but one."""

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        self.load_error = ModelNotFound("There is no model in b.") if spec.model == "b" else None
        return super().load(spec)


def test_a_model_that_cannot_be_loaded_costs_its_own_lines_only(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [{"prompt": "x", "model": model} for model in ("a", "b", "b", "a")]
    engine = PickyEngine(answers=["ok"])
    code, results, _ = ask(capsys, engine, "--batch", batch(tmp_path, *lines), "--json")
    assert code == 1
    assert ["error" in result for result in results] == [False, True, True, False]
    assert [spec.model for spec in engine.specs] == ["a", "b", "a"]


def test_a_missing_batch_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, (result,), _ = ask(capsys, ScriptedEngine(), "--batch", str(tmp_path / "none.jsonl"), "--json")
    assert code == 2
    assert "none.jsonl cannot be read" in result["error"]["message"]


def test_an_interrupt_while_loading_leaves_nothing_busy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.commands.running.print", interrupted, raising=False)  # between two steps of the load
    engine = ScriptedEngine()
    assert ask(capsys, engine, "Hi", "--json")[:2] == (130, [])
    engine.unload()  # refused while a load is still running


def test_an_interrupt_ends_the_batch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = batch(tmp_path, {"prompt": "x"}, {"prompt": "y"})
    code, results, _ = ask(capsys, InterruptedEngine(), "--batch", path, "--json")
    assert code == 130
    assert [result["stop_reason"] for result in results] == ["cancelled"]


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def fileno(self) -> int:
        raise io.UnsupportedOperation


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FULL = "The answer cannot be written: No space left on device."


@pytest.mark.parametrize(("out", "code", "said"), [(ClosedPipe(), 1, ""), (FullDisk(), 1, FULL), (None, 0, "")])
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("in_batch", [True, False])
def test_results_that_nobody_takes_are_no_traceback(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    out: io.StringIO | None,
    code: int,
    said: str,
    as_json: bool,
    in_batch: bool,
) -> None:
    monkeypatch.setattr("sys.stdout", out)
    engine = ScriptedEngine(answers=["ok"])
    asked = ["--batch", batch(tmp_path, {"prompt": "x"}, {"prompt": "y"})] if in_batch else ["Hi"]
    assert main(["ask", *asked, *(["--json"] if as_json else [])], make_engine=lambda: engine) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert lines == ([said] if said else [])
    assert not caplog.records
    engine.unload()  # refused while an answer is still running


def test_a_failure_that_cannot_be_written_is_still_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", FullDisk())
    assert main(["ask", "Hi", "--json", "--temperature", "-1"]) == 2
    assert "emperature" in capsys.readouterr().err


class TellingEngine(ScriptedEngine):
    """Has something to say about every prompt."""

    def _generate(self, request: GenerationRequest, stop: threading.Event) -> Generator[Event, None, None]:
        for event in super()._generate(request, stop):
            yield replace(event, verbatim=True, dropped_turns=3) if isinstance(event, Finished) else event


def test_what_became_of_the_prompt_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, results, err = ask(capsys, TellingEngine(answers=["ok"]), "Hi", "--json")
    assert (code, len(results)) == (0, 1)
    assert "The model has no chat template: it completed the prompt as it stands." in err
    assert "The context is full: the 3 oldest messages no longer fitted." in err
    assert "[prompt]" not in ask(capsys, ScriptedEngine(answers=["ok"]), "Hi", "--json")[2]


@pytest.mark.parametrize("command", [["lossless"], ["speed"], ["widths"], ["replay", "x", "--tokenizers", "y"]])
def test_results_that_could_not_be_kept_are_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    engine = ScriptedEngine()
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "below.json"):
        assert main(["bench", *command, "--json", str(path)], make_engine=lambda: engine) == 2
        assert f"The results cannot be written to {path} (" in capsys.readouterr().err
    assert engine.info is None
    assert main(["bench", "lossless", "--json", str(tmp_path / "new" / "x.json"), "--prompts", "none"]) == 2
    assert not any((tmp_path / "new").iterdir())


def test_arms_of_a_package_that_is_missing_are_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    engine = ScriptedEngine()
    assert main(["bench", "speed", "--arms", "adaptive,xllamacpp-ngram-mod"], make_engine=lambda: engine) == 2
    assert "`python -m pip install --no-deps xllamacpp`, or leave its arms out." in capsys.readouterr().err
    assert engine.info is None


class NotYetCertified(ScriptedEngine):
    """Answers before the certificate has come, where it need not wait for it."""

    def _generate(self, request: GenerationRequest, stop: threading.Event) -> Generator[Event, None, None]:
        for event in super()._generate(request, stop):
            waits = self.specs[-1].certify != "never"
            if isinstance(event, Finished) and not waits:
                event = replace(event, certificate=replace(event.certificate, provisional=True))
            yield event


def test_one_prompt_is_answered_at_once_and_a_batch_waits_for_the_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (result,), errors = ask(capsys, NotYetCertified(), "Hello", "--json")
    assert code == 0
    assert result["exactness"]["provisional"]
    assert "not yet certified here" in errors
    code, (result,), errors = ask(capsys, NotYetCertified(), "--batch", batch(tmp_path, {"prompt": "Hello"}), "--json")
    assert code == 0
    assert not result["exactness"]["provisional"]
    assert "not yet certified" not in errors

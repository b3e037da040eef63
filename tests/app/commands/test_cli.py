"""The command line: what its flags mean, where they may stand, and how bad ones are answered."""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.commands.bench_flags import BenchLossless, BenchReplay, BenchSpeed, BenchWidths
from app.commands.cli import Ask, Check, Serve, parse, version
from app.commands.flags import UsageError, add_flag
from app.main import main
from engine.batch import ANSWER_OPTIONS, MODEL_OPTIONS, SAMPLING_OPTIONS, Options, parse_line
from engine.bench.plans import EQUAL_SIZE_ARMS, OWN_SIZE_ARMS, USUAL_REPLAY, WidthsPlan
from engine.config import ModelSpec
from engine.options import option
from tests.scripted import ScriptedEngine


def command(*argv: str) -> object:
    return parse(list(argv))[0]


def test_the_page_is_the_default() -> None:
    assert command() == Serve(port=None, browser=True, spec=ModelSpec(model="smollm2"), named=False)


def test_global_flags() -> None:
    wanted = Serve(port=8123, browser=False, spec=ModelSpec(model="some/model", offline=True), named=True)
    assert command("--no-browser", "--port", "8123", "--model", "some/model", "--offline") == wanted


def test_the_memory_over_conversations_can_be_bounded_and_switched_off() -> None:
    for tokens in (0, 5000):
        wanted = Serve(port=None, browser=True, spec=ModelSpec(model="smollm2", memory_tokens=tokens), named=False)
        assert command("--memory-tokens", str(tokens)) == wanted
    with pytest.raises(UsageError):
        command("--memory-tokens", "-1")


def test_home_is_told_apart_from_the_command() -> None:
    assert parse(["--home", "/tmp/x"])[1] == "/tmp/x"
    assert parse(["ask", "hi", "--home", "/tmp/x"])[1] == "/tmp/x"
    assert parse(["ask", "hi"])[1] is None


@pytest.mark.parametrize(
    "argv", [["--model", "m", "ask", "hi"], ["ask", "hi", "--model", "m"], ["ask", "--model=m", "hi"]]
)
def test_the_model_may_be_named_before_and_after_the_command(argv: list[str]) -> None:
    ask = command(*argv)
    assert isinstance(ask, Ask)
    assert ask.options.spec.model == "m"
    assert ask.prompt == "hi"


def test_ask_flags() -> None:
    ask = command(
        *[
            "ask",
            "hi",
            "--json",
            "--mode",
            "plain",
            "--exactness",
            "fast",
            "--system",
            "S",
            "--temperature",
            "0.5",
            "--top-k",
            "5",
            "--top-p",
            "0.9",
        ],
        *[
            "--min-p",
            "0.1",
            "--repetition-penalty",
            "1.1",
            "--seed",
            "7",
            "--max-tokens",
            "9",
            "--stop",
            "A",
            "--stop",
            "B",
            "--ignore-eos",
        ],
        *["--dtype", "bf16", "--device", "cpu", "--threads", "3", "--quant", "int8"],
    )
    assert isinstance(ask, Ask)
    assert ask.json
    assert ask.options == Options.of(
        model="smollm2",
        mode="plain",
        exactness="fast",
        system="S",
        temperature=0.5,
        top_k=5,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.1,
        seed=7,
        max_tokens=9,
        stop=("A", "B"),
        ignore_eos=True,
        dtype="bf16",
        device="cpu",
        threads=3,
        quant="int8",
    )
    assert ask.options.spec.dtype == "bfloat16"


def test_defaults_are_greedy_adaptive_exact() -> None:
    ask = command("ask", "hi")
    assert isinstance(ask, Ask)
    assert ask.options == Options.of(model="smollm2")
    request = ask.options.request_for("hi")
    assert (request.mode, request.exactness, request.max_tokens) == ("adaptive", "exact", 512)
    assert request.sampling.greedy


def test_bench_commands() -> None:
    lossless = command("bench", "lossless", "--drafter", "wrong", "--drafter", "oracle", "--temperature", "1.1")
    assert isinstance(lossless, BenchLossless)
    assert lossless.plan.drafters == ("wrong", "oracle")
    assert lossless.plan.temperature == 1.1
    assert lossless.options.template.max_tokens == 128
    control = command("bench", "lossless", "--negative-control")
    assert isinstance(control, BenchLossless)
    assert (control.plan.drafters, control.plan.negative_control) == (("oracle",), True)
    speed = command("bench", "speed", "--repeats", "5", "--arms", "adaptive,plain-fast", "--json", "-")
    assert isinstance(speed, BenchSpeed)
    assert (speed.plan.repeats, speed.plan.arms, speed.json) == (5, ("plain-fast", "adaptive"), "-")
    everything = command("bench", "speed")
    assert isinstance(everything, BenchSpeed)
    assert everything.plan.arms == OWN_SIZE_ARMS
    equal = command("bench", "speed", "--max-nodes", "64", "--plot", "p.png")
    assert isinstance(equal, BenchSpeed)
    assert (equal.plan.max_nodes, equal.plan.arms, equal.plot) == (64, EQUAL_SIZE_ARMS, Path("p.png"))
    replay = command("bench", "replay", "a", "b", "--tokenizers", "t")
    assert isinstance(replay, BenchReplay)
    assert (replay.plan.files, replay.plan.tokenizers) == ((Path("a"), Path("b")), Path("t"))
    assert (replay.plan.memories, replay.plan.max_nodes, replay.plan.drafters) == (("cold",), 64, USUAL_REPLAY)
    both = command("bench", "replay", "a", "--tokenizers", "t", "--memory", "cold,warm", "--curve", "flat,cpu")
    assert isinstance(both, BenchReplay)
    assert both.plan.memories == ("cold", "warm")
    assert [curve.name for curve in both.plan.curves] == ["flat", "cpu"]
    timed = command("bench", "replay", "a", "--tokenizers", "t", "--target", "random:qwen3-8b", "--quant", "int8")
    assert isinstance(timed, BenchReplay)
    assert timed.plan.target == ModelSpec(model="random:qwen3-8b", quant="int8")
    assert timed.plan.curves == ()
    assert replay.plan.target is None


def test_bench_widths() -> None:
    usual = command("bench", "widths", "--model", "random:qwen3-8b", "--quant", "nf4", "--dtype", "bf16")
    assert isinstance(usual, BenchWidths)
    assert usual.spec == ModelSpec(model="random:qwen3-8b", quant="nf4", dtype="bfloat16")
    assert (usual.plan, usual.json, usual.plot) == (WidthsPlan(), None, None)
    chosen = command(
        "bench", "widths", "--context", "512,64,512", "--repeats", "3", "--plot", "p.png", "--threads", "2"
    )
    assert isinstance(chosen, BenchWidths)
    assert (chosen.plan.contexts, chosen.plan.repeats) == ((64, 512), 3)
    assert (chosen.plot, chosen.spec.threads) == (Path("p.png"), 2)


def test_check() -> None:
    assert command("--check", "--model", "m") == Check(options=Options.of(model="m"), named=True)
    assert command("--check") == Check(options=Options.of(model="smollm2"), named=False)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["ask", "hi", "--temperature", "hot"], '--temperature: must be a number; got "hot"'),
        (["ask", "hi", "--max-tokens", "many"], '--max-tokens: must be a whole number; got "many"'),
        (["ask", "hi", "--home", " "], "--home needs the name of a folder"),
        (["ask", "hi", "--temperature", "-1"], "temperature must be between 0 and 10"),
        (["ask", "hi", "--temperature", "nan"], "temperature"),
        (["ask", "hi", "--top-p", "0"], "top_p"),
        (["ask", "hi", "--max-tokens", "0"], "max_tokens"),
        (["ask", "hi", "--seed", "-1"], "seed"),
        (["ask", "hi", "--mode", "turbo"], "turbo"),
        (["ask", "hi", "--dtype", "int3"], "int3"),
        (["ask", "hi", "--device", "toaster"], "toaster"),
        (["ask", "hi", "--threads", "0"], "threads"),
        (["ask", "hi", "--stop", ""], "stop"),
        (["ask", "hi", "--model", ""], "model"),
        (["ask", "hi", "there"], "there"),
        (["ask", "hi", "--batch", "f"], "not both"),
        (["ask", "hi", "--jso"], "--jso"),
        (["ask", ""], "empty"),
        (["--port", "99999"], "between 1 and 65535"),
        (["--port", "abc"], '--port: must be a whole number; got "abc"'),
        (["bench"], "lossless"),
        (["bench", "speed", "--repeats", "0"], "between 1"),
        (["bench", "lossless", "--drafter", "lucky"], "lucky"),
        (["bench", "speed", "--arms", "adaptive,lucky"], "lucky"),
        (["bench", "speed", "--max-nodes", "0"], "between 1"),
        (["bench", "widths", "--context", "64,0"], "between 1"),
        (["bench", "widths", "--quant", "int2"], "int2"),
        (["bench", "replay"], "FILE"),
        (["bench", "replay", "f"], "--tokenizers"),
        (["dance"], "There is no command 'dance'"),
        (["bench", "losless"], "There is no benchmark 'losless' (did you mean lossless?)"),
        (["ask", "--mode", "adaptve", "hi"], "There is no 'adaptve' for --mode (did you mean adaptive?)"),
        (
            ["ask", "--max_tokens", "3", "hi"],
            "There is no flag --max_tokens (did you mean --max-tokens?); `launcher.py ask",
        ),
        (["--max-tokens", "3", "ask", "hi"], "--max-tokens goes behind its command: ask."),
        (["--prot", "7000"], "There is no flag --prot (did you mean --port?); `launcher.py --help`"),
    ],
)
def test_bad_arguments_end_with_2_and_a_sentence(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--json"] if argv[0] == "ask" else argv, make_engine=ScriptedEngine) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    if argv[0] == "ask":
        error = json.loads(printed.out.splitlines()[-1])["error"]
        assert said in error["message"]
        assert error["type"] == "UsageError"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"slipstream {version()}\n"
    assert main(["ask", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--repetition-penalty" in said
    assert "()" not in said


def test_every_option_is_a_flag_of_ask_and_a_key_of_a_line() -> None:
    values = {
        **{"model": "m", "dtype": "fp16", "device": "cpu", "quant": "int8", "max_context": 4096, "offline": True},
        **{"backend": "torch"},
        **{"mode": "plain", "drafter": "anpd", "exactness": "fast", "stop": "END", "ignore_eos": True},
        **{"top_p": 0.5, "min_p": 0.5, "system": "Be brief.", "adapter": "folder", "no_adapter": True},
        **{"drafter_pack": "none"},
    }
    for name in ("system", *MODEL_OPTIONS, *SAMPLING_OPTIONS, *ANSWER_OPTIONS):
        value = values.get(name, 3)
        flag = "--" + name.replace("_", "-")
        ask = command("ask", "hi", flag, *([] if value is True else [str(value)]))
        assert isinstance(ask, Ask)
        usual = Options.of(model="smollm2")
        assert ask.options == Options.of(**{"model": "smollm2", name: value})
        assert ask.options != usual, name
        if name != "offline":
            line = parse_line(json.dumps({"prompt": "hi", name: value}), 1, usual)
            assert line.options == ask.options


def test_a_new_sampling_option_is_a_flag_with_its_range_and_its_help(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Later:
        typical_p: float = option(1.0, "keep typical tokens; 1 is off", low=0, high=1, metavar="P")

    parser = argparse.ArgumentParser(prog="p")
    add_flag(parser, Later, "typical_p")
    assert "--typical-p P  keep typical tokens; 1 is off (1)" in parser.format_help()
    assert parser.parse_args(["--typical-p", "0.5"]).typical_p == 0.5
    assert not hasattr(parser.parse_args([]), "typical_p")


def test_the_command_line_imports_no_torch() -> None:
    code = "import sys, app.main, app.commands.check; sys.exit(bool({'torch', 'gradio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_usage_errors_carry_the_usage() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["bench", "replay"])
    assert caught.value.usage.startswith("usage:")

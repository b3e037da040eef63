"""The launcher's words, how it hands over to the application, and what it may need before anything is installed."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import launcher
from app.commands import bench_flags, cli
from app.setup import installer
from app.setup.environment import Environment
from app.setup.help import HELP
from app.setup.prerequisites import SetupError

ROOT = Path(launcher.__file__).parent
TORCH = "torch>=2.8,<2.14"


def test_the_command_line_is_split_at_the_command() -> None:
    request = launcher.parse(["--home", "ask", "--repair", "--offline", "ask", "--repair", "--seed", "3"])
    assert request.command == "ask"
    assert request.flags == ("--home", "--repair", "--offline")
    assert request.rest == ("--repair", "--seed", "3")
    assert request.argv == ("--home", "ask", "--offline", "ask", "--repair", "--seed", "3")
    assert request.offline
    assert launcher.parse(["test", "-k", "--offline"]).offline is False
    assert launcher.parse([]).command is None
    assert launcher.parse(["train-drafter", "--offline"]).offline
    with pytest.raises(ValueError, match=r"no flag --prot before a command \(did you mean --port\?\)"):
        launcher.parse(["--prot", "7000"])
    for wrong in (["sevre"], ["lint", "ruf"]):
        with pytest.raises(ValueError, match="There is no"):
            launcher.parse(wrong)


def test_help_and_flags_agree_with_the_applications_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    actions = cli.build_parser()._actions
    flags = {flag: action.nargs for action in actions for flag in action.option_strings if flag.startswith("--")}
    for flag in flags:
        assert flag in HELP
    takes_value = {flag for flag, nargs in flags.items() if nargs != 0}
    assert takes_value == set(launcher.VALUE_FLAGS)
    for command in launcher.COMMANDS:
        assert f"launcher.py {command}" in HELP.replace("[flags] ", "")
    for proof in bench_flags.COMMANDS:
        assert f"bench {proof} " in HELP
    assert launcher.main(["--help"]) == 0
    assert capsys.readouterr().out == HELP
    with pytest.raises(SystemExit):
        launcher.main(["ask", "--help"])
    assert "--repetition-penalty" in capsys.readouterr().out


def test_version_is_pyprojects(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["--version"]) == 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"slipstream {version}\n"


def test_a_mistyped_flag_costs_no_set_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(launcher, "prove", lambda request: None)
    monkeypatch.setattr(installer, "set_up", lambda *a, **k: pytest.fail("set up for nothing"))
    assert launcher.main(["ask", "hi", "--json", "--sed", "3"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "UsageError"


def test_a_failed_set_up_answers_programs_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SetupError("Not enough disk.")

    monkeypatch.setattr(launcher, "prove", lambda request: None)
    monkeypatch.setattr(installer, "set_up", fail)
    assert launcher.main(["ask", "hi", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": {"type": "SetupError", "message": "Not enough disk."}}
    assert said.err == "Not enough disk.\n"


def test_an_interrupted_set_up_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "prove", lambda request: None)
    monkeypatch.setattr(installer, "set_up", interrupt)
    assert launcher.main([]) == 130
    assert "Run `python launcher.py` again" in capsys.readouterr().err


def test_the_running_interpreter_is_used_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "is_running", property(lambda self: False))
    monkeypatch.setattr(
        Environment, "requirements", lambda self, extras=(): ["pytest>=1"] if not extras else ["gone>=1"]
    )
    monkeypatch.setattr(Environment, "fault", lambda self, extras=(): None)
    assert launcher.prove(launcher.parse([])) == sys.executable
    assert launcher.prove(launcher.parse(["test"])) == str(Environment(ROOT).python)
    assert launcher.prove(launcher.parse(["--repair"])) is None
    monkeypatch.setattr(Environment, "fault", lambda self, extras=(): "it is gone")
    assert launcher.prove(launcher.parse(["test"])) is None


def test_the_hand_over_sets_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(launcher, "become", lambda command, env: calls.append((command, env)) or 0)
    monkeypatch.setattr(launcher.os, "chdir", lambda path: None)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    launcher.hand_over("/x/python", launcher.parse(["--offline", "ask", "hi"]))
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    launcher.hand_over(sys.executable, launcher.parse(["test", "-x"]))
    (ask, ask_env), (test, test_env) = calls
    assert ask == ["/x/python", str(ROOT / "launcher.py"), "--offline", "ask", "hi"]
    assert ask_env["PYTHONPATH"] == str(ROOT)
    assert (ask_env["OMP_WAIT_POLICY"], ask_env["GOMP_SPINCOUNT"]) == ("passive", "2000")
    assert (test_env["OMP_WAIT_POLICY"], test_env.get("GOMP_SPINCOUNT")) == ("active", None)  # a person's own choice
    assert ask_env["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert ask_env["HF_HUB_DISABLE_TELEMETRY"] == ask_env["HF_HUB_OFFLINE"] == "1"
    assert test == [sys.executable, "-m", "pytest", "-x"]
    assert test_env["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/elsewhere"])
    assert "HF_HUB_OFFLINE" not in test_env


def test_lint_runs_the_named_checks_and_tells_of_failures(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {"good": ("-c", ""), "bad": ("-c", "raise SystemExit(3)")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "LINTS", checks)
        assert launcher.lint(sys.executable, ("good",), dict(os.environ)) == 0
        assert launcher.lint(sys.executable, (), dict(os.environ)) == 1
    assert "Failed: bad." in capsys.readouterr().out


def test_hooks_run_every_code_check() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"launcher.py lint ([\w-]+)", text) == list(launcher.LINTS)


# ---- what must hold before anything is installed


def test_the_launcher_parses_on_python_3_8_and_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ast.parse(Path(launcher.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))
    monkeypatch.setattr(launcher.sys, "version_info", (3, 8, 18))
    assert launcher.main(["--version"]) == 1
    assert "needs Python 3.11" in capsys.readouterr().err


def test_the_way_to_a_set_up_needs_the_standard_library_only() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport launcher, app.commands.cli, app.setup.installer"
    program += "\nprint('fine')"
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert answer.stdout == "fine\n", answer.stderr

"""The flags of servers and of other sites' pages."""

import pytest

from app.commands.cli import Serve, parse
from app.commands.flags import UsageError


def read(*argv: str) -> Serve:
    command, _ = parse([*argv])
    assert isinstance(command, Serve)
    return command


def test_a_server_answers_in_a_models_place() -> None:
    page = read("--engine", "http://127.0.0.1:8080/v1")
    assert (page.named, page.spec.model, page.confirm_engine) == (True, "http://127.0.0.1:8080", False)
    alone = read("serve", "--engine", "http://192.0.2.1#a-model", "--confirm-engine")
    assert (alone.spec.model, alone.confirm_engine, alone.page) == ("http://192.0.2.1#a-model", True, False)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--engine", "127.0.0.1:8080"], "begins with http"),
        (["--engine", "http://me:secret@host"], "a name or a password"),
        (["--engine", "http://host", "--model", "starter"], "exclude each other"),
        (["--confirm-engine"], "of --engine"),
        (["--api-origin", "https://app.example.org"], "add --api"),
        (["--api", "--api-origin", "*"], "needs the origin of a page"),
        (["--api", "--api-origin", "null"], "needs the origin of a page"),
        (["--api", "--api-origin", "https://app.example.org/path"], "needs the origin of a page"),
    ],
)
def test_what_makes_no_sense_is_refused(argv: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse(argv)
    assert "secret" not in str(caught.value)


def test_origins_are_named_one_by_one() -> None:
    both = read("--api", "--api-origin", "HTTPS://App.example.org/", "--api-origin", "app://obsidian.md")
    assert both.origins == ("https://app.example.org", "app://obsidian.md")
    assert read().origins == ()

"""The flags of servers and of other sites' pages."""

import pytest

from app.commands.cli import Ask, Serve, parse
from app.commands.flags import UsageError
from app.commands.server_flags import Permission


def read(*argv: str) -> Serve:
    command, _ = parse([*argv])
    assert isinstance(command, Serve)
    return command


def test_a_server_answers_in_a_models_place() -> None:
    page = read("--engine", "http://127.0.0.1:8080/v1")
    assert (page.named, page.spec.model, page.permission) == (True, "http://127.0.0.1:8080", Permission())
    alone = read("serve", "--engine", "http://192.0.2.1#a-model", "--confirm-engine", "--engine-key", "file")
    assert (alone.spec.model, alone.exposure.page) == ("http://192.0.2.1#a-model", False)
    assert alone.permission == Permission(confirm=True, key_file="file")


def test_a_server_answers_what_ask_asks() -> None:
    flags = ["--engine", "http://127.0.0.1:8080/v1", "--confirm-engine"]
    for argv in (["ask", *flags, "Hi"], [*flags, "ask", "Hi"]):
        command, _ = parse(argv)
        assert isinstance(command, Ask)
        assert (command.named, command.options.spec.model) == (True, "http://127.0.0.1:8080")
        assert command.permission == Permission(confirm=True)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--engine", "127.0.0.1:8080"], "begins with http"),
        (["--engine", "http://me:secret@host"], "a name or a password"),
        (["--engine", "http://host", "--model", "starter"], "exclude each other"),
        (["--confirm-engine"], "of --engine"),
        (["ask", "--engine-key", "file", "Hi"], "of --engine"),
        (["ask", "--engine", "http://host", "--model", "starter", "Hi"], "exclude each other"),
        (["--engine", "http://host", "--check"], "--check needs a model on this machine"),
        (["--engine", "http://host", "bench", "lossless"], "bench needs a model on this machine"),
        (["--engine", "http://host", "train-drafter"], "train-drafter needs a model on this machine"),
        (["--engine-key", "file", "bench", "lossless"], "bench needs a model.* leave --engine-key out"),
        (["--confirm-engine", "--engine-key", "f", "--check"], "leave --engine-key and --confirm-engine out"),
        (["--engine", "http://host", "url"], "url asks no model: leave --engine out"),
        (["--engine-key", "file", "url"], "url asks no model: leave --engine-key out"),
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
    assert both.exposure.origins == ("https://app.example.org", "app://obsidian.md")
    assert read().exposure.origins == ()

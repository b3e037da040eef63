"""Addresses of servers: what is read, what is refused, and whose machine they name."""

import pytest

from engine.remote.address import is_address, parse


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (" http://127.0.0.1:8080/v1/ ", "http://127.0.0.1:8080"),
        ("http://host/v1/chat/completions", "http://host"),
        ("https://Example.ORG/llm/v1", "https://example.org/llm"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ("http://[0:0::1]", "http://[::1]"),
        ("HTTP://localhost", "http://localhost"),
        ("http://host#Qwen/Qwen3-4B", "http://host#Qwen/Qwen3-4B"),
        ("http://bücher.example", "http://xn--bcher-kva.example"),
    ],
)
def test_an_address_has_one_form(text: str, name: str) -> None:
    assert parse(text).name == name
    assert parse(name).name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8080",
        "ftp://host",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@host",
        "http://secret@host",
        "http://host:0",
        "http://host:99999",
        "http://host:eighty",
        "http://[::1",
        "http://[fe80::1%25eth0]",
        "http://[::ffff:999.1.1.1]",
        "http://host/?key=secret",
        "http://host/../etc",
        "http://ho st",
        "http://host\n.example",
        "http://host\\@evil.example",
        "http://-host",
        "http://a..b",
        "http://" + "a" * 600,
    ],
)
def test_what_is_no_address_is_refused_and_no_secret_is_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(An|The|No|Port)\b.*\.$") as caught:
        parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("http://127.0.0.1", True),
        ("http://127.8.9.1:1", True),
        ("http://[::1]", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://localhost:9", True),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://192.168.1.5", False),
        ("http://0.0.0.0", False),
        ("http://[fe80::1]", False),
    ],
)
def test_only_the_loopback_address_is_this_machine(text: str, here: bool) -> None:
    assert parse(text).is_here is here


def test_a_folder_or_a_hub_id_is_no_address() -> None:
    assert not any(map(is_address, ("Qwen/Qwen3-0.6B", "/a/folder", "ollama:big:70b", "smollm2")))

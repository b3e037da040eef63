"""What is kept about servers: confirmations, and keys that nobody else reads."""

import os
import stat
from pathlib import Path

import pytest

from app import servers
from app.servers import Servers, system_keyring
from engine.remote.address import parse

AWAY, OTHER = parse("http://192.0.2.1:8080"), parse("http://192.0.2.1:8081")


class FakeKeyring:
    priority = 5

    def __init__(self, *, locked: bool = False) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = locked

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        if self.locked:
            raise RuntimeError("locked")
        self.kept[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "servers.json"


def test_another_machine_is_confirmed_once_and_this_one_needs_no_word(path: Path) -> None:
    kept = Servers(path)
    assert kept.confirmed(parse("http://127.0.0.1:8080"))
    assert not kept.confirmed(AWAY)
    kept.confirm(AWAY.with_model("x"))
    assert Servers(path).confirmed(AWAY)
    assert not kept.confirmed(OTHER), "another port is another server"
    kept.forget(AWAY)
    assert not Servers(path).confirmed(AWAY)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_key_in_the_file_is_its_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        assert Servers(path).keep_key(AWAY, " sk-secret\n") == "file"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Servers(path).key(AWAY) == "sk-secret"
    assert Servers(path).key(OTHER) == ""
    path.chmod(0o644)
    assert Servers(path).key(AWAY) == "sk-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "what others could read is mended"
    Servers(path).forget(AWAY)
    assert "sk-secret" not in path.read_text()


def test_a_keyring_keeps_the_key_out_of_the_file(path: Path) -> None:
    keyring = FakeKeyring()
    Servers(path).keep_key(AWAY, "old")  # before there was a keyring
    kept = Servers(path, keyring)
    assert kept.key(AWAY) == "old"
    assert kept.keep_key(AWAY, "sk-secret") == "keyring"
    assert "sk-secret" not in path.read_text()
    assert "old" not in path.read_text()
    assert kept.key(AWAY) == "sk-secret"
    kept.forget(AWAY)
    assert keyring.kept == {}
    assert Servers(path, FakeKeyring(locked=True)).keep_key(AWAY, "sk-secret") == "file"


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "schlüssel", "x" * 5000])
def test_what_is_no_key_is_refused(path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="A key consists of"):
        Servers(path).keep_key(AWAY, key)
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"confirmed": 1, "keys": {}}', "{"])
def test_a_damaged_file_confirms_nothing(path: Path, text: str) -> None:
    path.write_text(text)
    assert not Servers(path).confirmed(AWAY)
    Servers(path).confirm(AWAY)
    assert Servers(path).confirmed(AWAY)


def test_without_a_safe_keyring_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(servers.importlib, "import_module", missing)
    assert system_keyring() is None

    class Library:
        backend = FakeKeyring()

        def get_keyring(self) -> FakeKeyring:
            return self.backend

    library = Library()
    monkeypatch.setattr(servers.importlib, "import_module", lambda name: library)
    assert system_keyring() is library.backend
    library.backend.priority = 0  # "fail" and "null"
    assert system_keyring() is None

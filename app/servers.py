"""What a person has said about servers: to which ones words may go, and their keys.

Keys stand in the system's keyring, where the library `keyring` is installed and the system has one; else in this file,
which its owner alone can read. They are in no database, no log and no export.
"""

import importlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any, Literal, Protocol

from engine.remote.address import Address

log = logging.getLogger(__name__)

SERVICE = "slipstream"
KEY_LIMIT = 4096  # characters
MODE = 0o600

KeptIn = Literal["keyring", "file"]


class Keyring(Protocol):
    """What is used of `keyring`."""

    def get_password(self, service: str, name: str) -> str | None: ...

    def set_password(self, service: str, name: str, password: str) -> None: ...

    def delete_password(self, service: str, name: str) -> None: ...


def system_keyring() -> Keyring | None:
    """The system's keyring; None where the library is not installed, or finds none that is safe."""
    try:
        library = importlib.import_module("keyring")
        backend: Any = library.get_keyring()
        return backend if backend.priority >= 1 else None
    except Exception as exc:  # backends are plugins, and may fail as they like
        if not isinstance(exc, ImportError):
            log.warning("The system's keyring cannot be used (%s): keys stand in a file.", exc)
        return None


class Servers:
    """Reads and writes one file at every call. Every method may be called from any thread."""

    def __init__(self, path: Path, keyring: Keyring | None = None) -> None:
        self._path = path
        self._keyring = keyring
        self._lock = threading.Lock()

    def confirmed(self, address: Address) -> bool:
        """Whether a person has said that words may go there; to this machine they may."""
        return address.is_here or address.url in self._read()["confirmed"]

    def confirm(self, address: Address) -> None:
        """Words may go there from now on; raises `OSError`."""
        with self._lock:
            data = self._read()
            data["confirmed"] = sorted({*data["confirmed"], address.url})
            self._write(data)

    def forget(self, address: Address) -> None:
        """No words go there any more, and its key is deleted; raises `OSError`."""
        with self._lock:
            data = self._read()
            data["confirmed"] = [url for url in data["confirmed"] if url != address.url]
            self._remove_key(data, address)
            self._write(data)

    def key(self, address: Address) -> str:
        """The key for this address; empty where there is none."""
        if self._keyring is not None:
            try:
                if (key := self._keyring.get_password(SERVICE, address.url)) is not None:
                    return key
            except Exception as exc:  # as above
                log.warning("The system's keyring does not answer (%s).", type(exc).__name__)
        return str(self._read()["keys"].get(address.url, ""))

    def keep_key(self, address: Address, key: str) -> KeptIn:
        """Keep a key, and say where; raises `ValueError` or `OSError`."""
        key = key.strip()
        if not key or len(key) > KEY_LIMIT or not all("!" <= sign <= "~" for sign in key):
            raise ValueError("A key consists of letters, digits and signs without spaces: copy it again.")
        with self._lock:
            data = self._read()
            self._remove_key(data, address)
            if self._keyring is not None:
                try:
                    self._keyring.set_password(SERVICE, address.url, key)
                    self._write(data)
                    return "keyring"
                except Exception as exc:  # as above
                    log.warning("The system's keyring takes no key (%s): it stands in a file.", type(exc).__name__)
            data["keys"][address.url] = key
            self._write(data)
        return "file"

    def _remove_key(self, data: dict[str, Any], address: Address) -> None:
        data["keys"].pop(address.url, None)
        if self._keyring is not None:
            try:
                if self._keyring.get_password(SERVICE, address.url) is not None:
                    self._keyring.delete_password(SERVICE, address.url)
            except Exception as exc:  # as above
                log.warning("The system's keyring does not answer (%s).", type(exc).__name__)

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"confirmed": [], "keys": {}}
        try:
            if os.name == "posix" and self._path.stat().st_mode & 0o077:
                log.warning("%s could be read by others: that is mended.", self._path)
                self._path.chmod(MODE)
            data = json.loads(self._path.read_text(encoding="utf-8"))
            confirmed, keys = data["confirmed"], data["keys"]
            if not isinstance(confirmed, list) or not isinstance(keys, dict):
                raise ValueError("wrong types")
        except FileNotFoundError:
            return empty
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning("%s is damaged (%s): servers are asked for again.", self._path, type(exc).__name__)
            return empty
        return {"confirmed": [str(url) for url in confirmed], "keys": {str(k): str(v) for k, v in keys.items()}}

    def _write(self, data: dict[str, Any]) -> None:
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
        draft.replace(self._path)  # in one step: a reader sees all of it or nothing

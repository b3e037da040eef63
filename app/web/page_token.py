"""The secret that opens the page: a token in a file of this account, and tickets that open it once.

A browser is started with a ticket, not with the token: what a program is started with, every account of a machine can
read. A ticket opens the page for one minute, once, and, where the system says whose a connection is, for this account
alone.
"""

import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from app.web.peer import Address, account_of

log = logging.getLogger(__name__)

TICKET_S = 60.0
_LENGTH = 43  # characters of 256 bits


class PageToken:
    """What a request must show. Every method may be called from any thread."""

    def __init__(self, value: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.value = value
        self._clock = clock
        self._tickets: dict[str, float] = {}
        self._lock = threading.Lock()

    @classmethod
    def read(cls, path: Path, *, new: bool = False) -> Self:
        """The token in a file, the same for every start, so that a bookmark goes on working.

        A new one is written where there is none, where it is damaged, where other accounts could have read it, and if
        `new`. Raises `OSError` if it cannot be written.
        """
        value = None if new else _kept(path)
        if value is None:
            value = secrets.token_urlsafe(32)
            draft = path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(value)
            draft.replace(path)
        return cls(value)

    def admits(self, given: str | None) -> bool:
        """Whether this is the token."""
        return given is not None and hmac.compare_digest(given.encode(), self.value.encode())

    def ticket(self) -> str:
        """A word that opens the page once, within a minute."""
        word = secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            self._tickets = {other: end for other, end in self._tickets.items() if end > now}
            self._tickets[word] = now + TICKET_S
        return word

    def redeem(self, word: str, client: Address | None, server: Address | None) -> bool:
        """Whether the word is a ticket, and this account's browser shows it; it is void from now on."""
        if word not in self._tickets or account_of(client, server) not in (None, _this_account()):
            return False  # another account's try leaves it as it is
        with self._lock:
            return self._tickets.pop(word, 0.0) > self._clock()


def _this_account() -> int | None:
    return os.getuid() if hasattr(os, "getuid") else None


def _kept(path: Path) -> str | None:
    """The token in the file, None where it is of no use."""
    try:
        kind = path.lstat()
        value = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    if len(value) != _LENGTH:
        return None
    mine = _this_account()
    if mine is not None and (kind.st_uid != mine or kind.st_mode & 0o077):
        log.warning("other accounts could read or write %s: the page has a new token", path)
        return None
    return value

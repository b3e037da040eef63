"""The folders of data, logs and cache on this machine, the lock on them, and the log.

`SLIPSTREAM_HOME` (or `--home`, which sets it) moves data, logs and cache under one folder.
"""

import json
import logging
import logging.handlers
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import filelock
import platformdirs

APP = "slipstream"
ENVIRONMENT = "SLIPSTREAM_HOME"
LOG_BYTES = 2_000_000  # of one file; three older ones are kept
LOG_COPIES = 3
SHORT_S = 0.5
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


log = logging.getLogger(__name__)


class HomeError(Exception):
    """The home folder cannot be used; one sentence with the next step."""


@dataclass(frozen=True, slots=True)
class Home:
    """The three folders; `create` makes them."""

    data: Path
    logs: Path
    cache: Path

    @classmethod
    def find(cls) -> Self:
        """The folders of this user, or those under `SLIPSTREAM_HOME`; nothing is created."""
        if moved := os.environ.get(ENVIRONMENT):
            root = Path(moved).expanduser().absolute()
            return cls(data=root, logs=root / "logs", cache=root / "cache")
        return cls(
            data=platformdirs.user_data_path(APP, appauthor=False),
            logs=platformdirs.user_log_path(APP, appauthor=False),
            cache=platformdirs.user_cache_path(APP, appauthor=False),
        )

    @property
    def database(self) -> Path:
        return self.data / "slipstream.db"

    @property
    def servers(self) -> Path:
        """Which servers a person has confirmed, and their keys; readable by its owner alone."""
        return self.data / "servers.json"

    @property
    def log(self) -> Path:
        return self.logs / "slipstream.log"

    @property
    def instance(self) -> Path:
        """Where a running Slipstream says its address."""
        return self.data / "instance.json"

    @property
    def page_token(self) -> Path:
        """What opens the page."""
        return self.data / "page-token"

    @property
    def findings(self) -> Path:
        """What the engine found out about models that it loaded; the folder is made when there is something to keep."""
        return self.cache / "findings"

    @property
    def packs(self) -> Path:
        """Drafters that were trained here, a folder each."""
        return self.data / "drafters"

    def create(self) -> Self:
        """Make the folders, readable by this user alone; raises `HomeError` if that fails."""
        for folder in (self.data, self.logs, self.cache):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                writable = os.access(folder, os.W_OK)
                if writable:
                    _keep_private(folder)
            except OSError as exc:
                raise HomeError(
                    f"The folder {folder} cannot be created ({exc.strerror}): choose another one with --home."
                ) from exc
            if not writable:
                raise HomeError(f"The folder {folder} cannot be written: choose another one with --home.")
        for kept in (*self.data.glob("slipstream.db*"), *self.data.glob("instance.*"), *self.logs.glob("*.log*")):
            _keep_private(kept)  # of a version, or copied from a disk, that let others read them
        return self


def folder_name(model: str) -> str:
    """A folder for what belongs to a model.

    >>> folder_name("Qwen/Qwen3-0.6B with Slipstream's adapter")
    'Qwen-Qwen3-0.6B-with-Slipstream-s-adapter'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", model).strip("-.") or "model"


def open_log(file: Path | None) -> BinaryIO:
    """A log that a process of its own writes to, or nowhere; what was there before stays up to a limit."""
    if file is None:
        return Path(os.devnull).open("ab")
    with suppress(OSError):
        if file.stat().st_size > LOG_BYTES:
            os.replace(file, file.with_name(f"{file.name}.1"))
    return file.open("ab")


def _keep_private(path: Path) -> None:
    """Take a file or folder of this account from all others. What cannot be changed, on a disk without accounts for
    example, stays."""
    try:
        kind = path.lstat()
        if kind.st_mode & 0o077 and not path.is_symlink() and kind.st_uid == getattr(os, "getuid", lambda: None)():
            path.chmod(kind.st_mode & 0o700)
    except OSError as exc:
        log.warning("others may read %s: %s", path, exc)


@dataclass(frozen=True, slots=True)
class Instance:
    """A running Slipstream, as it describes itself to a second one. `page`: it has one; `token`: which asks for it."""

    pid: int
    port: int
    url: str
    page: bool = True
    token: bool = True

    @classmethod
    def read(cls, home: Home) -> Self | None:
        """What the one on this home says; None if it has not said it yet. It may have been killed since."""
        try:
            data = json.loads(home.instance.read_text(encoding="utf-8"))
            page, token = data.get("page", True) is True, data.get("token", True) is True
            return cls(int(data["pid"]), int(data["port"]), str(data["url"]), page=page, token=token)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def address(self, home: Home) -> str:
        """Where a person opens its page; without the token where that cannot be read."""
        try:
            return f"{self.url}?token={home.page_token.read_text(encoding='ascii').strip()}" if self.token else self.url
        except (OSError, ValueError):
            return self.url


class AlreadyRunning(Exception):
    """Another Slipstream uses this home; `other` is None while it is still starting."""

    def __init__(self, home: Home, other: Instance | None) -> None:
        self.other = other
        where = f"at {other.address(home)} (process {other.pid})" if other else "and is still starting"
        super().__init__(
            f"Slipstream is already running {where}, on the folder {home.data}. "
            f"Use that one, end it first, or choose another folder with --home."
        )


class InstanceLock:
    """One Slipstream per home: a lock that the operating system releases even after a kill.

    `with InstanceLock(home) as lock: ... lock.announce(Instance(...))`; entering raises `AlreadyRunning`.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = filelock.FileLock(home.data / "instance.lock")
        self._note = home.instance

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(timeout=SHORT_S)  # `running` holds it for a moment
        except filelock.Timeout as exc:
            raise AlreadyRunning(self._home, Instance.read(self._home)) from exc
        except OSError as exc:
            raise HomeError(
                f"The folder {self._home.data} cannot be locked ({exc.strerror}): choose another one with --home."
            ) from exc
        self._note.unlink(missing_ok=True)  # of one that was killed
        return self

    @classmethod
    def running(cls, home: Home) -> Instance | None:
        """The Slipstream that uses this home; None if there is none, or it is still starting.

        Its address is trusted as long as it holds the lock: that of one that was killed may be another program's now.
        """
        if not home.instance.exists():
            return None
        probe = filelock.FileLock(home.data / "instance.lock")
        try:
            with probe.acquire(timeout=0):
                return None
        except filelock.Timeout:
            return Instance.read(home)

    def announce(self, instance: Instance) -> None:
        """Write the address of this one, for a second one to open."""
        draft = self._note.with_suffix(".new")
        draft.write_text(json.dumps(asdict(instance)), encoding="utf-8")
        draft.replace(self._note)  # in one step: a reader sees all of it or nothing

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._note.unlink(missing_ok=True)
        self._lock.release()


def start_log(home: Home, level: int = logging.INFO) -> logging.Handler:
    """Write what the application, the engine and their libraries log to `home.log`; returns the handler."""
    handler = logging.handlers.RotatingFileHandler(
        home.log, maxBytes=LOG_BYTES, backupCount=LOG_COPIES, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.setLevel(level)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(min(root.level or level, level))
    return handler

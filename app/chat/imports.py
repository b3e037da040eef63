"""The one import that a page goes through: files arrive, are looked at, are added; or are given up, or taken back."""

import itertools
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from app.exchange import importing
from app.exchange.importing import Cancelled, Preview
from app.exchange.own import ImportRefused
from app.store.errors import NotFound, StoreError
from app.store.store import Store

log = logging.getLogger(__name__)

Phase = Literal["receiving", "reading", "preview", "adding", "done", "failed", "cancelled", "undone"]
END_LIMIT_S = 10.0  # for an import to end that is given up
STILL = "The import before this one has not ended yet: try again in a minute, or restart Slipstream."
GONE = "This import has ended, or another one has begun: choose the files again."


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportState:
    """`done` of `total`: bytes while files are read, chats while they are added."""

    id: int
    phase: Phase = "receiving"
    done: int = 0
    total: int = 0
    preview: Preview | None = None
    added: int = 0
    sentence: str = ""  # why it failed


class Imports:
    """One import at a time, on a thread of its own; every method may be called from any thread.

    `folder`: where files lie until they are read. `imported` is told which chats have come, `delete` takes one away.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        imported: Callable[[Sequence[int]], None],
        delete: Callable[[int], None],
    ) -> None:
        self._store = store
        self._folder = folder
        self._imported = imported
        self._delete = delete
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards all below
        self._state = ImportState(id=0, phase="cancelled")
        self._files: list[tuple[Path, str]] = []
        self._ids: list[int] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._empty_folder()  # a process that was killed may have left files

    def begin(self) -> ImportState:
        """Begin another import; one that is under way is given up. Raises `ValueError` where that does not end."""
        if not self._end():
            raise ValueError(STILL)
        with self._lock:
            self._empty_folder()
            self._state, self._files, self._ids = ImportState(id=next(self._numbers)), [], []
            self._stop = threading.Event()
            return self._state

    def state(self, number: int) -> ImportState:
        """Raises `ValueError` where it is not the present one."""
        with self._lock:
            return self._present(number)

    def file(self, number: int, name: str) -> Path:
        """Where to write another file; raises `ValueError`."""
        with self._lock:
            self._expect(number, "receiving")
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{len(self._files)}"
            self._files.append((path, name))
            return path

    def read(self, number: int) -> ImportState:
        """Count what the files would bring."""
        with self._lock:
            self._expect(number, "receiving")
            total = sum(path.stat().st_size for path, _ in self._files if path.exists())
            return self._go("reading", total, self._look)

    def add(self, number: int) -> ImportState:
        """Add what the preview says."""
        with self._lock:
            preview = self._expect(number, "preview").preview
            assert preview is not None
            return self._go("adding", preview.chats, self._add)

    def cancel(self, number: int) -> ImportState:
        """Give it up; what it has added goes again."""
        with self._lock:
            self._present(number)
        ended = self._end()
        with self._lock:
            if ended:
                self._empty_folder()
            if self._state.phase not in ("done", "undone"):
                self._state = replace(self._state, phase="cancelled")
            return self._state

    def undo(self, number: int) -> ImportState:
        """Put all chats that it has added into the trash."""
        with self._lock:
            self._expect(number, "done")
            for conversation_id in self._ids:
                with suppress(NotFound):  # deleted meanwhile
                    self._delete(conversation_id)
            self._state = replace(self._state, phase="undone")
            return self._state

    def close(self) -> None:
        if not self._end():
            log.error("an import does not end: chats that it has added may stay")
        self._empty_folder()

    def _present(self, number: int) -> ImportState:
        if number != self._state.id:
            raise ValueError(GONE)
        return self._state

    def _expect(self, number: int, phase: Phase) -> ImportState:
        if self._present(number).phase != phase:
            raise ValueError(GONE)
        return self._state

    def _go(self, phase: Phase, total: int, work: Callable[[], None]) -> ImportState:
        """Work on a thread; the lock is held."""
        self._state = replace(self._state, phase=phase, done=0, total=total)
        self._thread = threading.Thread(target=self._run, args=(work,), name="import", daemon=True)
        self._thread.start()
        return self._state

    def _run(self, work: Callable[[], None]) -> None:
        phase, sentence = self._outcome(work)
        if phase is not None:
            self._take_back()
            self._empty_folder()
            self._change(phase=phase, sentence=sentence)

    def _outcome(self, work: Callable[[], None]) -> tuple[Phase | None, str]:
        """How the work has ended where it is given up, and why; no exception holds a file open after that."""
        try:
            work()
        except Cancelled:
            return "cancelled", ""
        except (ImportRefused, StoreError, OSError) as exc:
            return "failed", str(exc)
        except Exception as exc:  # the thread's outermost frame: the page must show it
            log.exception("an import failed")
            return "failed", f"The import failed ({type(exc).__name__}); the log says more. Nothing was changed."
        return None, ""

    def _look(self) -> None:
        found = importing.preview(self._store, self._files, self._note, self._stop)
        self._change(phase="preview", preview=found)

    def _add(self) -> None:
        importing.add_all(self._store, self._files, self._added, self._stop)
        if self._stop.is_set():
            raise Cancelled
        self._empty_folder()
        self._imported(self._ids)
        self._change(phase="done", added=len(self._ids))

    def _note(self, num_bytes: int) -> None:
        with self._lock:
            self._state = replace(self._state, done=min(self._state.done + num_bytes, self._state.total))
        if self._stop.is_set():
            raise Cancelled

    def _added(self, conversation_id: int) -> None:
        self._ids.append(conversation_id)
        self._change(done=len(self._ids))

    def _take_back(self) -> None:
        """Remove what has been added, for good."""
        ids, self._ids = self._ids, []
        for conversation_id in ids:
            try:
                with suppress(NotFound):  # deleted meanwhile, perhaps into the trash
                    self._store.delete(conversation_id)
                self._store.empty_trash(conversation_id)
            except StoreError as exc:
                log.error("chat %s of an import that failed is not taken back: %s", conversation_id, exc)

    def _change(self, **values: object) -> None:
        with self._lock:
            self._state = replace(self._state, **values)  # type: ignore[arg-type]

    def _end(self) -> bool:
        """Stop what runs, and wait for that; False where it has not ended in time."""
        self._stop.set()
        thread = self._thread
        if thread is None:
            return True
        thread.join(END_LIMIT_S)
        return not thread.is_alive()

    def _empty_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

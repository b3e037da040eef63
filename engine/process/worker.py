"""The engine's own process: `python -m engine.process.worker [FOLDER [PACKS]]` reads commands from its standard input
and answers on what was its standard output. FOLDER keeps what is found out about models, PACKS trained drafters.

A fault in a driver, a kill for want of memory or a wedged kernel then costs one answer, not the application. The page's
side is `engine.process.client`. Nothing heavy is imported before the pipe is safe: libraries print to standard output,
and some ask questions on standard input.
"""

import faulthandler
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

from engine.api import EngineAPI, Running, Work
from engine.errors import EngineCrashed, EngineError, NotEnoughMemory
from engine.events import MemoryView
from engine.process import wire
from engine.process.orphan import die_with_parent
from engine.process.task import Task
from engine.process.wire import Command, DamagedLine, Reply

EXIT_TIMEOUT_S = 0.5  # after the pipe's end a computation may finish its round; then the process ends regardless
DEVICE_LOST = 70  # exit status after a fault that no later computation on the device survives
_AT_ONCE, _IN_TURN, _IN_PAUSES = range(3)  # the order in which commands are carried out


def main() -> int:
    """Serve the real engine until the pipe ends."""
    folders = [Path(argument) for argument in sys.argv[1:3]]
    return run(lambda: _real_engine(*folders))


def run(make_engine: Callable[[], EngineAPI]) -> int:
    """Take over this process: secure the pipe, then build the engine and serve it until the pipe ends."""
    commands, events = _take_pipe()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the page's to handle
    faulthandler.enable()
    die_with_parent("engine-parent")
    server = _Server(commands, events, lost=_exit_soon)
    status = server.run(make_engine)
    sys.stderr.flush()
    os._exit(status)  # a driver's own clean-up at exit may hang, and the system takes everything back anyway


def serve(engine: EngineAPI, commands: BinaryIO, events: BinaryIO) -> int:
    """Answer `commands` on `events` until they end; returns the exit status.

    Commands are read on a thread of their own, so that a cancel arrives while an answer runs; they are carried out
    one after the other on the calling thread.
    """
    return _Server(commands, events).run(lambda: engine)


class _PipeGone(Exception):
    """The page's process has closed its end."""


class _Server:
    def __init__(self, commands: BinaryIO, events: BinaryIO, lost: Callable[[], None] | None = None) -> None:
        self._commands = commands
        self._events = events
        self._lost = lost  # called on the reading thread when the pipe has ended
        self._engine: EngineAPI | None = None
        self._waiting: queue.PriorityQueue[tuple[int, int, Command | None]] = queue.PriorityQueue()
        self._arrived = 0  # commands read
        self._stale: dict[str, int] = {}  # conversation -> arrival of the newest command about what is known of it
        self._write_lock = threading.Lock()
        self._tasks_lock = threading.Lock()
        self._tasks: dict[int, Task] = {}  # of the loads and answers that have not ended

    def run(self, make_engine: Callable[[], EngineAPI]) -> int:
        reader = threading.Thread(target=self._read, name="engine-commands", daemon=True)
        try:
            self._send(Reply(id=None, kind="started"))  # before any reply of the reader's
            reader.start()
            try:
                self._engine = make_engine()
                self._watch(self._engine)
            except Exception as exc:
                traceback.print_exception(exc)
                sentence = f"The engine could not start: {_summary(exc)}. Run the launcher with --repair."
                self._send(Reply(id=None, kind="error", error=EngineError(sentence), fatal=True))
                return 1
            while (command := self._next()) is not None:
                if not self._carry_out(self._engine, command):
                    return DEVICE_LOST
        except _PipeGone:
            print("The page's process is gone: the engine ends.", file=sys.stderr)
        if self._engine is not None:
            self._engine.close()
        return 0

    def _read(self) -> None:
        while line := self._commands.readline(wire.MAX_LINE_BYTES):
            try:
                command = wire.decode_command(line)
            except DamagedLine as exc:
                self._report(exc)
                continue
            if command.do == "cancel":
                self._cancel(command.id)
            elif command.do == "draft":
                self._draft(command)
            elif command.do == "count":
                self._count(command)
            else:
                self._queue(command)
        self._waiting.put((_AT_ONCE, 0, None))
        self._cancel()
        if self._lost is not None:
            self._lost()

    def _queue(self, command: Command) -> None:
        """Loads, answers and forgetting are done in order of arrival, remembering when nothing else waits."""
        self._arrived += 1
        if command.conversation:
            self._stale[command.conversation] = self._arrived
        else:
            with self._tasks_lock:
                self._tasks[command.id] = Task()
        order = _IN_PAUSES if command.do == "remember" else _IN_TURN
        self._waiting.put((order, self._arrived, command))

    def _next(self) -> Command | None:
        """The next command to carry out, None at the pipe's end; skips what a later one has overtaken."""
        while True:
            order, arrival, command = self._waiting.get()
            if command is None or order != _IN_PAUSES or self._stale[command.conversation] == arrival:
                return command

    def _report(self, damage: DamagedLine) -> None:
        try:
            self._send(Reply(id=damage.id, kind="error", error=EngineError(str(damage))))
        except _PipeGone:
            print(damage, file=sys.stderr)

    def _cancel(self, id: int | None = None) -> None:
        """End the command early, or all where `id` is None; nothing happens where it has ended."""
        with self._tasks_lock:
            tasks = [task for number, task in self._tasks.items() if id in (number, None)]
        for task in tasks:
            task.cancel()

    def _draft(self, command: Command) -> None:
        """Let the answer be drafted or not from now on; nothing happens where it has ended."""
        with self._tasks_lock:
            task = self._tasks.get(command.id)
        if task is not None:
            task.draft(command.drafting)

    def _count(self, command: Command) -> None:
        """Answer on the reading thread, so that a text is counted while an answer runs."""
        counts = None
        try:
            if self._engine is not None and self._engine.counts is not None:
                counts = self._engine.counts.count(command.texts)
        except Exception as exc:  # the thread must live: cancels come through it
            traceback.print_exception(exc)
        with suppress(_PipeGone):  # the main thread sees that, too
            self._send(Reply(id=command.id, kind="counts", counts=counts))

    def _carry_out(self, engine: EngineAPI, command: Command) -> bool:
        """Send the command's events and its end; False where the process cannot go on."""
        if command.conversation:
            _learn(engine, command)
            return True
        with self._tasks_lock:
            task = self._tasks[command.id]
        try:
            with closing(_events(engine, command)) as events:
                task.tell(events)
                for event in events:
                    self._send(Reply(id=command.id, kind="event", event=event))
            info = engine.info if command.do == "load" else None
            self._send(Reply(id=command.id, kind="end", info=info))
        except _PipeGone:
            raise
        except Exception as exc:
            fatal = is_device_lost(exc)
            self._send(Reply(id=command.id, kind="error", error=as_known(exc), fatal=fatal))
            return not fatal
        finally:
            task.tell(None)
            with self._tasks_lock:
                self._tasks.pop(command.id, None)
        return True

    def _watch(self, engine: EngineAPI) -> None:
        """Send the state of what the engine does in the background whenever it has changed."""
        background = engine.background
        if background is None:
            return
        sent: object = None

        def changed() -> None:
            nonlocal sent
            info, progress = engine.info, background.progress
            percent = None if progress is None or not progress.total else 100 * progress.done // progress.total
            shown = (info, progress.stage if progress is not None else None, percent)
            if info is not None and shown != sent:
                sent = shown
                with suppress(_PipeGone):  # the reading thread sees that, too
                    self._send(Reply(id=None, kind="state", info=info, event=progress))

        background.on_change(changed)

    def _send(self, reply: Reply) -> None:
        line = wire.encode(reply)
        try:
            with self._write_lock:
                self._events.write(line)
                self._events.flush()
        except OSError as exc:  # a broken pipe; on Windows an invalid argument
            raise _PipeGone from exc


def _events(engine: EngineAPI, command: Command) -> Running[Any]:
    if command.spec is not None:
        return engine.load(command.spec)
    if command.do == "look":
        return Work(_look(engine, *command.texts), lambda: None)
    assert command.request is not None
    if command.do == "generate":
        return engine.generate(command.request)
    if engine.compares is None:
        raise EngineError("This engine cannot compare.")
    return engine.compares.compare(command.request)


def _look(engine: EngineAPI, phrase: str = "") -> Generator[MemoryView, None, None]:
    if engine.memory is None:
        raise EngineError("This engine remembers no conversations.")
    yield engine.memory.look(phrase)


def _learn(engine: EngineAPI, command: Command) -> None:
    """Remember or forget a conversation; it gets no reply, so a failure is only printed."""
    if engine.memory is None:
        return
    try:
        if command.do == "forget":
            engine.memory.forget(command.conversation)
        else:
            engine.memory.remember(command.conversation, command.texts)
    except Exception as exc:
        traceback.print_exception(exc)


def is_device_lost(exc: Exception) -> bool:
    """Whether the device's context is unusable after this: CUDA errors are sticky, only a new process clears them."""
    cause: BaseException | None = exc
    while cause is not None:
        if "CUDA error" in str(cause):
            return True
        cause = cause.__cause__
    return False


def as_known(exc: Exception) -> Exception:
    """The `EngineError` or `ValueError` that says `exc`; the traceback of what was not foreseen goes to stderr."""
    if isinstance(exc, EngineError):
        return exc
    traceback.print_exception(exc)
    if type(exc) is ValueError:
        return exc
    what = _summary(exc)
    if is_device_lost(exc):
        return EngineCrashed(f"The device failed: {what}. The answer so far is kept; the model is being loaded again.")
    if isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError" or "can't allocate memory" in what:
        return NotEnoughMemory(
            f"The device ran out of memory: {what}. Start a new chat, or load the model with a shorter context,"
            " a smaller one or a quantised one."
        )
    return EngineError(f"The engine failed: {what}. The model is still loaded: try again, and see the log for details.")


def _summary(exc: Exception) -> str:
    said = str(exc).strip().split("\n")[0].rstrip(".")
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__


def _real_engine(findings: Path | None = None, packs: Path | None = None) -> EngineAPI:
    from engine.engine import Engine  # only now: it imports torch, which takes seconds and may print

    return Engine(findings, packs)


def _take_pipe() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for the protocol; everybody else gets nothing to read, and stderr to print on.

    On Windows this also keeps libraries from hanging at import: a C runtime that inspects the standard input blocks
    while another thread reads from the same pipe.
    """
    commands = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return commands, events


def _exit_soon() -> None:
    """End the process, whatever its main thread computes."""
    time.sleep(EXIT_TIMEOUT_S)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

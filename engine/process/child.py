"""One child process that speaks `engine.process.wire`, and the thread that reads its pipe.

Knows how a process is started, spoken to and ended; what the replies mean and what follows from a death is
`engine.process.client`'s. A slow consumer never blocks the child: replies wait in a queue.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import IO, cast

from engine.errors import EngineError
from engine.process import wire
from engine.process.wire import Command, DamagedLine, Reply

DEFAULT_COMMAND = (sys.executable, "-P", "-m", "engine.process.worker")  # -P: never import from the current folder
EXIT_WAIT_S = 2.0  # a child whose pipe has ended ends itself within half a second; then it is killed
LOG_LIMIT_BYTES = 4 * 2**20
CHUNK_BYTES = 2**16  # what a pipe holds
PAUSE_S = 0.03  # between two reads of a busy pipe; after a quiet time a reply is passed on at once


class ChildEnded(Exception):
    """The process has ended; `str()` says how, as the middle of a sentence ("was killed by SIGKILL")."""


class Child:
    """Starts `command` at once; raises `EngineError` where that is not possible.

    `on_end` is called once, on the reading thread, when the process has ended, before `receive` raises; `on_state`
    there too, whenever `state` has changed.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path | None,
        on_end: Callable[["Child"], None],
        environment: Mapping[str, str],
        on_state: Callable[["Child"], None] = lambda _: None,
    ) -> None:
        self.state: Reply | None = None  # the latest one
        self.used = False  # weights may have been loaded: the memory is free for sure only after its end
        self.ready = False  # a model is loaded
        self.abandoned = False  # an answer that nobody reads any more is still running
        self.ending = False  # it has been asked to end
        self.how = ""  # how it ended
        self._command = command
        self._log = log
        self._on_end = on_end
        self._on_state = on_state
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        self._counts: dict[int, queue.SimpleQueue[Reply]] = {}  # command -> where its counts are awaited
        self._write_lock = threading.Lock()
        self._end_lock = threading.Lock()
        self._ended = False
        self._start_error: OSError | None = None
        launched = threading.Event()
        # Linux ends the child with the thread that started it (see `process.worker`). So the reading thread starts
        # it, which lives exactly as long as the pipe.
        threading.Thread(target=self._run, args=(launched,), name="engine-replies", daemon=True).start()
        launched.wait()
        if self._start_error is not None:
            said = f"The engine's process could not be started: {self._start_error}."
            raise EngineError(f"{said} Free what is missing, or run the launcher with --repair.") from self._start_error

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, command: Command) -> None:
        """Write a command; that the process has ended is for `receive` to say."""
        line = wire.encode(command)
        assert self._process is not None
        assert self._process.stdin is not None
        pipe = self._process.stdin
        with self._write_lock:
            try:
                pipe.write(line)
                pipe.flush()
            except (OSError, ValueError):  # ValueError: closed by `stop`
                return

    def counts(self, command: Command, timeout_s: float) -> tuple[int, ...] | None:
        """Send a count and wait for its reply, beside whatever else the process does; None where none comes in time."""
        awaited = self._counts[command.id] = queue.SimpleQueue()
        try:
            self.send(command)
            return awaited.get(timeout=timeout_s).counts
        except queue.Empty:
            return None
        finally:
            del self._counts[command.id]

    def receive(self, timeout_s: float) -> Reply | None:
        """The next reply, or None when none came in time; raises `ChildEnded` when there will be no more."""
        try:
            alive = self.alive  # asked first: what a dead process wrote is read before its end is reported
            reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            if alive:
                return None
            self._end()  # dead, yet the pipe is open: something that it started has inherited it
            raise ChildEnded(self.how) from None
        if reply is None:
            self._replies.put(None)
            raise ChildEnded(self.how)
        return reply

    def stop(self) -> None:
        """End the process and wait for it: first by the end of its pipe, then by force."""
        self.ending = True
        process = self._process
        assert process is not None
        self._close_stdin(process)
        try:
            process.wait(timeout=EXIT_WAIT_S / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, how: str = "") -> None:
        """End the process by force; `how` is what `ChildEnded` says of it."""
        self.how = self.how or how
        if self._process is not None:
            self._process.kill()

    def abort(self) -> None:
        """End the process by force, on purpose; does not wait."""
        self.ending = True
        self.kill()

    def reap(self) -> None:
        """Wait for the end of a process that is dead, and for what follows from it."""
        self._end()

    def _close_stdin(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        if self._write_lock.acquire(timeout=EXIT_WAIT_S / 4):  # a command may be stuck in a full pipe
            with suppress(OSError):  # unwritten bytes for a process that is gone
                process.stdin.close()
            self._write_lock.release()

    def _run(self, launched: threading.Event) -> None:
        try:
            self._process = self._start()
        except OSError as exc:
            self._start_error = exc
            return
        finally:
            launched.set()
        assert self._process.stdout is not None
        try:
            self._read(cast(BufferedReader, self._process.stdout))
        except DamagedLine as exc:
            self.kill(f"was ended because of a damaged line. {str(exc).rstrip('.')}")
        finally:
            self._end()
            self._process.stdout.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [self._environment.get("PYTHONPATH")])]
        environment = {**self._environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8:replace"}
        log = _open_log(self._log) if self._log else None
        try:
            return subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        finally:
            if log is not None:
                log.close()

    def _read(self, pipe: BufferedReader) -> None:
        """Pass on replies a chunk at a time: waking up for every token would take the processor from the engine."""
        started = False
        while chunk := pipe.read1(CHUNK_BYTES):
            if not chunk.endswith(b"\n"):
                chunk += pipe.readline(wire.MAX_LINE_BYTES)
            for line in BytesIO(chunk):
                if not line.endswith(b"\n"):
                    if len(line) >= wire.MAX_LINE_BYTES:
                        raise DamagedLine(f"A line from the engine is longer than {wire.MAX_LINE_BYTES:,} bytes.")
                    return  # it ended in the middle of a line
                try:
                    reply = wire.decode_reply(line)
                except DamagedLine:
                    if started:
                        raise
                    continue  # printed while the interpreter started, before the worker had its pipe
                started = started or reply.kind == "started"
                if reply.kind == "state":
                    self.state = reply
                    self._on_state(self)
                elif reply.kind == "counts":
                    if (awaited := self._counts.get(reply.id or 0)) is not None:
                        awaited.put(reply)
                elif reply.kind != "started":
                    self._replies.put(reply)
            if len(chunk) < CHUNK_BYTES:  # else there is more, and the engine may be waiting to write on
                time.sleep(PAUSE_S)

    def _end(self) -> None:
        """Everything that follows from the end, once, whichever thread sees it first."""
        with self._end_lock:
            if self._ended:
                return
            assert self._process is not None
            try:
                status = self._process.wait(timeout=EXIT_WAIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                status = self._process.wait()
            self._close_stdin(self._process)
            self.how = self.how or describe_exit(status)
            self._ended = True
            self._on_end(self)
            self._replies.put(None)


def describe_exit(status: int) -> str:
    """How a process ended, as the middle of a sentence.

    >>> describe_exit(3)
    'ended with status 3'
    >>> describe_exit(-11)
    'was killed by SIGSEGV'
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    often = " (often the system's answer to too little memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{often}"


def _open_log(path: Path) -> IO[bytes]:
    """The log to append to; one that has grown large is set aside as `<name>.1` first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")

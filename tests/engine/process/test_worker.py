"""The engine's process from within: what crosses the pipe, and `serve` on a pair of pipes in this process."""

import io
import os
import re
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.errors import ContextOverflow, EngineCrashed, EngineError, NotEnoughMemory
from engine.events import Event, Finished, LoadProgress, PrefillProgress, TextDelta
from engine.process import wire
from engine.process.wire import Command, DamagedLine, Reply
from engine.process.worker import DEVICE_LOST, serve
from tests.scripted import ScriptedEngine, default_answer, loaded_engine
from tests.scripted_answer import scripted_info

REQUEST = GenerationRequest(messages=(Message.of("user", "Hello there, “wire” \u2028 \n end"),), stop=("never",))


def replies_to(engine: ScriptedEngine, *commands: Command | bytes) -> tuple[list[Reply], int]:
    """Serve commands that are all there from the beginning; every reply but the first, and the exit status."""
    lines = [c if isinstance(c, bytes) else wire.encode(c) for c in commands]
    out = io.BytesIO()
    status = serve(engine, _Patient(lines, out), out)
    replies = [wire.decode_reply(line) for line in out.getvalue().splitlines(keepends=True)]
    assert replies[0].kind == "started"
    return replies[1:], status


class _Patient(io.BytesIO):
    """Ends only when every command has its end or error: the end of the pipe would cancel what runs."""

    def __init__(self, lines: list[bytes], out: io.BytesIO) -> None:
        super().__init__(b"".join(lines))
        self._wanted = len(lines)
        self._out = out

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        while not line and re.subn(rb'"kind":"(end|error)"', b"", self._out.getvalue())[1] < self._wanted:
            time.sleep(0.001)
        return line


def commands() -> list[Command]:
    spec = ModelSpec(model="some/model", dtype="bfloat16", threads=3)
    sampling = Sampling(temperature=0.8, seed=2**62, min_p=0.05)
    return [
        Command(id=1, do="load", spec=spec),
        Command(id=2, do="generate", request=replace(REQUEST, sampling=sampling)),
        Command(id=3, do="compare", request=REQUEST),
        Command(id=3, do="cancel"),
    ]


@pytest.mark.parametrize("command", commands(), ids=lambda c: c.do)
def test_a_command_survives_the_wire(command: Command) -> None:
    line = wire.encode(command)
    assert wire.decode_command(line) == command
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def test_every_event_of_an_answer_survives_the_wire() -> None:
    engine = loaded_engine(diverge_at=5)
    events = [*engine.load(ModelSpec()), *engine.generate(REQUEST), *engine.compare(REQUEST)]
    kinds = {type(event).__name__ for event in events}
    assert kinds == {"LoadProgress", "PrefillProgress", "TextDelta", "Round", "Finished", "LaneEvent", "Verdict"}
    for event in events:
        reply = Reply(id=7, kind="event", event=event)
        assert wire.decode_reply(wire.encode(reply)) == reply
    end = Reply(id=7, kind="end", info=scripted_info(ModelSpec()))
    assert wire.decode_reply(wire.encode(end)) == end


def test_a_folder_whose_name_is_no_unicode_crosses_the_wire() -> None:
    command = Command(id=1, do="load", spec=ModelSpec(model="/models/\udcff"))
    assert wire.decode_command(wire.encode(command)) == command
    reply = Reply(id=1, kind="event", event=LoadProgress(stage="find", message="Looking into /models/\udcff"))
    assert wire.decode_reply(wire.encode(reply)) == reply


@pytest.mark.parametrize("error", [ContextOverflow("too long: 9 of 8"), ValueError("no"), EngineError("x")], ids=repr)
def test_an_error_survives_the_wire(error: Exception) -> None:
    reply = wire.decode_reply(wire.encode(Reply(id=1, kind="error", error=error)))
    assert type(reply.error) is type(error)
    assert str(reply.error) == str(error)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"Loading weights: 100%\n",
        b'{"id": 1, "do": "gen',
        b"[1, 2]\n",
        b"[" * 100_000,
        b'\xff\xfe{"id":1}\n',
        b'{"id": "one", "do": "cancel"}\n',
        b'{"id": 1}\n',
        b'{"id": 1, "do": "explode"}\n',
        b'{"id": 1, "do": "generate"}\n',
        b'{"id": 1, "do": "generate", "request": 5}\n',
        b'{"id": 1, "do": "generate", "request": {"messages": []}}\n',
        b'{"id": 1, "do": "load", "spec": {"model": "m", "colour": "red"}}\n',
        b'{"id": 1, "kind": "event", "event": {"event": "Nothing"}}\n',
        b'{"id": 1, "kind": "event", "event": {"event": "TextDelta"}}\n',
        b'{"id": 1, "kind": "error", "error": "text"}\n',
    ],
    ids=range(16),
)
def test_a_damaged_line_is_a_sentence(line: bytes) -> None:
    for decode in (wire.decode_command, wire.decode_reply):
        with pytest.raises(DamagedLine) as caught:
            decode(line)
        sentence = str(caught.value)
        assert sentence.endswith(".")
        assert len(sentence) < 400


@given(st.binary(max_size=200))
def test_no_line_of_bytes_raises_anything_else(line: bytes) -> None:
    for decode in (wire.decode_command, wire.decode_reply):
        with pytest.raises(DamagedLine):
            decode(line)


def test_serve_answers_in_order_with_the_events_of_the_engine() -> None:
    engine = ScriptedEngine()
    load, generate, compare, _ = commands()
    replies, status = replies_to(engine, load, generate, compare)
    assert status == 0
    assert engine.closed
    ids = [reply.id or 0 for reply in replies]
    assert ids == sorted(ids)
    assert [reply.id for reply in replies if reply.kind == "end"] == [1, 2, 3]
    load_end = next(reply for reply in replies if reply.kind == "end")
    assert load.spec is not None
    assert load_end.info == scripted_info(load.spec)
    assert generate.request is not None
    expected = list(loaded_engine().generate(generate.request))
    assert [reply.event for reply in replies if reply.id == 2 and reply.event] == expected


def test_a_damaged_command_is_answered_and_the_next_one_works() -> None:
    replies, status = replies_to(
        loaded_engine(),
        b"what is this\n",
        b'{"id": 4, "do": "generate", "request": {"messages": 1}}\n',
        Command(id=5, do="generate", request=REQUEST),
    )
    errors = [(reply.id, reply.fatal) for reply in replies if reply.kind == "error"]
    assert errors == [(None, False), (4, False)]
    assert isinstance(replies[-2].event, Finished)
    assert status == 0


def test_a_known_error_ends_one_answer_only() -> None:
    engine = loaded_engine(fail_after=3, error=ContextOverflow("9,000 tokens of 2,048."))
    generate = Command(id=1, do="generate", request=REQUEST)
    replies, status = replies_to(engine, generate, replace(generate, id=2))
    errors = [reply for reply in replies if reply.kind == "error"]
    assert [(e.id, type(e.error), str(e.error)) for e in errors] == [
        (1, ContextOverflow, "9,000 tokens of 2,048."),
        (2, ContextOverflow, "9,000 tokens of 2,048."),
    ]
    assert status == 0


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (KeyError("logits"), EngineError, "KeyError: 'logits'"),
        (AssertionError(), EngineError, "AssertionError"),
        (MemoryError(), NotEnoughMemory, "shorter context"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), NotEnoughMemory, "9 bytes"),
        (ValueError("top_p must be above 0"), ValueError, "top_p must be above 0"),
    ],
)
def test_an_unforeseen_error_is_a_sentence_and_its_traceback_goes_to_stderr(
    error: Exception, expected: type[Exception], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replies, status = replies_to(
        loaded_engine(fail_after=2, error=error), Command(id=1, do="generate", request=REQUEST)
    )
    last = replies[-1]
    assert type(last.error) is expected
    assert words in str(last.error)
    assert not last.fatal
    assert status == 0
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("hidden", [False, True])
def test_a_lost_device_is_answered_and_ends_the_process(hidden: bool) -> None:
    error: Exception = RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")
    if hidden:
        cause, error = error, EngineError("The model could not be run.")
        error.__cause__ = cause
    generate = Command(id=1, do="generate", request=REQUEST)
    replies, status = replies_to(loaded_engine(fail_after=2, error=error), generate)
    assert replies[-1].fatal
    assert type(replies[-1].error) is (EngineError if hidden else EngineCrashed)
    assert "more lines" not in str(replies[-1].error)
    assert status == DEVICE_LOST


def test_an_event_that_json_cannot_say_is_an_error_not_a_hang(capsys: pytest.CaptureFixture[str]) -> None:
    class Leaky(ScriptedEngine):
        def _generate(self, request: GenerationRequest, stop: threading.Event) -> Generator[Event, None, None]:
            self.requests.append(request)
            yield PrefillProgress(done=1, total=1, reused=0)
            yield TextDelta(text=object())  # type: ignore[arg-type]

    replies, status = replies_to(Leaky(loaded=True), Command(id=1, do="generate", request=REQUEST))
    assert "not JSON serializable" in str(replies[-1].error)
    assert status == 0
    assert "Traceback" in capsys.readouterr().err


class _Served:
    """`serve` on a thread, spoken to over real pipes."""

    def __init__(self, engine: ScriptedEngine) -> None:
        command_read, command_write = os.pipe()
        event_read, event_write = os.pipe()
        self._commands = os.fdopen(command_write, "wb", buffering=0)
        self._events = os.fdopen(event_read, "rb")
        self._theirs = os.fdopen(command_read, "rb"), os.fdopen(event_write, "wb", buffering=0)
        self.status: int | None = None

        def run() -> None:
            self.status = serve(engine, *self._theirs)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert self.reply().kind == "started"

    def send(self, *commands: Command) -> None:
        self.write(b"".join(map(wire.encode, commands)))

    def write(self, line: bytes) -> None:
        self._commands.write(line)

    def reply(self) -> Reply:
        return wire.decode_reply(self._events.readline())

    def leave(self) -> None:
        """Stop listening to the replies."""
        self._events.close()

    def end(self) -> None:
        """Close the pipe of commands and wait for the end."""
        self._commands.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        for pipe in (self._events, *self._theirs):
            pipe.close()


def test_cancel_arrives_while_an_answer_runs() -> None:
    served = _Served(loaded_engine(hold_after=6))
    served.send(Command(id=1, do="generate", request=REQUEST))
    events: list[Any] = [served.reply().event for _ in range(6)]
    served.send(Command(id=1, do="cancel"))
    while (reply := served.reply()).kind != "end":
        events.append(reply.event)
    assert isinstance(events[-1], Finished)
    assert events[-1].stop_reason == "cancelled"
    served.send(Command(id=1, do="cancel"))  # late: nothing to end
    engine_events = len(events)
    assert engine_events < len(list(loaded_engine().generate(REQUEST)))
    served.end()
    assert served.status == 0


def test_cancel_that_overtakes_its_answer_still_ends_it_and_a_late_one_ends_nothing() -> None:
    served = _Served(loaded_engine(delay_s=0.01))
    generate = Command(id=1, do="generate", request=replace(REQUEST, ignore_eos=True, max_tokens=5000))
    served.send(generate, Command(id=1, do="cancel"))
    while (reply := served.reply()).kind != "end":
        last = reply.event
    assert isinstance(last, Finished)
    assert last.stop_reason == "cancelled"
    served.send(Command(id=1, do="cancel"), replace(generate, id=2, request=REQUEST))
    while (reply := served.reply()).kind != "end":
        last = reply.event
    assert isinstance(last, Finished)
    assert last.text == default_answer(REQUEST)
    served.end()


@pytest.mark.parametrize("cancelled", [1, 2])
def test_cancelling_one_answer_touches_no_other(cancelled: int) -> None:
    engine = loaded_engine(hold_after=6)
    served = _Served(engine)
    generate = Command(id=1, do="generate", request=REQUEST)
    served.send(generate, replace(generate, id=2))
    for _ in range(6):
        served.reply()
    served.send(Command(id=cancelled, do="cancel"))
    served.write(b"damage\n")  # its error shows that the cancel before it has been read
    errors = 0
    reasons: dict[int | None, str] = {}
    while len(reasons) < 2:
        reply = served.reply()
        errors += reply.kind == "error"
        if errors:
            engine.release()
        if isinstance(reply.event, Finished):
            reasons[reply.id] = reply.event.stop_reason
    assert reasons == {1: "eos", 2: "eos"} | {cancelled: "cancelled"}
    served.end()


def test_a_late_cancel_of_the_answer_before_does_not_end_the_one_that_runs() -> None:
    engine = loaded_engine(hold_after=6)
    served = _Served(engine)
    served.send(Command(id=2, do="generate", request=REQUEST))
    for _ in range(6):
        served.reply()
    served.send(Command(id=1, do="cancel"))
    served.write(b"damage\n")  # its error shows that the cancel before it has been read
    while served.reply().kind != "error":
        pass
    engine.release()
    while (reply := served.reply()).kind != "end":
        last = reply.event
    assert isinstance(last, Finished)
    assert last.stop_reason == "eos"
    served.end()


def test_the_end_of_the_pipe_ends_a_running_answer() -> None:
    engine = loaded_engine(hold_after=6)
    served = _Served(engine)
    served.send(Command(id=1, do="generate", request=REQUEST))
    for _ in range(6):
        served.reply()
    served.end()
    assert served.status == 0
    assert engine.closed


def test_a_consumer_that_is_gone_ends_serving(capsys: pytest.CaptureFixture[str]) -> None:
    engine = loaded_engine()
    served = _Served(engine)
    served.leave()
    served.send(Command(id=1, do="generate", request=REQUEST))
    served.thread.join(10)
    assert served.status == 0
    assert engine.closed
    assert "page's process is gone" in capsys.readouterr().err
    served.end()


def test_load_progress_is_the_engines() -> None:
    replies, _ = replies_to(ScriptedEngine(), *commands()[:1])
    stages = [reply.event.stage for reply in replies if isinstance(reply.event, LoadProgress)]
    assert stages[0] == "find"
    assert stages[-1] == "ready"

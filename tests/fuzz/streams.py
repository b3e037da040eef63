"""What answers: the lines of an engine's process gone wrong, and the streams of a server."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from app.chat.chat import ChatService
from app.store.records import ConversationSettings
from app.store.store import Store
from engine import codec
from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import EngineError
from engine.events import Finished, TextDelta
from engine.process import client, wire
from engine.process.child import ChildEnded
from engine.process.client import EngineProcess
from engine.process.wire import Command, DamagedLine, Reply
from engine.remote.engine import RemoteEngine
from tests.engine.models.test_damaged_folders import mutated
from tests.engine.remote.test_streams import LLAMA, SGLANG, VLLM
from tests.fuzz.boundary import Boundary, Check, check_sentence
from tests.fuzz.variants import at, varied
from tests.remote_server import SOON, FakeServer, Trusts, running
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S

REQUEST = GenerationRequest(messages=(Message.of("user", "Say something about the weather."),), max_tokens=12)

# The engine's process


def _lines() -> list[Any]:
    """What a sound process sends while it loads, answers and compares, as JSON."""
    engine, replies = ScriptedEngine(answers=("one two three four five",)), []
    replies += [Reply(id=1, kind="event", event=event) for event in engine.load(ModelSpec())]
    replies.append(Reply(id=1, kind="end", info=engine.info))
    replies.append(Reply(id=None, kind="state", info=engine.info))
    replies += [Reply(id=2, kind="event", event=event) for event in engine.generate(REQUEST)]
    replies += [Reply(id=2, kind="event", event=event) for event in engine.compare(REQUEST)]
    replies += [Reply(id=2, kind="end"), Reply(id=2, kind="counts", counts=(3, 4))]
    replies += [Reply(id=2, kind="error", error=EngineError("It failed."), fatal=fatal) for fatal in (False, True)]
    return [json.loads(wire.encode(reply)) for reply in replies]


LINES = _lines()
ANSWERING = [line for line in LINES if line["id"] == 2]
LINE = st.one_of(
    st.sampled_from(LINES),
    st.sampled_from(LINES).flatmap(mutated),
    st.sampled_from(ANSWERING),
    st.sampled_from(ANSWERING).flatmap(mutated),
).map(lambda line: json.dumps(line).encode() + b"\n") | st.binary(max_size=30)
WORKER = st.tuples(st.lists(LINE, max_size=12), st.booleans())


class _Child:
    """A process that sends these lines to whatever it is told, whether or not they answer that, and then ends."""

    lines: tuple[bytes, ...] = ()

    def __init__(self, command: Any, log: Any, on_end: Callable[[Any], None], *_: Any) -> None:
        self.state: Reply | None = None
        self.used = self.ready = self.abandoned = self.ending = False
        self.how, self.pid, self.alive = "", 1, True
        self._left: list[bytes] = []

    def send(self, command: Command) -> None:
        numbered = (line.replace(b'"id": 2', b'"id": %d' % command.id) for line in self.lines)
        self._left = [self._sound(command.id, command.do)] if command.do == "load" else list(numbered)

    def _sound(self, number: int, do: str) -> bytes:
        line = next(line for line in LINES if line["kind"] == "end" and line["info"])
        return json.dumps({**line, "id": number}).encode()

    def receive(self, timeout_s: float) -> Reply | None:
        while self._left:
            try:
                reply = wire.decode_reply(self._left.pop(0))
            except DamagedLine as exc:
                check_sentence(exc)
                self.how = f"was ended because of a damaged line. {str(exc).rstrip('.')}"
                break
            if reply.kind not in ("state", "counts", "started"):
                return reply
        self.alive = False
        raise ChildEnded(self.how or "ended with status 0")

    def counts(self, *_: Any) -> None:
        return None

    def stop(self) -> None:
        self.alive, self.ending = False, True

    abort = reap = stop

    def kill(self, how: str = "") -> None:
        self.alive, self.how = False, self.how or how


@contextmanager
def worker() -> Iterator[Check]:
    before, client.Child = client.Child, _Child  # type: ignore[misc,assignment]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "slipstream.db")

        def check(value: tuple[list[bytes], bool]) -> None:
            _Child.lines, compares = tuple(value[0]), value[1]
            engine = EngineProcess(stop_timeout_s=0.1)
            chat = ChatService(engine, store)
            conversation = store.new_conversation(ConversationSettings()).id
            list(engine.load(ModelSpec()))
            turn = (chat.compare if compares else chat.send)(conversation, "a question")
            turn.join(WAIT_S)
            assert turn.done
            answer = store.path(conversation)[-1]
            assert answer.status != "streaming"
            if answer.error is not None:
                check_sentence(answer.error)
            chat.close()
            engine.close()

        try:
            yield check
        finally:
            store.close()
            client.Child = before  # type: ignore[misc]


# A server

STREAMS = (LLAMA, VLLM, SGLANG)
CHUNKS = [json.loads(line[5:]) for stream in STREAMS for line in stream if b"[DONE]" not in line]
PIECES = st.one_of(
    st.sampled_from([line for stream in STREAMS for line in stream]),
    st.sampled_from(CHUNKS).flatmap(mutated).map(lambda chunk: b"data: " + json.dumps(chunk).encode() + b"\n\n"),
    st.sampled_from(
        [
            b"data:",
            b"data: [DONE]\n\n",
            b"\r\n\r\n",
            b": ping\n\n",
            b"event: error\n",
            b'data: {"error":',
            b"id: 1\n",
            b"\xff",
        ]
    ),
    st.binary(max_size=12),
)
SERVERS = st.tuples(
    st.lists(PIECES, max_size=10),
    st.sampled_from(["llamacpp", "vllm", "sglang", "slipstream", "somebody", ""]),
    st.dictionaries(
        st.sampled_from(["/props", "/slots", "/metrics", "/get_server_info", "/version", "/v1/models", "/health"]),
        mutated(
            {"data": [{"id": "a", "owned_by": "x", "meta": {"n_ctx": 9}}], "default_generation_settings": {"n_ctx": 9}}
        ),
        max_size=2,
    ),
    st.lists(st.integers(0, 400), max_size=3),
)


@contextmanager
def remote() -> Iterator[Check]:
    server = FakeServer()
    with running(server) as url:

        def check(value: tuple[list[bytes], str, dict[str, Any], list[int]]) -> None:
            pieces, server.owner, said, cuts = value
            server.says = {path: _sayable(answer) for path, answer in said.items()}
            whole, at = b"".join(pieces), sorted({0, *(cut for cut in cuts)})
            server.answers = ([whole[start:end] for start, end in zip(at, [*at[1:], len(whole)], strict=True)],)
            engine = RemoteEngine(Trusts(), SOON)
            try:
                list(engine.load(ModelSpec(model=url)))
                events = list(engine.generate(REQUEST))
            except EngineError as exc:
                check_sentence(exc)
            else:
                assert isinstance(events[-1], Finished)
                codec.dumps(events[-1])
                text = "".join(event.text for event in events if isinstance(event, TextDelta))
                assert text == events[-1].text
                text.encode()
            finally:
                engine.close()

        yield check


def _sayable(answer: Any) -> str:
    return json.dumps(answer)


ANSWERED = (
    Boundary("worker", WORKER, worker, vary=varied),
    Boundary("remote", SERVERS, remote, vary=at(0, 2)),
)

"""A server for tests of remote engines: in this process, on a free port, saying what it is told to say."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.remote.address import Address
from engine.remote.http import Patience
from tests.api import serving

SOON = Patience(connect_s=2, look_s=2, first_s=2, silence_s=2, backoff_s=(0.01, 0.01), loading_s=5)
METRICS = """# HELP x
{prefix}:spec_decode_num_drafts_total {drafts}
{prefix}:spec_decode_num_draft_tokens_total {drafted}
{prefix}:spec_decode_num_accepted_tokens_total {accepted}
"""


def event(chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


def end(reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]}


DONE = b"data: [DONE]\n\n"
ANSWER = (event(delta("one")), event(delta(" two")), event(end()), DONE)
Step = bytes | Callable[[], Any]  # what is sent, or a coroutine function that is waited for


@dataclass
class FakeServer:
    """`says`: JSON or text by path. `answers`: one stream after the other, the last again and again; or a response."""

    owner: str = "somebody"
    models: tuple[str, ...] = ("a-model",)
    says: dict[str, Any] = field(default_factory=dict)
    answers: Sequence[Sequence[Step] | Response] = (ANSWER,)
    key: str = ""
    redirect: str = ""

    def __post_init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str] = []
        self.left = 0  # streams that the client left

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.paths.append(path)
        self.keys.append(request.headers.get("authorization", ""))
        if self.redirect:
            return Response(status_code=307, headers={"Location": self.redirect + path})
        if self.key and self.keys[-1] != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": f"wrong key {self.keys[-1]}", "code": 401}}, 401)
        if path == "/v1/models" and path not in self.says:
            return JSONResponse({"data": [{"id": name, "owned_by": self.owner} for name in self.models]})
        if path in self.says:
            said = self.says[path]
            said = said() if callable(said) and not isinstance(said, Response) else said
            if isinstance(said, Response):
                return said
            return PlainTextResponse(said) if isinstance(said, str) else JSONResponse(said)
        if request.method == "POST":
            self.asked.append(await request.json())
            answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
            if isinstance(answer, Response):
                return answer
            return StreamingResponse(self._stream(answer), media_type="text/event-stream")
        return JSONResponse({"error": {"message": "not found", "code": 404}}, 404)

    async def _stream(self, steps: Sequence[Step]) -> AsyncIterator[bytes]:
        try:
            for step in steps:
                if isinstance(step, bytes):
                    yield step
                else:
                    await step()
        except asyncio.CancelledError:
            self.left += 1
            raise


@dataclass
class Trusts:
    """A person who has confirmed these addresses and given these keys."""

    urls: tuple[str, ...] = ()
    keys: dict[str, str] = field(default_factory=dict)

    def confirmed(self, address: Address) -> bool:
        return address.is_here or address.url in self.urls

    def key(self, address: Address) -> str:
        return self.keys.get(address.url, "")


async def for_ever() -> None:
    await asyncio.Event().wait()


class Cut(Exception):
    """Ends a connection in the middle."""


async def cut() -> None:
    raise Cut


@contextmanager
def running(server: FakeServer) -> Iterator[str]:
    """Serve on a free port; yields the address."""
    with serving(server.app()) as url:
        yield url

"""The paths of the API, with and without `/v1`: who may ask, what is read, and how an answer is sent."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from app.api.answers import Answer, Answers, Begun, Scored, Step
from app.api.errors import Failure, Refused, failure_of
from app.api.limits import Rate, read_body, share_of
from app.api.replies import Envelope, model, models
from app.api.requests import Asked, parse_body, read_chat, read_completion
from app.chat.queue import Waiting
from app.store.access import ApiAccess
from engine.errors import EngineError, NoModelLoaded
from engine.events import Finished, ModelInfo, TextDelta, TokenLikelihood

log = logging.getLogger(__name__)

T = TypeVar("T")

PREFIXES = ("/v1", "")
ENDPOINTS = ("/models", "/chat/completions", "/completions")
HEADERS_AFTER_S = 10.0  # until then a failure still has a status of its own
PING_S = 15.0  # between two lines that keep a silent stream open
WRITE_S = 60.0  # the longest that a client may leave a chunk unread
REQUESTS_PER_S, REQUESTS_AT_ONCE = 50.0, 200  # of one client
WRONG_KEYS_PER_S, WRONG_KEYS_AT_ONCE = 0.2, 10
OFF = "The API is off: switch it on in the settings of the page, or start with --api."
GONE = 499  # nginx's status for a client that has closed its connection; nobody reads it


def is_api(path: str) -> bool:
    """Whether the path belongs to the API.

    >>> is_api("/v1/anything"), is_api("/chat/completions"), is_api("/models/x"), is_api("/v10"), is_api("/")
    (True, True, True, False, False)
    """
    return any(path == each or path.startswith(each + "/") for each in ("/v1", *ENDPOINTS))


def api_routes(access: ApiAccess, answers: Answers) -> APIRouter:
    """`/v1/models`, `/v1/chat/completions`, `/v1/completions`, and the same without `/v1`."""
    router = APIRouter()
    api = _Api(access, answers)
    for prefix in PREFIXES:
        router.add_api_route(f"{prefix}/models", api.list_models, methods=["GET"])
        router.add_api_route(f"{prefix}/models/{{name:path}}", api.show_model, methods=["GET"])
        router.add_api_route(f"{prefix}/chat/completions", api.chat, methods=["POST"])
        router.add_api_route(f"{prefix}/completions", api.complete, methods=["POST"])
    for path in ("/v1", *ENDPOINTS):  # all that `is_api` says
        for each in (path, f"{path}/{{path:path}}"):
            router.add_route(each, api.unknown, methods=())  # none named: whatever the method
    return router


class _ClientGone(Exception):
    """The client has closed its connection."""


class _Api:
    def __init__(self, access: ApiAccess, answers: Answers) -> None:
        self._access = access
        self._answers = answers
        self._created = int(time.time())
        self._requests = Rate(per_s=REQUESTS_PER_S, burst=REQUESTS_AT_ONCE)
        self._wrong_keys = Rate(per_s=WRONG_KEYS_PER_S, burst=WRONG_KEYS_AT_ONCE)

    async def list_models(self, request: Request) -> Response:
        """The model that is loaded."""
        return await self._guarded(request, self._list)

    async def show_model(self, request: Request) -> Response:
        return await self._guarded(request, self._show)

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._guarded(request, lambda request: self._answer(request, read_chat))

    async def complete(self, request: Request) -> Response:
        """Complete a text."""
        return await self._guarded(request, lambda request: self._answer(request, read_completion))

    async def unknown(self, request: Request) -> Response:
        return await self._guarded(request, self._refuse)

    async def _guarded(self, request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        """Whatever a client sends, it gets an answer or one sentence in the format that it reads."""
        try:
            if (refusal := self._refusal(request)) is not None:
                return _failed(refusal)
            return await handle(request)
        except _ClientGone:
            return Response(status_code=GONE)
        except (ValueError, EngineError) as exc:
            log.info("refused: %s", exc)
            return _failed(failure_of(exc))
        except Exception as exc:
            failure = failure_of(exc)
            if failure.status == 500:
                log.exception("a request to the API failed")
            return _failed(failure)

    def _refusal(self, request: Request) -> Failure | None:
        """Why this client is not heard; None where it is."""
        client = _client(request)
        if not self._access.switched_on:
            return failure_of(Refused(OFF, code="api_off", status=404))
        key = _key(request.headers)
        if not self._access.admits(key):
            if (after_s := self._wrong_keys.take(client)) > 0:
                return _too_often("Too many requests came with a wrong key", after_s)
            what = "This is not the key of this server" if key else "This server wants its key, as a Bearer token"
            sentence = f"{what}: use the one that was shown when the API was switched on, or make a new one there."
            return failure_of(Refused(sentence, code="invalid_api_key", status=401))
        if (after_s := self._requests.take(client)) > 0:
            return _too_often("These are too many requests", after_s)
        return None

    async def _list(self, _: Request) -> Response:
        info = self._answers.info
        if self._answers.loading:  # as llama-server says it, so that clients ask again in place of finding none
            raise NoModelLoaded("The server is loading its model: try again in a moment.")
        return JSONResponse(models(self._described(info)) if info is not None else models())

    def _described(self, info: ModelInfo) -> dict[str, Any]:
        return model(self._answers.name(info), info, self._created)

    async def _show(self, request: Request) -> Response:
        name, info = request.path_params["name"], self._answers.info
        if info is None or name not in (info.name, self._answers.name(info)):
            sentence = f"The model {name[:200]!r} is not loaded here."
            raise Refused(sentence, param="model", code="model_not_found", status=404)
        return JSONResponse(self._described(info))

    async def _refuse(self, request: Request) -> Response:
        known = ", ".join(f"/v1{each}" for each in ENDPOINTS)
        raise Refused(f"{request.method} {request.url.path[:200]} is not served; known are {known}.", status=404)

    async def _answer(self, request: Request, read: Callable[[Mapping[str, Any]], Asked]) -> Response:
        body = parse_body(await read_body(request))
        asked = read(body)
        user = body.get("user")
        name = f"{request.headers.get('user-agent', '')} {user if isinstance(user, str) else ''}"
        answer = self._answers.begin(asked, _client(request), name)
        sent = False
        try:
            if asked.stream:
                early = await _unless_gone(request, _first_steps(answer))
                sent = True
                return _Streamed(_chunks(answer, early, asked), answer)
            return JSONResponse(await _unless_gone(request, _whole(answer, asked)))
        finally:
            if not sent:
                answer.cancel()


async def _first_steps(answer: Answer) -> list[Step]:
    """The steps up to the first text, or as many as come in a while."""
    steps: list[Step] = []
    until_s = asyncio.get_running_loop().time() + HEADERS_AFTER_S
    while not steps or not isinstance(steps[-1], TextDelta | Finished):
        step = await answer.next(max(0.0, until_s - asyncio.get_running_loop().time()))
        if step is None:
            break
        steps.append(step)
    return steps


def _envelope(asked: Asked, begun: Begun) -> Envelope:
    name = f"{'chatcmpl' if asked.kind == 'chat' else 'cmpl'}-{secrets.token_hex(12)}"
    return Envelope(id=name, created=int(time.time()), model=begun.model, asked=asked, request=begun.request)


async def _whole(answer: Answer, asked: Asked) -> dict[str, Any]:
    """Wait for the answer's end."""
    envelope: Envelope | None = None
    likelihoods: list[TokenLikelihood] = []
    while True:
        step = await answer.next()
        if isinstance(step, Begun):
            envelope = _envelope(asked, step)
        elif isinstance(step, Scored):
            likelihoods.extend(step.likelihoods)
        elif isinstance(step, Finished) and envelope is not None:
            return envelope.whole(step, likelihoods)


async def _chunks(answer: Answer, early: list[Step], asked: Asked) -> AsyncIterator[str]:
    """The answer as server-sent events; what fails after the first of them is an event, too."""
    envelope: Envelope | None = None
    where = "reading the prompt"
    likelihoods: list[TokenLikelihood] = []  # of the text that comes next
    steps = iter(early)
    try:
        while True:
            step = next(steps, None) or await answer.next(PING_S)
            if step is None:
                yield f": {where}\n\n"
            elif isinstance(step, Waiting):
                where = f"waiting, {step.ahead} before this one"
            elif isinstance(step, Begun):
                envelope, where = _envelope(asked, step), "reading the prompt"
                for chunk in envelope.first():
                    yield _event(chunk)
            elif isinstance(step, Scored):
                likelihoods.extend(step.likelihoods)
            elif envelope is not None and isinstance(step, TextDelta):
                yield _event(envelope.piece(step.text, likelihoods))
                likelihoods.clear()
            elif envelope is not None and isinstance(step, Finished):
                if likelihoods:  # of tokens without a text of their own
                    yield _event(envelope.piece("", likelihoods))
                for chunk in envelope.last(step):
                    yield _event(chunk)
                yield "data: [DONE]\n\n"
                return
    except Exception as exc:
        failure = failure_of(exc)
        log.warning("An answer to another program failed: %s", exc, exc_info=failure.code == "internal_error")
        yield _event(failure.body)


class _Streamed(StreamingResponse):
    """A stream that cancels its answer however it ends, also before its first chunk."""

    def __init__(self, chunks: AsyncIterator[str], answer: Answer) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_soon(message: AsgiMessage) -> None:
            async with asyncio.timeout(WRITE_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_soon)
        except TimeoutError:
            log.warning("a client of the API did not read its answer: the connection is closed")
        finally:
            self._answer.cancel()


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; where the client closes its connection meanwhile, give it up and raise `_ClientGone`."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _ClientGone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    """Return when the client closes its connection; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"  # ASCII: some clients split lines at U+2028


def _key(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else headers.get("x-api-key")


def _client(request: Request) -> str:
    return share_of(request.client.host) if request.client is not None else ""


def _too_often(what: str, after_s: int) -> Failure:
    sentence, kind = f"{what}: try again in {after_s} s.", "rate_limit_error"
    return Failure(status=429, message=sentence, type=kind, code="rate_limit_exceeded", retry_after_s=after_s)


def _failed(failure: Failure) -> Response:
    return JSONResponse(failure.body, failure.status, headers=failure.headers)

"""Files that a page attaches to a message, and what was attached, as text."""

from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from app.chat.attachments import Attaching
from app.documents.limits import FILE_LIMIT
from app.store.errors import StoreError
from app.texts import tr
from app.view.figures import size

NAME_LIMIT = 1000  # characters
AT_ONCE = 2  # files that are read; each may take a processor and the memory of `app.documents.limits`


def attachment_routes(attaching: Attaching) -> APIRouter:
    """`/attachments/...`: a page sends a file's bytes, and ids, never paths. Number 0: of the next chat."""
    router = APIRouter()
    readers = CapacityLimiter(AT_ONCE)  # whoever waits for one takes no thread

    @router.post("/attachments/held")
    async def hold(request: Request, name: str = "", conversation: int = 0) -> Response:
        """Read a file for a message that is being edited there; the answer has the number to send with the edit."""
        name = name[:NAME_LIMIT]
        data = await _bytes(request.stream())
        if data is None:
            return _sentence(_too_large(name), HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            held = await to_thread.run_sync(partial(attaching.hold, conversation, name, data), limiter=readers)
        except (ValueError, StoreError) as exc:
            return _sentence(str(exc))
        return JSONResponse({"ok": True, "message": "", "id": held.id, "name": held.name})

    @router.post("/attachments/{number}")
    async def attach(request: Request, number: int, name: str = "", pasted: bool = False) -> Response:
        if not 0 <= number < 2**53:
            return _sentence(tr("page.no_conversation"))
        name = name[:NAME_LIMIT]
        data = await _bytes(request.stream())
        if data is None:
            return _sentence(_too_large(name), HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            await to_thread.run_sync(partial(attaching.add, number or None, name, data, pasted=pasted), limiter=readers)
        except (ValueError, StoreError) as exc:
            return _sentence(str(exc))
        return JSONResponse({"ok": True, "message": ""})

    @router.post("/attachments/{attachment_id}/remove")
    def remove(attachment_id: int) -> Response:
        try:
            attaching.remove(attachment_id)
        except StoreError as exc:
            return _sentence(str(exc))
        return JSONResponse({"ok": True, "message": ""})

    @router.get("/attachments/{attachment_id}/text")
    def text(attachment_id: int) -> Response:
        try:
            found = attaching.text(attachment_id)
        except StoreError as exc:
            return _sentence(str(exc), HTTPStatus.NOT_FOUND)
        return PlainTextResponse(found, headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"})

    return router


async def _bytes(stream: AsyncIterator[bytes]) -> bytes | None:
    """A request's body; None where it is larger than a file may be."""
    data = bytearray()
    async for chunk in stream:
        data += chunk
        if len(data) > FILE_LIMIT:
            return None
    return bytes(data)


def _too_large(name: str) -> str:
    return tr("attached.too_large", name=name, size=size(FILE_LIMIT))


def _sentence(text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Response:
    return JSONResponse({"ok": False, "message": text}, status)

"""A page says that it is being closed, so that its private chat is forgotten at once."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import Response


def private_route(leave: Callable[[int], None]) -> APIRouter:
    """`/private/NUMBER/leave`; nothing happens where there is no such private chat."""
    router = APIRouter()

    @router.post("/private/{conversation_id}/leave")
    def left(conversation_id: int) -> Response:
        leave(conversation_id)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return router

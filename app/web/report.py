"""The speed report as JSON, of one conversation or of all."""

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from app.store.errors import NotFound, StoreError
from app.store.figures import kept_runs
from app.store.private import Stores
from app.view.report import report


def report_route(stores: Stores) -> APIRouter:
    """`/report/NUMBER`: of that conversation; number 0: of all."""
    router = APIRouter()

    @router.get("/report/{conversation_id}")
    def of(conversation_id: int) -> Response:
        try:
            store = stores.of(conversation_id)
            title = store.conversation(conversation_id).title if conversation_id else ""
            told = report(*kept_runs(store, conversation_id or None))
        except (NotFound, StoreError) as exc:
            return Response(str(exc), HTTPStatus.NOT_FOUND)
        return JSONResponse(told | {"title": title}, headers={"Cache-Control": "no-store"})

    return router

"""Where words came from: the switch that shows it, and what the page draws then."""

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from app.chat.services import Services
from app.store.errors import NotFound, StoreError
from app.store.origins import OriginStore
from app.store.records import RunRecord
from app.texts import tr
from app.view.origins import growing_origins, message_origins

_LATEST = {"Cache-Control": "no-store"}


def origin_routes(services: Services) -> APIRouter:
    """`/origins/...`; a client sends numbers and one word, never paths."""
    router = APIRouter()
    title_of = services.remembered.title

    @router.get("/origins/shown")
    def shown() -> Response:
        return JSONResponse({"shown": services.settings.shows_origins}, headers=_LATEST)

    @router.post("/origins/shown/{word}")
    def show(word: str) -> Response:
        if word not in ("on", "off"):
            return Response(tr("origins.shown"), HTTPStatus.BAD_REQUEST)
        try:
            services.settings.set_shows_origins(word == "on")
        except StoreError as exc:
            return Response(str(exc), HTTPStatus.BAD_REQUEST)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @router.get("/origins/message/{message_id}")
    def of_message(message_id: int) -> Response:
        try:
            store = services.stores.of(message_id)
            message = store.message(message_id)
            kept = OriginStore(store).of(message_id, message.text)
            unguessed = bool(message.runs) and all(_without_guesses(run) for run in message.runs)
            told = message_origins(message.text, kept, title_of, unguessed=unguessed)
        except (NotFound, StoreError) as exc:
            return Response(str(exc), HTTPStatus.NOT_FOUND)
        return JSONResponse(told, headers=_LATEST)

    @router.get("/origins/running/{conversation_id}")
    def of_running(conversation_id: int, number: int = 0) -> Response:
        """The answer that is being written in this conversation, from one of its blocks on."""
        turn = services.chat.running_in(conversation_id)
        if turn is None:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        text, at, blocks = turn.origins(max(0, number))
        return JSONResponse(
            {"message": turn.message_id} | growing_origins(text, max(0, number), at, blocks, title_of), headers=_LATEST
        )

    return router


def _without_guesses(run: RunRecord) -> bool:
    return run.mode == "plain" and run.stats.served is None

"""The page's colours: light, dark or the system's, told to every page that is opened."""

import json
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from app.store.database import StoreError
from app.store.settings import AppSettings
from app.web.bodies import small_body


def theme_routes(settings: AppSettings) -> APIRouter:
    """`/theme.js`, which the page's head loads, and `/theme`, where its buttons say what was chosen."""
    router = APIRouter()

    @router.get("/theme.js")
    def script() -> Response:
        text = f"window.slipstreamTheme = {json.dumps(settings.theme)};\n"
        return Response(text, media_type="text/javascript", headers={"Cache-Control": "no-store"})

    @router.post("/theme")
    async def choose(request: Request) -> Response:
        try:
            await run_in_threadpool(settings.set_theme, await small_body(request))
        except (ValueError, StoreError) as exc:
            return JSONResponse({"ok": False, "message": str(exc)}, HTTPStatus.BAD_REQUEST)
        return JSONResponse({"ok": True, "message": ""})

    return router

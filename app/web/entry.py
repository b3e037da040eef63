"""Who may open the page: whoever shows its token, once in the address, from then on by a cookie."""

import logging
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.assets import bare_page
from app.texts import filled, tr
from app.web.page_token import PageToken

log = logging.getLogger(__name__)

COOKIE_DAYS = 400  # the most that browsers keep one
TICKETS = "/ticket"
FOR_ALL = ("/healthz", "/favicon.ico", "/favicon.svg", "/manifest.json")


class ByToken:
    """Refuse requests that do not show the page's token, as Jupyter does: `?token=` or `?ticket=` in the address that
    opens the page, `Authorization: Bearer` from a program, a cookie from a browser that was here before.

    `needs_none`: further paths that ask for nothing here, since they have a key of their own.
    """

    def __init__(self, app: ASGIApp, token: PageToken, needs_none: Callable[[str], bool] = lambda _: False) -> None:
        self.app = app
        self._token = token
        self._needs_none = needs_none

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in FOR_ALL or self._needs_none(scope["path"]):
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and (answer := self._opening(scope)) is not None:
            await answer(scope, receive, send)
        elif not self._is_known(scope):
            await self._refuse(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == TICKETS:
            await JSONResponse({"ticket": self._token.ticket()})(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._token.admits(value.strip()):
            return True
        name = _cookie_name(scope)
        return any(self._token.admits(_cookie(line, name)) for line in headers.getlist("cookie"))

    def _opening(self, scope: Scope) -> Response | None:
        """What answers an address with a token or a ticket in it, None for every other address.

        The browser goes on to the same address without the secret, which then stays out of bookmarks and referrers.
        """
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query)
        if scope["method"] != "GET" or scope["path"] != "/" or not ({"token", "ticket"} & given.keys()):
            return None
        is_right = self._token.admits(given.get("token"))
        if not is_right and "ticket" in given:
            client, server = scope.get("client"), scope.get("server")
            is_right = self._token.redeem(given["ticket"], client, server) or self._is_known(scope)
        if not is_right:
            log.warning("refused a wrong token")
            return _closed_page(tr("entry.wrong"))
        rest = urlencode([(name, value) for name, value in query if name not in ("token", "ticket")])
        onward = RedirectResponse(
            f"/?{rest}" if rest else "/",
            HTTPStatus.SEE_OTHER,
            {"Cache-Control": "no-store"},
        )
        onward.set_cookie(
            _cookie_name(scope), self._token.value, COOKIE_DAYS * 24 * 3600, httponly=True, samesite="strict"
        )
        return onward

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        wants_page = scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")
        answer = (
            _closed_page(tr("entry.closed"))
            if wants_page
            else JSONResponse({"error": tr("entry.closed")}, HTTPStatus.UNAUTHORIZED)
        )
        await answer(scope, receive, send)


def _cookie_name(scope: Scope) -> str:
    """A name of this port's own: a browser keeps cookies by host alone, and two of us may run."""
    return f"slipstream-{scope['server'][1] if scope.get('server') else 0}"


def _cookie(line: str, name: str) -> str | None:
    """The value of a cookie in a header; other programs' cookies, which may be anything, do not matter."""
    for part in line.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


def _closed_page(sentence: str) -> Response:
    """The sentence, with a field for the token."""
    marked = "".join(f"<code>{each}</code>" if i % 2 else each for i, each in enumerate(escape(sentence).split("`")))
    text = filled(bare_page("token.html")).replace("{sentence}", marked)
    return HTMLResponse(text, HTTPStatus.UNAUTHORIZED, {"Cache-Control": "no-store"})

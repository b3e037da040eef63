"""Who is served, and what a browser may fetch: this machine alone, in both directions.

A foreign `Host` (DNS rebinding) and a foreign origin are refused.
"""

import logging
import urllib.parse
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

HOSTS = {"127.0.0.1", "localhost", "::1"}
NAVIGATION = {"navigate", "nested-navigate"}
KEPT_HERE = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",  # Gradio needs these two
    "X-DNS-Prefetch-Control": "off",  # else a browser resolves the hosts of links before anybody clicks them
    "Referrer-Policy": "no-referrer",
}


class LocalOnly:
    """Refuse requests that another site's page made the browser send.

    A browser says where a request comes from: `Origin` must be this server, and `Sec-Fetch-Site` must not be
    another site, except where a link or the address bar opens the page itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._named(headers) and self._welcome(headers, scope):
            await self.app(scope, receive, send)
            return
        log.warning("refused a request of another host or site for %s", scope["path"])
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif not self._named(headers):
            sentence = "Slipstream answers under 127.0.0.1 and localhost only: open the address that it printed."
            await JSONResponse({"error": sentence}, HTTPStatus.BAD_REQUEST)(scope, receive, send)
        else:
            sentence = "Slipstream answers its own page only: this request came from another site."
            await JSONResponse({"error": sentence}, HTTPStatus.FORBIDDEN)(scope, receive, send)

    @staticmethod
    def _named(headers: Headers) -> bool:
        """Whether the request names this machine; another name means that a foreign one was pointed here."""
        host = headers.get("host", "")
        try:
            parts = urllib.parse.urlsplit(f"//{host}")
            return "@" not in host and parts.netloc == host and parts.hostname in HOSTS
        except ValueError:
            return False

    @staticmethod
    def _welcome(headers: Headers, scope: Scope) -> bool:
        origin = headers.get("origin")
        try:
            if origin is not None and urllib.parse.urlsplit(origin).netloc != headers.get("host", ""):
                return False
        except ValueError:  # malformed
            return False
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return True
        opens_page = headers.get("sec-fetch-mode") in NAVIGATION and headers.get("sec-fetch-dest") == "document"
        return opens_page and scope.get("method") == "GET"


class KeptHere:
    """Tell the browser to fetch nothing from another machine: what a model writes may name an image that lies there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(KEPT_HERE)
            await send(message)

        await self.app(scope, receive, send_with_headers)

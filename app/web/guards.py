"""Who is served, and what a browser may fetch: this machine alone, in both directions.

A foreign `Host` (DNS rebinding) and a foreign origin are refused. Other machines are served only paths that are opened
to them, which ask for a key of their own.
"""

import ipaddress
import logging
import urllib.parse
from collections.abc import Callable, Collection
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

HOSTS = {"127.0.0.1", "localhost", "::1"}
NAVIGATION = {"navigate", "nested-navigate"}
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")  # by a proxy, for anybody
KEPT_HERE = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",  # Gradio needs these two
    "X-DNS-Prefetch-Control": "off",  # else a browser resolves the hosts of links before anybody clicks them
    "Referrer-Policy": "no-referrer",
}


class LocalOnly:
    """Refuse requests that another site's page made the browser send.

    A browser says where a request comes from: `Origin` must be this server, and `Sec-Fetch-Site` must not be
    another site, except where a link or the address bar opens the page itself.

    `is_open`: paths that other machines may ask for, too, under this machine's addresses and `names`; None: there are
    none, and no other machine can connect. `is_shared`: paths that pages of these `origins` may ask for.
    """

    def __init__(
        self,
        app: ASGIApp,
        is_open: Callable[[str], bool] | None = None,
        names: Collection[str] = (),
        origins: Collection[str] = (),
        is_shared: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.app = app
        self._is_open = is_open
        self._names = {name.lower() for name in names}
        self._origins = frozenset(origins)
        self._is_shared = is_shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_open = self._is_open is not None and self._is_open(scope["path"])
        named = self._named(headers, is_open)
        near = self._is_open is None or is_open or (_is_here(scope) and not any(name in headers for name in FORWARDED))
        welcome = self._welcome(headers, scope) or self._invited(headers, scope)
        if near and named and welcome:
            await self.app(scope, receive, send)
            return
        log.warning("refused a request of another host or site for %s", scope["path"])
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif not near:
            sentence = "Slipstream's page answers its own machine only: other machines may use the API, under /v1."
            await JSONResponse({"error": sentence}, HTTPStatus.FORBIDDEN)(scope, receive, send)
        elif not named:
            sentence = "Slipstream answers under 127.0.0.1 and localhost only: open the address that it printed."
            await JSONResponse({"error": sentence}, HTTPStatus.BAD_REQUEST)(scope, receive, send)
        else:
            sentence = "Slipstream answers its own page only: this request came from another site."
            await JSONResponse({"error": sentence}, HTTPStatus.FORBIDDEN)(scope, receive, send)

    def _named(self, headers: Headers, is_open: bool) -> bool:
        """Whether the request names this machine; another name means that a foreign one was pointed here.

        An address, which nobody can point elsewhere, will do for an open path.
        """
        host = headers.get("host", "")
        try:
            parts = urllib.parse.urlsplit(f"//{host}")
            if "@" in host or parts.netloc != host or parts.hostname is None:
                return False
        except ValueError:
            return False
        return parts.hostname in HOSTS or (is_open and (parts.hostname in self._names or _is_address(parts.hostname)))

    def _invited(self, headers: Headers, scope: Scope) -> bool:
        """Whether it comes from a page of another site that may use this path."""
        shared = scope["type"] == "http" and self._is_shared(scope["path"])
        return shared and headers.get("origin", "") in self._origins

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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_here(scope: Scope) -> bool:
    """Whether the request comes from this machine, over its loopback address."""
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0]) if client else None
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address is not None and (mapped or address).is_loopback


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

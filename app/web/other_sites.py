"""Pages of other sites that may use the API from a browser: those whose origin a person has named, and no other."""

from collections.abc import Callable, Collection
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALLOWED = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Api-Key",
    "Access-Control-Max-Age": "600",
}


class AllowOrigins:
    """Tell browsers that pages of these origins may ask for the paths that `is_shared` says, and read the answers.

    A browser asks beforehand without a key. What is asked then still needs one.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], is_shared: Callable[[str], bool]) -> None:
        self.app = app
        self._origins = frozenset(origins)
        self._is_shared = is_shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_shared(scope["path"]):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        named = origin in self._origins
        if named and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            allowed = _ALLOWED | {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
            if headers.get("access-control-request-private-network") == "true":
                allowed["Access-Control-Allow-Private-Network"] = "true"
            await Response(status_code=HTTPStatus.NO_CONTENT, headers=allowed)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered.add_vary_header("Origin")
                if named:
                    answered["Access-Control-Allow-Origin"] = origin
            await send(message)

        await self.app(scope, receive, send_with_headers)

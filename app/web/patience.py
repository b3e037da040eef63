"""How long a connection may take to say what it wants: what relies on uvicorn's insides.

uvicorn closes a connection that is silent after a request, and waits for ever for the first one, or for its headers'
end. A program that opens many and sends a byte now and then (slow loris) would use up this process's files.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 10.0  # from the connection, or the first byte of a later request, to the end of the headers
MOST_SILENT = 256  # connections that have not asked anything yet; the oldest makes room


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit for the time that a request's headers take."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it has yet to say what it wants."""
        return self._deadline is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._begin_to_wait()
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle:
            self._end_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # of the next request
            self._begin_to_wait()

    def _begin_to_wait(self) -> None:
        self._end_waiting()
        self._deadline = self.loop.call_later(HEADERS_S, self._give_up)
        silent = [each for each in self.connections if isinstance(each, PatientProtocol) and each.is_silent]
        if len(silent) > MOST_SILENT:
            min(silent, key=lambda each: each._deadline.when() if each._deadline is not None else 0.0)._give_up()

    def _end_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._end_waiting()
        self.transport.abort()

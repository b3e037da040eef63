"""How much and how often a client may ask."""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request

from app.api.errors import Refused

BODY_BYTES = 4 * 2**20  # a prompt of about a million tokens
PASSED_OVER_BYTES = 16 * BODY_BYTES  # of a larger one, so that the client is there to read why it is refused
BODY_S = 30.0  # in which it must have arrived
MOST_CLIENTS = 1000  # that are remembered


async def read_body(request: Request) -> bytes:
    """The request's body; raises `Refused` where it is too large or comes too slowly."""
    too_large = Refused(f"The request is larger than {BODY_BYTES // 2**20} MiB: shorten it.", status=413)
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and (len(length) > 12 or int(length) > PASSED_OVER_BYTES):
        raise too_large
    data, num_bytes = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                num_bytes += len(chunk)
                if num_bytes <= BODY_BYTES:
                    data += chunk
                elif num_bytes > PASSED_OVER_BYTES:
                    raise too_large
    except TimeoutError as exc:
        raise Refused(f"The request did not arrive within {BODY_S:g} s: send it again.", status=408) from exc
    if num_bytes > BODY_BYTES:
        raise too_large
    return bytes(data)


def share_of(address: str) -> str:
    """Which client an address belongs to: of IPv6 a household has 2**64, and together they count as one.

    >>> share_of("192.0.2.1"), share_of("2001:db8:0:1:2:3:4:5"), share_of("::ffff:192.0.2.1"), share_of("a name")
    ('192.0.2.1', '2001:db8:0:1::', '192.0.2.1', 'a name')
    """
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.IPv6Network((known, 64), strict=False).network_address)


class Rate:
    """At most `burst` at once and `per_s` a second, for each client by itself.

    >>> rate = Rate(per_s=2, burst=3, clock=iter((0, 0, 0, 0, 0.5)).__next__)
    >>> [rate.take("a") for _ in range(5)]
    [0, 0, 0, 1, 0]
    """

    def __init__(self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was so

    def take(self, client: str) -> int:
        """Count one; returns 0, or after how many whole seconds it would be welcome, and then it is not counted."""
        now_s = self._clock()
        left, since_s = self._clients.pop(client, (float(self._burst), now_s))
        left = min(self._burst, left + (now_s - since_s) * self._per_s)
        welcome = left >= 1
        self._clients[client] = (left - welcome, now_s)
        while len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return 0 if welcome else math.ceil((1 - left) / self._per_s)

"""Bodies of requests that can only be a few bytes long: read no further than that."""

from fastapi import Request

LIMIT = 64  # bytes


async def small_body(request: Request) -> str:
    """The body as text, cut a little above the limit: then it is nothing that we know."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk[:LIMIT]
        if len(data) > LIMIT:
            break
    return data.decode(errors="replace")

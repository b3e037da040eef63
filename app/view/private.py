"""What a private chat says of itself."""

from engine.events import ModelInfo

PRIVATE = "Private chat"
SIGN = (
    "This chat is kept in RAM alone, never on disk, and learned from by nothing. It is gone when you leave it or load "
    "the page."
)
TO_SERVER = "The server at {address} is sent your words, as in every chat."

GONE = "This private chat is forgotten, because its page was away. Begin a new one, or open another chat."


def private_sign(info: ModelInfo | None, *, forgotten: bool = False) -> str:
    """The sentence above a private chat; a server is named, since it could keep what it is sent."""
    if forgotten:
        return GONE
    server = info.server if info is not None else None
    return SIGN if server is None else f"{SIGN} {TO_SERVER.format(address=server.address)}"

"""What a private chat says of itself."""

from app.texts import tr
from engine.events import ModelInfo


def private_sign(info: ModelInfo | None, *, forgotten: bool = False) -> str:
    """The sentence above a private chat; a server is named, since it could keep what it is sent."""
    if forgotten:
        return tr("private.gone")
    server = info.server if info is not None else None
    sign = tr("private.sign")
    return sign if server is None else f"{sign} {tr('private.to_server', address=server.address)}"

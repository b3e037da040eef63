"""What the page says of the address of a server."""

from app.texts import tr
from engine.remote.address import Address


def ask_sentence(address: Address) -> str:
    """The question before anything is sent to another machine.

    >>> from engine.remote.address import parse
    >>> ask_sentence(parse("https://example.org"))
    'https://example.org is another machine: what you write in chats would go there. Nothing has been sent yet.'
    """
    if address.scheme == "http":
        return tr("server.ask_open", url=address.url)
    return tr("server.ask", url=address.url)


def key_sentence(kept_in: str) -> str:
    return tr("server.key_in_keyring") if kept_in == "keyring" else tr("server.key_in_file")


def forgotten_sentence(address: Address) -> str:
    return tr("server.forgotten", url=address.url)

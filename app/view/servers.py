"""What the page says of the address of a server."""

from engine.remote.address import Address


def ask_sentence(address: Address) -> str:
    """The question before anything is sent to another machine.

    >>> from engine.remote.address import parse
    >>> ask_sentence(parse("https://example.org"))
    'https://example.org is another machine: what you write in chats would go there. Nothing has been sent yet.'
    """
    open_line = " The line is not encrypted: others on the way could read it." if address.scheme == "http" else ""
    return (
        f"{address.url} is another machine: what you write in chats would go there.{open_line} "
        "Nothing has been sent yet."
    )


def key_sentence(kept_in: str) -> str:
    where = "the system's keyring" if kept_in == "keyring" else "a file that only you can read"
    return f"The key is kept in {where}."


def forgotten_sentence(address: Address) -> str:
    return f"{address.url} is forgotten: its key is deleted, and on another machine you will be asked again."

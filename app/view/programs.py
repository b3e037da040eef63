"""What the page says of the API for other programs."""

import re

from app.texts import tr

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")


def programs_sentence(on: bool, host: str, key_end: str) -> str:
    """Whether the API is on, where, and with which key, as Markdown. `host` is what the browser asked for.

    >>> programs_sentence(True, "127.0.0.1:7860", "a_b-")
    "On, at `http://127.0.0.1:7860/v1`, for programs that speak OpenAI's API. Their key ends in `a_b-`."
    """
    if not on:
        return tr("programs.said_off")
    address = f"http://{host if _HOST.fullmatch(host) else '127.0.0.1'}/v1"
    return tr("programs.said_on", address=address, key_end=key_end)

"""The address of a server, read with checks, and whose machine it names. Pure.

>>> parse("HTTP://[::1]:8080/v1/").url
'http://[::1]:8080'
>>> parse("https://example.org/llm/v1#Qwen/Qwen3-4B")
Address(scheme='https', host='example.org', port=None, path='/llm', model='Qwen/Qwen3-4B')
"""

import ipaddress
import re
import urllib.parse
from dataclasses import dataclass, replace
from typing import Self

LIMIT = 500  # characters
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_ENDPOINTS = ("/chat/completions", "/completions", "/models")  # what people copy along
EXAMPLE = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Address:
    """`path` is what comes before `/v1`; `model` is the one that is asked for there, if named."""

    scheme: str
    host: str  # an IPv6 address without brackets
    port: int | None
    path: str = ""
    model: str = ""

    @property
    def authority(self) -> str:
        """Host and port, as people read them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Under this, the server's paths stand."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def name(self) -> str:
        """The address with the model, as the picker takes it."""
        return f"{self.url}#{self.model}" if self.model else self.url

    @property
    def is_here(self) -> bool:
        """Whether it is this machine by its loopback address, so that nothing goes out."""
        if self.host in ("localhost", "localhost."):
            return True
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def with_model(self, model: str) -> Self:
        return replace(self, model=model)


def is_address(text: str) -> bool:
    """Whether the name of a model is the address of a server, valid or not.

    >>> is_address("http://127.0.0.1:8080"), is_address("Qwen/Qwen3-0.6B"), is_address("ftp://x")
    (True, False, True)
    """
    return "://" in text


def parse(text: str) -> Address:
    """Read an address; raises `ValueError` in a sentence that repeats no password."""
    text, _, model = text.strip().partition("#")
    if len(text) + len(model) > LIMIT:
        raise ValueError(f"The address is longer than {LIMIT} characters: write it as {EXAMPLE}.")
    if re.search(r"[\s\x00-\x1f\x7f\\]", text) or re.search(r"[\x00-\x1f\x7f]", model):
        raise ValueError(f"The address holds spaces or signs that none may have: write it as {EXAMPLE}.")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise ValueError(f"The address cannot be read: write it as {EXAMPLE} or http://[::1]:8080.") from exc
    if "@" in parts.netloc:
        raise ValueError("The address holds a name or a password: leave them out, and give the key by itself.")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"An address begins with http:// or https://: write it as {EXAMPLE}.")
    if parts.query or "?" in text:
        raise ValueError("The address holds a question mark: leave out what follows it.")
    if port == 0:
        raise ValueError(f"Port 0 is none: write the server's own, as in {EXAMPLE}.")
    return Address(parts.scheme, _host(parts), port, _path(parts.path), model.strip())


def _host(parts: urllib.parse.SplitResult) -> str:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        try:
            if "%" in host:
                raise ValueError("an interface of this machine")
            return str(ipaddress.IPv6Address(host))
        except ValueError as exc:
            raise ValueError(
                "The address between the brackets is no IPv6 address: write it as http://[::1]:8080."
            ) from exc
    try:
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError as exc:
        raise ValueError(f"The address names no host that can be: write it as {EXAMPLE}.") from exc
    if not _NAME.fullmatch(host):
        raise ValueError(f"The address names no host that can be: write it as {EXAMPLE}.")
    return host


def _path(path: str) -> str:
    path = path.rstrip("/")
    for endpoint in _ENDPOINTS:
        path = path.removesuffix(endpoint)
    path = path.removesuffix("/v1").rstrip("/")
    if not _PATH.fullmatch(path) or "//" in path or any(step in (".", "..") for step in path.split("/")):
        raise ValueError(f"The address has a path that no server uses: write it as {EXAMPLE}.")
    return path

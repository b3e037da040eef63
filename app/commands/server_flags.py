"""The flags of what is served and of a server in the engine's place, and what they mean as values. Imports no torch."""

import argparse
import getpass
import re
from dataclasses import dataclass, replace
from pathlib import Path

from app.commands.flags import UsageError, whole
from app.servers import KEY_LIMIT, Servers
from engine.config import ModelSpec
from engine.remote.address import Address
from engine.remote.address import parse as parse_address

ASKED_FOR = "-"  # in place of a file: the key is typed

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Who is served: people by the `page`, other programs by the `api` as long as this process runs, other machines on
    `host` (by the API alone). `new_key`: the API's key is made anew. `to_all_accounts`: the page asks for no token.
    `new_token`: the page's token is made anew. `origins`: of pages of other sites that may use the API."""

    page: bool = True
    api: bool = False
    host: str | None = None
    new_key: bool = False
    to_all_accounts: bool = False
    new_token: bool = False
    origins: tuple[str, ...] = ()


PAGE_ALONE = Exposure()


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What a person says of the server that answers: whether words may go there, and which file holds its key."""

    confirm: bool = False
    key_file: str | None = None

    def give(self, servers: Servers, address: Address) -> None:
        """Note it for now and later; raises `UsageError` or `OSError`."""
        if self.key_file is not None:
            try:
                servers.keep_key(address, _read_key(self.key_file, address))
            except ValueError as exc:
                raise UsageError(f"--engine-key: {exc}") from exc
        if self.confirm:
            servers.confirm(address)


NOTHING_SAID = Permission()


def _read_key(source: str, address: Address) -> str:
    if source == ASKED_FOR:
        try:
            return getpass.getpass(f"Key for {address.url}: ")
        except EOFError as exc:
            raise ValueError("no key was typed: name the file that holds it.") from exc
    try:
        with Path(source).expanduser().open(encoding="ascii") as file:
            return file.read(KEY_LIMIT + 1)
    except OSError as exc:
        raise ValueError(f"{source} cannot be read ({exc.strerror}): name the file that holds the key.") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"{source} holds no key: name a file with the key alone.") from exc


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a server in the engine's place; without defaults, so that one given before the command stays."""
    unset = argparse.SUPPRESS
    parser.add_argument(
        "--engine", default=unset, metavar="URL", help="let the server at this address answer, in place of a model here"
    )
    parser.add_argument(
        "--engine-key",
        default=unset,
        metavar="FILE",
        help="keep the key for --engine that stands in this file, and use it from now on; -: type it",
    )
    parser.add_argument(
        "--confirm-engine",
        action="store_true",
        default=unset,
        help="words may go to the machine of --engine, now and later (the page asks otherwise)",
    )


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of what is served, without defaults as well."""
    unset = argparse.SUPPRESS
    parser.add_argument(
        "--port", type=whole(1, 65535), default=unset, help="port of the page and the API (7860 or the next free one)"
    )
    parser.add_argument(
        "--host", default=unset, metavar="ADDRESS", help="serve the API on this address, too, to other machines"
    )
    add_engine_flags(parser)
    parser.add_argument(
        "--api-origin",
        action="append",
        default=unset,
        metavar="ORIGIN",
        help="let pages of this origin use the API from a browser, with its key; may be given several times",
    )
    parser.add_argument(
        "--new-key", action="store_true", default=unset, help="make a new key for the API; the one before is void"
    )


def read_exposure(given: argparse.Namespace) -> Exposure:
    """Who is to be served; raises `UsageError` where the flags do not fit together."""
    page, host, new_key = getattr(given, "page", True), getattr(given, "host", None), getattr(given, "new_key", False)
    api = given.api or not page
    origins = tuple(dict.fromkeys(map(_origin, getattr(given, "api_origin", ()))))
    if (host is not None or new_key or origins) and not api:
        raise UsageError("--host, --api-origin and --new-key are for the API: add --api, or the command serve.")
    if host is not None and not host.strip():
        raise UsageError("--host needs an address of this machine, such as 0.0.0.0 for all of them.")
    return Exposure(
        page=page,
        api=api,
        host=host,
        new_key=new_key,
        to_all_accounts=given.open_to_all_accounts,
        new_token=given.new_token,
        origins=origins,
    )


def refuse_engine(given: argparse.Namespace, what: str, *, asks_a_model: bool = True) -> None:
    """Raise where a server is named, or anything is said of it, for what asks a model here, or none."""
    named = [flag for flag in ("engine", "engine_key", "confirm_engine") if hasattr(given, flag)]
    if named:
        out = f"leave {' and '.join('--' + flag.replace('_', '-') for flag in named)} out"
        if asks_a_model:
            raise UsageError(f"{what} needs a model on this machine: {out}, and name one with --model.")
        raise UsageError(f"{what} asks no model: {out}.")


def with_engine(given: argparse.Namespace, spec: ModelSpec, named: bool) -> tuple[ModelSpec, bool, Permission]:
    """The address of --engine in the model's place, where it is given, and what is said of it."""
    engine = getattr(given, "engine", None)
    permission = Permission(confirm=hasattr(given, "confirm_engine"), key_file=getattr(given, "engine_key", None))
    if engine is None:
        if permission != NOTHING_SAID:
            raise UsageError("--confirm-engine and --engine-key are about the address of --engine: give that, too.")
        return spec, named, permission
    if named:
        raise UsageError("--engine and --model exclude each other: leave one of the two out.")
    return replace(spec, model=parse_address(engine).name), True, permission


def _origin(text: str) -> str:
    """An origin as browsers write it; raises `UsageError`.

    >>> _origin("HTTPS://App.example.org/")
    'https://app.example.org'
    """
    origin = text.strip().lower().removesuffix("/")
    if not _ORIGIN.fullmatch(origin):
        raise UsageError(
            "--api-origin needs the origin of a page, such as https://app.example.org or app://obsidian.md."
        )
    return origin

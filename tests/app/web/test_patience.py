"""Connections that do not say what they want are closed, and nobody else notices."""

import socket
from collections.abc import Iterator

import httpx2
import pytest
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.web import patience, server
from tests.api import on_a_port
from tests.turns import WAIT_S


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with on_a_port(server.create_app(FastAPI)) as address:
        yield "127.0.0.1", int(address.rsplit(":", 1)[1])


def is_healthy(address: tuple[str, int]) -> bool:
    return httpx2.get(f"http://{address[0]}:{address[1]}/healthz").status_code == 200


def connected(address: tuple[str, int], sent: bytes) -> socket.socket:
    connection = socket.create_connection(address, timeout=WAIT_S)
    connection.sendall(sent)
    return connection


def answered(connection: socket.socket) -> bool:
    """Read one answer of `/healthz` to its end."""
    data = b""
    while not data.endswith(b"}"):
        data += connection.recv(10_000)
    return b"200 OK" in data


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes the connection without an answer."""
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_what_we_rely_on_in_uvicorn_is_there() -> None:
    for name in ("connection_made", "connection_lost", "data_received", "on_response_complete"):
        assert callable(getattr(H11Protocol, name))


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127"])
def test_headers_that_do_not_come_end_the_connection(
    address: tuple[str, int], sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "HEADERS_S", 0.05)
    with connected(address, sent) as connection:
        assert is_closed(connection)
    assert is_healthy(address)


def test_half_a_request_after_a_whole_one_ends_the_connection(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "HEADERS_S", 0.2)
    whole = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with connected(address, whole) as connection:
        assert answered(connection)
        connection.sendall(b"GET /healthz HTT")
        assert is_closed(connection)
    with connected(address, whole + b"GET /healthz HTT") as connection:
        assert answered(connection)
        assert is_closed(connection)


def test_many_silent_connections_make_room_for_each_other(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "MOST_SILENT", 3)
    silent = [connected(address, b"GET ") for _ in range(8)]
    assert all(is_closed(connection) for connection in silent[:5])
    assert is_healthy(address)
    rest = b"/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    silent[-1].sendall(rest)
    assert answered(silent[-1])
    for connection in silent:
        connection.close()

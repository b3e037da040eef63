"""Whose account the other end of a connection on this machine is, where the system tells: Linux, in /proc/net/tcp."""

import ipaddress
import socket
import sys
from pathlib import Path

Address = tuple[str, int]

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
NOBODY = -1
_WORD = 8  # hexadecimal digits, in the machine's order of bytes


def account_of(client: Address | None, server: Address | None) -> int | None:
    """The user id of a connection's client; `NOBODY` where the table holds no such connection, None without a table."""
    if not TABLES[0].exists():
        return None
    if client is None or server is None:
        return NOBODY
    wanted = _plain(client), _plain(server)
    for table in TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # a system without IPv6
            continue
        for line in lines:
            _, ours, theirs, _, _, _, _, account, *_ = line.split()
            if (_address(ours), _address(theirs)) == wanted:
                return int(account)
    return NOBODY


def _address(text: str) -> Address:
    """An address as the table has it.

    >>> _address("0100007F:1EB4")
    ('127.0.0.1', 7860)
    """
    digits, port = text.split(":")
    words = [int(digits[i : i + _WORD], 16) for i in range(0, len(digits), _WORD)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return _plain((socket.inet_ntop(socket.AF_INET6 if len(words) > 1 else socket.AF_INET, packed), int(port, 16)))


def _plain(address: Address) -> Address:
    """The address with an IPv4 one in IPv6's clothes undressed."""
    found = ipaddress.ip_address(address[0])
    return str(getattr(found, "ipv4_mapped", None) or found), address[1]

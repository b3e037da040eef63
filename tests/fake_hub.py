"""A Hub on this machine: what huggingface_hub asks of the real one, with faults that a test can order."""

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.models.hub.checksums import git_id_of

COMMIT = "c0ffee" + "0" * 34
_LARGE = (".safetensors", ".gguf")  # stored elsewhere, and known by their SHA-256


@dataclass
class FakeHub:
    """One server, any number of repositories (name -> folder), and a record of what was asked."""

    url: str = ""
    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    gated_files: bool = False  # listing is allowed, files are not
    status: int | None = None  # answer everything with this error
    cuts: list[int] = field(default_factory=list)  # bytes after which the next weight transfers are cut
    ignore_ranges: bool = False
    corrupt: bool = False
    bytes_per_s: int | None = None  # of what large files send
    tokens_elsewhere: list[str | None] = field(default_factory=list)  # Authorization headers the other host saw
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range

    def transfers(self, name: str) -> list[str | None]:
        """The ranges asked for, of each download of a file."""
        return [span for method, path, span in self.requests if method == "GET" and path.endswith(name)]


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = urlsplit(self.path).path
            hub.requests.append((self.command, path, self.headers.get("Range")))
            if path.startswith("/cdn/"):
                hub.tokens_elsewhere.append(self.headers.get("Authorization"))
            if hub.status is not None:
                self.fail(hub.status, "Error")
            elif listed := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.*)?", path):
                self.listing(listed[1])
            elif file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                self.resolve(file[1], file[2])
            elif stored := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
                self.send(hub.repositories[stored[1]] / stored[2], cut=True)
            else:
                self.fail(404, "EntryNotFound")

        def listing(self, name: str) -> None:
            if name in hub.gated and not hub.gated_files:
                self.fail(403, "GatedRepo")
                return
            if name not in hub.repositories:
                self.fail(401, "RepoNotFound")
                return
            siblings = []
            folder = hub.repositories[name]
            for path in sorted(file for file in folder.rglob("*") if file.is_file()):
                file = path.relative_to(folder).as_posix()
                sibling: dict[str, Any] = {"rfilename": file, "size": path.stat().st_size, "blobId": git_id_of(path)}
                if path.suffix in _LARGE:
                    sibling["lfs"] = {"sha256": _sha256(path), "size": path.stat().st_size, "pointerSize": 130}
                siblings.append(sibling)
            body = json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def resolve(self, name: str, file: str) -> None:
            path = hub.repositories[name] / file
            if name in hub.gated:
                self.fail(403, "GatedRepo")
            elif not path.is_file():
                self.fail(404, "EntryNotFound")
            elif path.suffix not in _LARGE:
                self.send(path)
            else:  # large files lie on another host
                self.send_response(302)
                self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{name}/{file}")
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("X-Linked-Etag", f'"{_sha256(path)}"')
                self.send_header("X-Linked-Size", str(path.stat().st_size))
                self.send_header("Content-Length", "0")
                self.end_headers()

        def send(self, path: Path, cut: bool = False) -> None:
            data = path.read_bytes()
            etag = hashlib.sha1(data).hexdigest()
            if hub.corrupt and cut:
                data = data[:-1] + bytes([data[-1] ^ 1])
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            ranged = span is not None and not hub.ignore_ranges
            start = int(span[1]) if span is not None and ranged else 0
            if span is not None and ranged and span[2]:
                data = data[: int(span[2]) + 1]
            self.send_response(206 if ranged else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("Content-Length", str(len(data) - start))
            if ranged:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{path.stat().st_size}")
            self.end_headers()
            if self.command == "HEAD":
                return
            body = data[start:]
            if cut and hub.cuts and not (span and span[2]):
                self.wfile.write(body[: hub.cuts.pop(0)])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            step = hub.bytes_per_s // 20 if cut and hub.bytes_per_s else len(body)
            for at in range(0, len(body), max(1, step)):
                self.wfile.write(body[at : at + step])
                if step < len(body):
                    time.sleep(0.05)

        def fail(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def running(port: int = 0) -> Iterator[FakeHub]:
    """Run a fake Hub on this machine; port 0: a free one."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

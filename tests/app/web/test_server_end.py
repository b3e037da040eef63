"""How the application ends while a page is open: at once, with its good exit status and no alarm."""

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

SERVER = Path(__file__).parents[2] / "browser" / "scripted_server.py"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_open_page_does_not_make_the_end_an_error(tmp_path: Path, signal_: signal.Signals) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(SERVER), str(tmp_path), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/healthz").json()["status"] == "ready":
                    break
            except httpx.TransportError:
                pass
            threading.Event().wait(0.1)
        token = (tmp_path / "page-token").read_text(encoding="ascii")
        known = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", f"{url}/gradio_api/heartbeat/abc", headers=known, timeout=60) as stream:
            assert stream.status_code == 200
            process.send_signal(signal_)
            said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert said == f"Slipstream is at {url}/?token={token} (Ctrl-C ends it)\n"

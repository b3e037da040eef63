"""What stands in the environment for other programs does not reach the page, but still reaches model downloads."""

import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import httpx
import pytest

from app.variables import clean_environment

SERVER = Path(__file__).parents[2] / "browser" / "scripted_server.py"
NOWHERE = "socks5://127.0.0.1:9"  # nothing listens there
OTHERS = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "nonsense::",
    "NO_PROXY": "[::1",
    "SSL_CERT_FILE": "/no/such/file",
    "GRADIO_SERVER_PORT": "none",
    "GRADIO_ROOT_PATH": "/elsewhere",
    "GRADIO_TEMP_DIR": "/proc/no/such/folder",
    "HF_HUB_DOWNLOAD_TIMEOUT": "long",
    "WEB_CONCURRENCY": "many",
}


@pytest.mark.parametrize("variables", [{"ALL_PROXY": NOWHERE}, OTHERS], ids=["proxy", "others"])
def test_the_page_is_built_whatever_stands_in_the_environment(tmp_path: Path, variables: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(SERVER), str(tmp_path), str(port)]
    process = subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL)
    page = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
    status = "starting"
    try:
        for _ in range(600):
            assert process.poll() is None
            try:
                if (status := page.get("/healthz").json()["status"]) != "starting":
                    break
            except httpx.TransportError:
                pass
            threading.Event().wait(0.1)
        assert status == "ready"
        assert "/elsewhere" not in page.get("/config").text
    finally:
        page.close()
        process.kill()
        process.wait()


def test_what_is_not_the_pages_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"ALL_PROXY": NOWHERE, "gradio_root_path": "/elsewhere", "LANG": "C.UTF-8"}
    monkeypatch.setattr(os, "environ", {**os.environ, **kept})
    before = clean_environment()
    assert before["ALL_PROXY"] == NOWHERE
    assert "ALL_PROXY" not in os.environ
    assert "gradio_root_path" not in os.environ
    assert os.environ["LANG"] == "C.UTF-8"
    assert urllib.request.getproxies_environment() == {}
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    again = clean_environment()
    assert again == dict(os.environ)

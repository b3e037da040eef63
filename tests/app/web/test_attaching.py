"""Many files sent at once: few are read at a time, and everything else is answered meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
from fastapi import FastAPI

from app.web.attachments import AT_ONCE, attachment_routes
from tests.api import on_a_port
from tests.turns import WAIT_S, wait_until


class SlowReader:
    """Reads until it is let go, and notes how many it reads at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def add(self, conversation_id: int | None, name: str, data: bytes, *, pasted: bool = False) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.go.wait(WAIT_S)
        with self.lock:
            self.now -= 1

    def text(self, attachment_id: int) -> str:
        return "meanwhile"


def test_few_files_are_read_at_once_and_others_are_answered_meanwhile() -> None:
    reader, app = SlowReader(), FastAPI()
    app.include_router(attachment_routes(reader))  # type: ignore[arg-type]
    with on_a_port(app) as url, ThreadPoolExecutor(60) as people:

        def send(number: int) -> int:
            return httpx.post(f"{url}/attachments/0?name={number}.pdf", content=b"%PDF-", timeout=WAIT_S).status_code

        sent = [people.submit(send, number) for number in range(60)]
        wait_until(lambda: reader.now == AT_ONCE)
        assert httpx.get(f"{url}/attachments/1/text", timeout=WAIT_S).text == "meanwhile"
        reader.go.set()
        assert {each.result(WAIT_S) for each in sent} == {200}
    assert reader.most == AT_ONCE

"""What was said, edited, searched, attached, exported and deleted for good is in no byte of the home folder.

The real processes, asked as a page asks; the drafting memory, the logs, the copies and the engine's cache included.
"""

import json
import sys
from pathlib import Path

import httpx
import pytest

from app.store.backups import Backups
from tests.faults.running import Slipstream, Tab, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the harness ends processes by Linux's means")
SECRET = "Zwölfqvist-7391"
FORMS = tuple(  # also as JSON and addresses write it; without its first characters, which an index may share
    form[2:].encode() for form in (SECRET, json.dumps(SECRET)[1:-1], str(httpx.QueryParams(a=SECRET))[2:])
)


def holding(home: Path) -> list[str]:
    """The files that hold the secret; one that is just being replaced is looked at the next time."""
    found = []
    for path in sorted(home.rglob("*")):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        if any(form in data for form in FORMS) or SECRET.encode("utf-16-le") in data:
            found.append(path.relative_to(home).as_posix())
    return found


@pytest.mark.timeout(600)
def test_a_deleted_secret_is_in_no_byte_of_the_home_folder(tmp_path: Path) -> None:
    slipstream, look = Slipstream(tmp_path / "home"), "/memory/look/0"
    slipstream.start()
    try:
        kept = slipstream.send("What is a river?")
        kept.wait_until_stored()
        tab, private = Tab(slipstream), Tab(slipstream)

        def ask(name: str, *given: object, data: object = None) -> None:
            assert tab.call(name, None, *given, data=data).refusal is None

        settings = tab.defaults("send")[2:-1]
        settings[7], settings[8] = 60, f"Say {SECRET} in every sentence."
        for event, *given in (("begin",), ("send", f"Repeat: {SECRET}", *settings), ("new",)):
            assert private.call(event, None, *given).refusal is None
            assert holding(slipstream.home) == [], f"a private chat leaves a trace after {event}"
        ask("send", f"Repeat: {SECRET} {SECRET} {SECRET}", *settings)
        (chat, asked) = slipstream.rows("SELECT conversation_id, max(id) FROM messages WHERE role = 'user'")[0]
        ask("edit", *settings, data={"id": asked, "text": f"Say it again: {SECRET}"})
        ask("rename", data={"id": chat, "title": f"About {SECRET}"})
        ask("search", SECRET)
        with httpx.Client(base_url=slipstream.url, headers=slipstream.headers, timeout=60) as page:
            until(lambda: page.get(f"{look}?phrase=river").status_code == 200, "the model drafts")
            for method, path in (
                *(("GET", f"/export/{name}.{kind}") for name in (chat, "all") for kind in ("json", "md", "html")),
                ("POST", f"/attachments/{chat}?name={SECRET}.txt"),
                ("POST", f"/draft/{chat}"),
                ("GET", f"{look}?phrase={SECRET}"),
                ("GET", f"/memory/export/{chat}.json"),
            ):
                answer = page.request(
                    method, path, content=f"My notes: {SECRET}".encode() if method == "POST" else None
                )
                assert answer.status_code < 300, (path, answer.text)
            ask("send", f"And {SECRET}?", *settings)
            page.post(f"/draft/{chat}", content=f"Half a thought of {SECRET}".encode())
            copies = Backups(slipstream.database)
            for copy in copies.found():
                copy.path.unlink()
            until(copies.found, "the day has another copy, with the secret in it")
            assert {"slipstream.db", f"backups/{copies.found()[0].path.name}"} <= set(holding(slipstream.home))
            ask("delete", data={"id": chat})
            ask("undo", data={"id": chat})
            ask("delete", data={"id": chat})
            ask("search", "")
            ask("delete_for_good", data={})
            until(lambda: holding(slipstream.home) == [], "the secret has gone from every file", 60)
            assert page.get(look, params={"phrase": SECRET}).json()["matches"] == []
        assert slipstream.stop() == 0
        assert holding(slipstream.home) == []
        slipstream.start()
        assert kept.stored()[1] == "complete"
        assert holding(slipstream.home) == []
    finally:
        slipstream.end()

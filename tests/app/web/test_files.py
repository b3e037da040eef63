"""Exports and imports over HTTP."""

import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.chat.imports import Imports
from app.store.attachments import Attachments
from app.store.private import FIRST, Stores
from app.store.records import ConversationSettings
from app.store.store import Store
from app.web.files import export_routes, import_routes
from tests.app.exchange.exports import CHATGPT, OPEN_WEBUI, text

PATIENCE_S = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


@pytest.fixture
def imported() -> list[int]:
    return []


@pytest.fixture
def client(store: Store, tmp_path: Path, imported: list[int]) -> Iterator[TestClient]:
    imports = Imports(store, tmp_path / "import", imported.extend, store.delete)
    app = FastAPI()
    app.include_router(export_routes(Stores(store)))
    app.include_router(import_routes(imports))
    with TestClient(app) as client:
        yield client
    imports.close()


def talk(store: Store) -> int:
    conversation = store.new_conversation(ConversationSettings(system="Be <i>brief</i>"), "Greetings </title><script>")
    Attachments(store).add(conversation.id, "a<b>.txt", "text", 9, "<script>alert(1)</script>")
    asked = store.add_message(conversation.id, None, "user", "Hello <b>you</b>\n  indented")
    Attachments(store).send(conversation.id, asked.id)
    answer = "<think>\nWell.\n</think>\n\n**Hello** <img src=x onerror=alert(1)> ![cat](https://example.org/cat.png)\n\n```html\n<script>\n```"
    store.add_message(conversation.id, asked.id, "assistant", answer)
    return conversation.id


def look(client: TestClient, **files: bytes) -> dict[str, Any]:
    """Send files and wait for the preview."""
    number = client.post("/import/begin").json()["id"]
    for name, data in files.items():
        assert client.post(f"/import/{number}/file?name={name}", content=data).json()["ok"]
    return go(client, number, "read")


def go(client: TestClient, number: int, step: str) -> dict[str, Any]:
    state = client.post(f"/import/{number}/{step}").json()
    deadline = time.monotonic() + PATIENCE_S
    while state["phase"] in ("reading", "adding"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
        state = client.get(f"/import/{number}").json()
    return state


def test_an_import_is_shown_first_then_added_then_taken_back(
    client: TestClient, store: Store, imported: list[int]
) -> None:
    state = look(client, chatgpt=text([CHATGPT, CHATGPT]), webui=text([OPEN_WEBUI]))
    assert (state["phase"], state["heading"], state["add"]) == ("preview", "2 chats can be imported", "Import 2 chats")
    assert state["lines"] == [
        "From ChatGPT and Open WebUI: 7 messages, 2 other versions and 1 attachment.",
        "“Trip to Porto”, “Rust lifetimes”.",
        "1 chat stands in the files twice.",
        "Cannot be taken over: attached files (1), custom instructions (1), images (2), tool calls (1), "
        "tool results (1).",
    ]
    assert store.conversations() == []
    state = go(client, state["id"], "add")
    assert (state["heading"], state["can"]) == ("2 chats were imported.", ["undo"])
    assert state["lines"][-1].startswith("Left out: attached files (1)")
    assert sorted(imported) == store.conversation_ids()
    again = look(client, chatgpt=text([CHATGPT]), webui=text([OPEN_WEBUI]))
    assert (again["heading"], again["can"]) == ("There is nothing new to import", [])
    assert again["lines"] == ["2 chats are here already, and not imported again."]
    assert "another one has begun" in client.post(f"/import/{state['id']}/undo").json()["message"]


def test_undo_puts_a_whole_import_into_the_trash_and_it_can_be_imported_again(client: TestClient, store: Store) -> None:
    state = go(client, look(client, a=text([CHATGPT, OPEN_WEBUI]))["id"], "add")
    state = go(client, state["id"], "undo")
    assert state["heading"] == "The import was undone: 2 chats are in the trash."
    assert (store.conversations(), len(store.trash())) == ([], 2)
    assert look(client, a=text([CHATGPT]))["heading"] == "1 chat can be imported"


def test_a_chat_that_has_grown_is_added_beside_the_one_that_is_here(client: TestClient, store: Store) -> None:
    older = {**CHATGPT, "mapping": {key: node for key, node in CHATGPT["mapping"].items() if key != "q2"}}
    go(client, look(client, a=text([older]))["id"], "add")
    state = look(client, a=text([CHATGPT]))
    assert "1 chat has grown since it was imported: it is added beside what is here." in state["lines"]
    go(client, state["id"], "add")
    assert len(store.conversations()) == 2
    assert look(client, a=text([older]))["heading"] == "There is nothing new to import"


def test_our_own_export_comes_back_and_is_not_doubled(client: TestClient, store: Store) -> None:
    conversation_id = talk(store)
    one, every = (client.get(f"/export/{name}.json").content for name in (conversation_id, "all"))
    assert one == every
    assert look(client, a=one)["lines"] == ["1 chat is here already, and not imported again."]
    store.delete(conversation_id)
    state = go(client, look(client, a=one)["id"], "add")
    assert state["heading"] == "1 chat was imported."
    assert client.get("/export/all.json").json() == {**client.get("/export/all.json").json()}
    assert client.get("/export/all.json").content == one


def test_chats_that_differ_in_what_is_attached_alone_are_both_imported(client: TestClient, store: Store) -> None:
    talk(store)
    ours = client.get("/export/all.json").json()
    for name, value in (("text", "Another text"), ("name", "another.txt")):
        (attached,) = ours["conversations"][0]["messages"][0]["attachments"]
        attached[name] = value
        assert go(client, look(client, a=text(ours))["id"], "add")["heading"] == "1 chat was imported."
        assert look(client, a=text(ours))["heading"] == "There is nothing new to import"
    assert len(store.conversations()) == 3


def test_a_chat_that_was_deleted_meanwhile_does_not_keep_the_rest_of_a_failed_import(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [{**OPEN_WEBUI, "id": f"c-{number}", "created_at": 1720000000 + number} for number in range(3)]
    for number, chat in enumerate(chats):
        chat["chat"] = json.loads(json.dumps(OPEN_WEBUI["chat"]).replace("lifetime", f"lifetime {number}"))
    added = Imports._added

    def fails_at_last(imports: Imports, conversation_id: int) -> None:
        added(imports, conversation_id)
        if conversation_id == 3:
            store.delete(1)
            store.delete(2)
            store.empty_trash(2)
            raise OSError("The disk is full.")

    monkeypatch.setattr(Imports, "_added", fails_at_last)
    state = look(client, a=text(chats))
    assert state["add"] == "Import 3 chats"
    assert go(client, state["id"], "add")["lines"] == ["The disk is full."]
    assert (store.conversations(), store.trash()) == ([], [])


def test_a_sound_file_beside_a_damaged_one_adds_nothing(client: TestClient, store: Store, tmp_path: Path) -> None:
    state = look(client, a=text([CHATGPT]), b=b"[1, 2")
    assert not (tmp_path / "import").exists()
    assert (state["phase"], state["heading"]) == ("failed", "Nothing was imported")
    assert "in b it is cut short" in state["lines"][0]
    assert client.post(f"/import/{state['id']}/add").status_code == 400
    assert store.conversations() == []


def test_an_import_is_given_up_in_the_middle_and_leaves_nothing(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    many = [{**CHATGPT, "title": f"Chat {number}", "create_time": 1720000000 + number} for number in range(20)]
    for number, chat in enumerate(many):
        node = chat["mapping"]["q2"]
        message = {**node["message"], "content": {"content_type": "text", "parts": [f"Thanks {number}"]}}
        chat["mapping"] = chat["mapping"] | {"q2": {**node, "message": message}}
    state = look(client, a=text(many))
    assert state["add"] == "Import 20 chats"
    added = Store.new_conversation
    calls = []

    def slowly(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            assert client.post(f"/import/{state['id']}/cancel").json()["phase"] == "cancelled"
        return added(*args, **options)

    monkeypatch.setattr("app.chat.imports.Imports._end", lambda self: self._stop.set())
    monkeypatch.setattr(Store, "new_conversation", slowly)
    end = go(client, state["id"], "add")
    monkeypatch.undo()
    deadline = time.monotonic() + PATIENCE_S
    while store.conversations() or store.trash():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert end["heading"] == "The import was cancelled. Nothing was changed."
    assert len(calls) < 20


def test_an_import_that_is_cancelled_leaves_no_file(client: TestClient, tmp_path: Path) -> None:
    state = look(client, a=text([CHATGPT]))
    assert list((tmp_path / "import").iterdir())
    assert client.post(f"/import/{state['id']}/cancel").json()["phase"] == "cancelled"
    assert not (tmp_path / "import").exists()
    number = client.post("/import/begin").json()["id"]
    client.post(f"/import/{number}/file?name=a", content=text([CHATGPT]))
    client.post(f"/import/{number}/cancel")
    assert not (tmp_path / "import").exists()


def test_an_import_that_does_not_end_is_waited_for_only_so_long(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends = threading.Event()
    monkeypatch.setattr("app.chat.imports.END_LIMIT_S", 0.01)
    monkeypatch.setattr("app.exchange.importing.preview", lambda *_: ends.wait(PATIENCE_S))
    number = client.post("/import/begin").json()["id"]
    client.post(f"/import/{number}/file?name=a", content=text([CHATGPT]))
    assert client.post(f"/import/{number}/read").json()["phase"] == "reading"
    try:
        assert client.post(f"/import/{number}/cancel").json()["phase"] == "cancelled"
        answer = client.post("/import/begin")
        assert (answer.status_code, "has not ended yet" in answer.json()["message"]) == (400, True)
    finally:
        ends.set()
    deadline = time.monotonic() + PATIENCE_S
    while not client.post("/import/begin").json()["ok"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (tmp_path / "import").exists()


def test_what_is_asked_of_no_import_is_a_sentence(client: TestClient) -> None:
    for path in ("/import/99/read", "/import/99/add", "/import/99/undo", "/import/99/cancel"):
        answer = client.post(path)
        assert (answer.status_code, answer.json()["ok"]) == (400, False)
        assert "choose the files again" in answer.json()["message"]
    assert client.get("/import/99").status_code == 400
    assert client.post("/import/99/nothing").status_code == 404


def test_a_file_that_is_too_large_is_a_sentence(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.web.files.IMPORT_LIMIT", 1000)
    number = client.post("/import/begin").json()["id"]
    client.post(f"/import/{number}/file?name=small", content=b" ")
    answer = client.post(f"/import/{number}/file?name=big", content=b" " * 1001)
    assert answer.status_code == 413
    assert "larger than" in answer.json()["message"]
    assert not (tmp_path / "import").exists()


def test_a_web_page_holds_all_words_and_nothing_that_runs_or_asks_for_anything(
    client: TestClient, store: Store
) -> None:
    conversation_id = talk(store)
    for path in (f"/export/{conversation_id}.html", "/export/all.html"):
        answer = client.get(path)
        assert "attachment" in answer.headers["content-disposition"]
        page = answer.text
        tags = set(re.findall(r"<([a-z0-9]+)", page.lower()))
        assert not tags & {"script", "img", "iframe", "link", "object", "embed", "form", "base", "b", "i"}
        assert not re.search(r"<[^>]*\son\w+=", page)
        assert "default-src 'none'" in page
        assert 'href="https://example.org/cat.png"' in page
        for written in ("Hello &lt;b&gt;you&lt;/b&gt;\n  indented", "&lt;script&gt;alert(1)&lt;/script&gt;", "Well.",
                        "<strong>Hello</strong>", "Be &lt;i&gt;brief&lt;/i&gt;", "a&lt;b&gt;.txt"):  # fmt: skip
            assert written in page, written


def test_all_leave_as_one_markdown_file_each(client: TestClient, store: Store) -> None:
    talk(store)
    talk(store)
    with zipfile.ZipFile(io.BytesIO(client.get("/export/all.md").content)) as packed:
        assert packed.namelist() == ["Greetings title script (1).md", "Greetings title script (2).md"]
        assert "Hello <b>you</b>" in packed.read(packed.namelist()[0]).decode()
    text = client.get("/export/1.md")
    assert "Hello <b>you</b>" in text.text
    assert text.headers["content-disposition"] == 'attachment; filename="Greetings title script.md"'
    store.rename(1, "Äpfel: 1/2")
    named = client.get("/export/1.json").headers["content-disposition"]
    assert named == "attachment; filename=\"chat.json\"; filename*=UTF-8''%C3%84pfel%201%202.json"


@pytest.mark.parametrize("kind", ["md", "json", "html"])
@pytest.mark.parametrize("number", [999, 2**63, -(2**63) - 1])
def test_exporting_what_is_not_there_is_a_sentence(client: TestClient, number: int, kind: str) -> None:
    answer = client.get(f"/export/{number}.{kind}")
    assert answer.status_code == 404
    assert f"no conversation {number}" in answer.json()["message"]


def test_some_are_exported_together(client: TestClient, store: Store) -> None:
    for _ in range(3):
        talk(store)
    told = client.get("/export/chosen.json?ids=3,1")
    assert [len(told.json()["conversations"]), told.headers["content-disposition"]] == [
        2,
        'attachment; filename="chats.json"',
    ]
    assert client.get("/export/chosen.html?ids=3,1").text.count("<article>") == 2
    with zipfile.ZipFile(io.BytesIO(client.get("/export/chosen.md?ids=3,1").content)) as packed:
        assert len(packed.namelist()) == 2


@pytest.mark.parametrize("asked", ["chosen.json", "chosen.json?ids=x,-1", "chosen.exe?ids=1", f"chosen.md?ids={FIRST}"])
def test_what_cannot_be_exported_together_is_a_sentence(client: TestClient, store: Store, asked: str) -> None:
    talk(store)
    answer = client.get(f"/export/{asked}")
    assert answer.status_code == 404
    assert answer.json()["message"].endswith(".")

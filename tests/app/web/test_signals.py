"""The colours that a person chose: kept, told to the page, and nothing else is taken."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.store.settings import AppSettings
from app.store.store import Store
from app.web.signals import DRAFT_LIMIT, draft_route, theme_routes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


@pytest.fixture
def client(store: Store) -> TestClient:
    app = FastAPI()
    app.include_router(theme_routes(AppSettings(store)))
    return TestClient(app)


def test_what_was_chosen_is_told_to_the_next_page(client: TestClient) -> None:
    assert client.get("/theme.js").text == 'window.slipstreamTheme = "system";\n'
    assert client.post("/theme", content="dark").json() == {"ok": True, "message": ""}
    answer = client.get("/theme.js")
    assert answer.text == 'window.slipstreamTheme = "dark";\n'
    assert answer.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("body", [b"", b"purple", b"\xff\xfe", b"</script><script>", b"dark" * 100_000])
def test_anything_else_is_refused_in_a_sentence(client: TestClient, store: Store, body: bytes) -> None:
    answer = client.post("/theme", content=body)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("The theme must be one of system, light, dark")
    assert len(answer.text) < 500
    assert AppSettings(store).theme == "system"


def test_a_half_written_message_is_taken_for_its_conversation_and_nothing_else_is() -> None:
    kept: dict[int | None, str] = {}

    def save(conversation_id: int | None, text: str, *, sent: bool) -> None:
        if sent:
            return
        if len(text) > 10:
            raise ValueError("The message is too long.")
        kept[conversation_id] = text

    app = FastAPI()
    app.include_router(draft_route(save))
    client = TestClient(app)
    assert client.post("/draft/0", content="für den").status_code == 204
    assert client.post("/draft/7", content="").status_code == 204
    assert client.post("/draft/7?sent=1", content="sent").status_code == 204
    assert kept == {None: "für den", 7: ""}
    assert client.post("/draft/7", content=b"x" * (DRAFT_LIMIT + 10)).text == "The message is too long."
    for number in ("-1", str(2**60), "x"):
        assert client.post(f"/draft/{number}", content="a").status_code in (400, 422)
    assert kept == {None: "für den", 7: ""}

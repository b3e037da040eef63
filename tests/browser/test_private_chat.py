"""A private chat over a real engine: what is said in it is in no file, whatever ends it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_real_engine import await_end, limit, send

expect: Any = pytest.importorskip("playwright.sync_api").expect

SECRET = "quixotic"

pytestmark = pytest.mark.timeout(900)


def traces(home: Path) -> list[Path]:
    """The files of the home folder that hold the word, however it is written."""
    wanted = [SECRET.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]
    files = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    return [path for path in files if any(word in path.read_bytes().lower() for word in wanted)]


def test_nothing_of_a_private_chat_is_in_any_file(open_page: Callable[..., Any], start_server: Any) -> None:
    server = start_server(real=True)
    page = open_page(server)
    limit(page, tokens=12)
    page.keyboard.press("Alt+p")
    expect(page.locator("#header h1")).to_have_text("Private chat")
    expect(page.locator("#header .private-sign")).to_contain_text("kept in RAM alone")
    file = {"name": f"{SECRET} name.txt", "mimeType": "text/plain", "buffer": f"The {SECRET} file.".encode()}
    page.locator("#attachments input").set_input_files(file)
    expect(page.locator("#attachments li")).to_contain_text("tokens")
    with page.expect_request(lambda request: SECRET in (request.post_data or "")) as sent:
        send(page, f"A {SECRET} question")
    assert sent.value.post_data_json["data"][-1] == "yes"  # so that a server which has forgotten it keeps nothing
    await_end(page, 1)
    assert SECRET not in page.url
    assert SECRET not in page.title()

    page.locator("#chat .bot-row").hover()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#chat .bot-row .versions")).to_contain_text("2/2")
    page.locator("#chat .user-row").hover()
    page.locator("#chat .user-row").get_by_role("button", name="Edit").click()
    page.get_by_label("Edit the message").fill(f"Another {SECRET} question")
    page.get_by_label("Edit the message").press("Enter")
    expect(page.locator("#chat .user-row .versions")).to_contain_text("2/2")
    await_end(page, 1)
    page.locator("#box textarea").fill(f"Half a {SECRET}")
    exported = page.locator('#files [data-part="json"]').get_attribute("href")
    assert SECRET in server.request(exported.lstrip("/")).read().decode()
    assert traces(server.home) == []

    page.locator("#new-chat").click()
    expect(page.locator("#leave")).to_contain_text("kept nowhere")
    page.get_by_role("button", name="Stay").click()
    expect(page.locator("#header h1")).to_have_text("Private chat")
    page.locator("#new-chat").click()
    page.get_by_role("button", name="Leave and forget it").click()
    expect(page.locator("#header .private-sign")).to_be_hidden()
    expect(page.locator("#box textarea")).to_have_value("")
    expect(page.locator("#conversations")).to_contain_text("Your conversations appear here")
    expect(page.locator("#told")).to_have_text("")  # what a screen reader was told of it

    page.keyboard.press("Alt+p")
    assert page.evaluate("document.body.dataset.private") in ("soon", "yes")  # before the header says it
    expect(page.locator("#header .private-sign")).to_be_visible()
    send(page, f"One more {SECRET}")
    await_end(page, 1)
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    expect(page.locator("#live .sentence")).to_have_text(re.compile("^(?!Starting)"))
    assert asked == ["beforeunload"]
    expect(page.locator("#header h1")).to_have_text("New chat")
    server.stop()
    assert traces(server.home) == []

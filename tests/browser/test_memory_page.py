"""The memory on the page: a phrase looked up, something forgotten and brought back, a file out and in again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_page_frame import converse

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]


def memory_file(folder: Path, *titles: str) -> Path:
    conversations = [{"title": title, "texts": [f"{title} leaves the old station at five."]} for title in titles]
    path = folder / "memory.json"
    path.write_text(json.dumps({"format": "slipstream-memory", "version": 1, "conversations": conversations}))
    return path


def test_the_memory_is_looked_into_forgotten_and_brought_back(
    open_page: OpenPage, start_server: Any, tmp_path: Path
) -> None:
    page = open_page(start_server())
    page.get_by_role("button", name="Memory").click()
    dialog = page.get_by_role("dialog", name="Memory")
    expect(dialog).to_contain_text("Nothing is remembered yet")
    dialog.get_by_label("Memory to import").set_input_files(
        memory_file(tmp_path, "A <i>slow</i> train", "A fast train")
    )
    expect(dialog).to_contain_text("2 texts were added.")
    expect(dialog.locator("[data-part='held'] th")).to_contain_text(["A fast train", "A <i>slow</i> train"])
    dialog.get_by_role("searchbox", name="Look up a phrase").fill("the old")
    page.keyboard.press("Enter")
    expect(dialog.locator("[data-part='found'] ol li")).to_have_count(2)
    expect(dialog.locator("[data-part='found'] ol li").first).to_contain_text("station")
    expect(dialog.locator("[data-part='found'] ul li").first).to_contain_text("A fast train once")
    dialog.get_by_role("button", name="Forget A fast train").click()
    expect(dialog.locator("[data-part='held'] tr")).to_have_count(1)
    dialog.get_by_role("button", name="Undo").click()
    expect(dialog.locator("[data-part='held'] tr")).to_have_count(2)
    dialog.get_by_role("button", name="Forget all").click()
    expect(dialog.locator("[data-part='held'] tr")).to_have_count(2)  # it asks first
    dialog.get_by_role("button", name="Sure?").click()
    expect(dialog.locator("[data-part='held'] tr")).to_have_count(0)
    expect(page.locator("#memory input[type=checkbox]")).to_be_checked()  # that of the next chat
    dialog.get_by_role("button", name="Undo").click()
    expect(dialog.locator("[data-part='held'] tr")).to_have_count(2)
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Export").click()
    assert json.loads(download.value.path().read_text())["format"] == "slipstream-memory"
    (tmp_path / "memory.json").write_text('{"format": "other"}')
    dialog.get_by_label("Memory to import").set_input_files(tmp_path / "memory.json")
    expect(dialog).to_contain_text("it is no exported memory")


def test_the_open_chat_is_forgotten_with_its_switch(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    converse(page, "The old station")
    page.evaluate("document.querySelector('#answer .section-head button').click()")
    switch = page.locator("#memory input[type=checkbox]")
    switch.uncheck()
    switch.check()  # the scripted engine learns a chat when it is switched on
    page.get_by_role("button", name="Memory").click()
    dialog = page.get_by_role("dialog", name="Memory")
    dialog.get_by_role("button", name="This chat").click()
    expect(dialog.locator("[data-part='held'] tr")).to_have_count(1)
    dialog.get_by_role("button", name="Forget The old station").click()
    expect(dialog).to_contain_text("Nothing of this chat is in the memory")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(switch).not_to_be_checked()
    converse(page, "And the new one")

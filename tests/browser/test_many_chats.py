"""Many chats: several are chosen by pointer and by keys, labelled, archived, exported, deleted and brought back."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.test_page_frame import converse, listed

expect: Any = pytest.importorskip("playwright.sync_api").expect


def test_several_chats_are_chosen_labelled_archived_and_deleted(
    open_page: Callable[..., Any], start_server: Any
) -> None:
    server = start_server()
    page = open_page(server)
    for title in ("Marmalade", "Timetables", "Decorators"):
        converse(page, title)
    row = lambda title: page.locator(".conversation", has_text=title).locator(".conversation-open")  # noqa: E731
    act = lambda name: page.locator(f'.chosen-bar [data-act="{name}"]')  # noqa: E731

    row("Marmalade").click(modifiers=["Control"])
    row("Timetables").click(modifiers=["Shift"])
    expect(page.locator(".chosen-bar")).to_contain_text("2 chosen")
    act("label").click()
    page.get_by_label("New label").fill("home")
    page.get_by_label("New label").press("Enter")
    expect(row("Timetables")).to_contain_text("home")
    act("export").click()
    exported = page.locator(".chosen-bar a", has_text="JSON").get_attribute("href")
    told = json.load(server.request(exported.lstrip("/")))
    assert sorted(chat["title"] for chat in told["conversations"]) == ["Marmalade", "Timetables"]
    act("archive").click()
    expect(listed(page)).to_have_text(["Decorators"])
    page.get_by_role("button", name="Archived 2").click()
    expect(listed(page)).to_have_count(2)
    page.get_by_role("button", name="Undo").click()
    expect(listed(page)).to_have_count(3)  # an archive that is empty again is left
    page.get_by_role("button", name="home 2").click()
    expect(listed(page)).to_have_text(["Timetables", "Marmalade"])

    row("Timetables").focus()
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowDown")
    expect(row("Marmalade")).to_be_focused()
    expect(row("Marmalade")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Delete")
    expect(listed(page)).to_have_text(["Decorators"])  # nothing has the label any more
    expect(page.locator(".undo")).to_contain_text("2 chats were deleted")
    page.get_by_role("button", name="Undo").click()
    expect(listed(page)).to_have_count(3)
    expect(page.locator(".chosen-bar")).to_be_hidden()

    page.keyboard.press("Alt+m")  # as the model's name in the header does
    expect(page.locator("#model-name input")).to_be_focused()
    for section in ("#model", "#servers", "#get"):
        expect(page.locator(f"{section} .section-head button")).to_have_attribute("aria-expanded", "true")

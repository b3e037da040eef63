"""The list of conversations: search, rename, delete, undo, the trash, and what keys alone reach."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.test_page_frame import converse, listed

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]


def test_conversations_are_searched_renamed_deleted_and_brought_back(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    converse(page, "Marmalade recipes")
    converse(page, "Train timetables")
    expect(listed(page)).to_have_text(["Train timetables", "Marmalade recipes"])
    expect(page.locator("#conversations h3")).to_have_text("Today")

    page.locator("#search input, #search textarea").fill("marmal")
    expect(listed(page)).to_have_text(["Marmalade recipes"])
    page.locator("#search input, #search textarea").fill("nowhere")
    expect(page.locator("#conversations")).to_contain_text("Nothing found for “nowhere”.")
    page.locator("#search input, #search textarea").fill("")
    expect(listed(page)).to_have_count(2)

    page.locator(".conversation", has_text="Marmalade").hover()
    page.get_by_role("button", name="Rename Marmalade recipes").click()
    page.get_by_label("New title").fill("<b>Jam</b>")
    page.get_by_label("New title").press("Enter")
    expect(listed(page)).to_have_text(["Train timetables", "<b>Jam</b>"])

    page.locator(".conversation", has_text="Jam").locator(".conversation-open").click()
    expect(page.locator("#header h1")).to_have_text("<b>Jam</b>")
    expect(page.locator("#chat .user-row")).to_contain_text("Marmalade recipes")

    page.get_by_role("button", name="Delete <b>Jam</b>").click()
    expect(listed(page)).to_have_text(["Train timetables"])
    expect(page.locator(".welcome")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(listed(page)).to_have_count(2)
    expect(page.locator("#chat .user-row")).to_contain_text("Marmalade recipes")


def test_a_search_is_made_by_keys_alone_and_its_hit_is_marked(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    converse(page, "Marmalade recipes")
    page.locator("#chat .user-row").hover()
    page.locator("#chat .user-row").get_by_role("button", name="Edit").click()
    page.locator("#chat .user-row textarea").fill("Recipes for jam")
    page.keyboard.press("Enter")
    expect(page.locator("#chat .user-row .versions")).to_contain_text("2/2")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    converse(page, "Train timetables")
    search = page.locator("#search input, #search textarea")
    page.keyboard.press("Control+k")
    expect(search).to_be_focused()
    assert search.evaluate("field => getComputedStyle(field).outlineStyle") == "solid"
    page.keyboard.type("marmal")
    expect(listed(page)).to_have_count(1)
    page.keyboard.press("Enter")  # the hit is on the branch that was not shown
    expect(page.locator("#chat .user-row .said")).to_have_text("Marmalade recipes")
    page.wait_for_function("CSS.highlights.get('found')?.size > 0")
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(search).to_have_value("")
    expect(listed(page)).to_have_count(2)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".conversation-open").nth(1)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("button", name="Rename", exact=False).nth(1)).to_be_focused()
    assert page.locator("#conversations .conversation button:not([tabindex='-1'])").count() == 1
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    expect(search).to_be_focused()


def test_what_was_deleted_is_in_the_trash_and_goes_for_good_when_asked_twice(
    open_page: OpenPage, start_server: Any
) -> None:
    page = open_page(start_server())
    for title in ("Marmalade recipes", "Train timetables"):
        converse(page, title)
    for title in ("Marmalade recipes", "Train timetables"):
        page.locator(".conversation", has_text=title).hover()
        page.get_by_role("button", name=f"Delete {title}").click()
    expect(page.locator(".undo")).to_contain_text("“Train timetables” was deleted (1 more can be undone)")
    page.reload()  # nothing but the trash can bring them back now
    page.get_by_role("button", name="Trash").click()
    expect(listed(page)).to_have_count(2)
    expect(page.locator("#conversations")).to_contain_text("30 days left")
    page.get_by_role("button", name="Bring back Marmalade recipes").click()
    expect(listed(page)).to_have_text(["Marmalade recipes"])
    expect(page.locator("#chat .user-row")).to_contain_text("Marmalade recipes")
    page.get_by_role("button", name="Trash").click()
    page.get_by_role("button", name="Empty the trash").click()
    page.get_by_role("button", name="Sure?").click()
    expect(page.locator("#conversations")).to_contain_text("The trash is empty")
    page.get_by_role("button", name="Back", exact=False).click()
    expect(listed(page)).to_have_text(["Marmalade recipes"])

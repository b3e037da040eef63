"""What a person typed is still there: after another chat, after a reload, after the application was started again."""

import re
from collections.abc import Callable
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]


def open_section(page: Any, section: str) -> None:
    page.locator(f"#{section} .section-head button").click()


def test_a_half_written_message_and_a_system_prompt_outlive_another_chat_and_a_reload(
    open_page: OpenPage, start_server: Any
) -> None:
    server = start_server()
    page = open_page(server)
    box, new_chat = page.locator("#box textarea"), page.get_by_role("button", name="New chat", exact=True)
    open_section(page, "answer")
    page.locator("#system textarea").fill("Answer in rhymes.")
    box.fill("The first message")
    box.press("Enter")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    expect(box).to_have_value("")
    box.press_sequentially("half of the second")
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/queue/join*"):
        box.press("Alt+n")
    box.press_sequentially("for ano")  # before the server has answered
    held[0].continue_()
    expect(box).to_have_value("for ano")
    expect(page.locator("#system textarea")).to_have_value("")
    page.locator("#system textarea").fill("Answer in prose.")
    box.press_sequentially("ther chat")
    page.locator(".conversation-open").first.click()
    expect(box).to_have_value("half of the second")
    expect(page.locator("#system textarea")).to_have_value("Answer in rhymes.")
    page.reload()
    expect(box).to_have_value("half of the second")
    page.goto("about:blank")  # else it would come back by itself, with the chat that it shows
    server.kill()
    server.start_again()
    page.goto(server.url)
    expect(box).to_have_value("for another chat")
    expect(page.locator("#system textarea")).to_have_value("Answer in prose.")
    box.press("Enter")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    page.wait_for_timeout(2500)  # a late save would come in that time
    new_chat.click()
    expect(box).to_have_value("")
    page.reload()
    expect(page.locator("#live .sentence")).to_have_text(re.compile("ready"))
    expect(box).to_have_value("")


def test_a_slow_message_is_no_draft_and_one_too_long_is_said(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    box, drafts = page.locator("#box textarea"), []
    page.route("**/draft/*", lambda route: drafts.append(route))  # they arrive when the message was taken
    box.fill("A message")
    box.press("Enter")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    assert [route.request.post_data for route in drafts] == ["A message"]
    with page.expect_response("**/draft/*"):
        drafts[0].continue_()
    page.unroute("**/draft/*")
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()
    expect(box).to_have_value("")

    note = page.locator("#unkept")  # what is too long to be kept is said before it is lost
    box.fill("z" * 200_001)
    expect(note).to_contain_text("more than 200,000 characters: shorten it")
    box.fill("z")
    expect(note).to_have_count(0)
    page.reload()
    expect(box).to_have_value("z")


def test_a_preset_is_saved_used_deleted_and_brought_back(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    for section in ("answer", "presets"):
        open_section(page, section)
    system, name = page.locator("#system textarea"), page.locator("#preset-name input")
    system.fill("Answer in rhymes.")
    name.fill("Poet")
    page.locator("#preset-save").click()
    expect(page.locator("#preset-said")).to_contain_text("“Poet” holds this system prompt")
    system.fill("")
    page.locator("#preset-use").click()
    expect(system).to_have_value("Answer in rhymes.")
    page.locator("#preset-delete").click()
    expect(page.locator(".undo")).to_contain_text("“Poet” was deleted")
    page.locator("#preset-use").click()
    expect(page.get_by_text("type a name for one")).to_be_visible()
    page.locator(".undo [data-part=undo-do]").click()
    expect(page.locator(".undo")).to_be_hidden()
    name.click()
    page.get_by_role("option", name="Poet").click()
    page.locator("#preset-use").click()
    expect(page.locator("#preset-said")).to_contain_text("“Poet” holds for this chat")

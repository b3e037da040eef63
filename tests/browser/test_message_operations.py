"""What is done with single messages: delete with what follows, undo, branch, edit an answer, continue."""

import re
from collections.abc import Callable
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]


def say(page: Any, text: str, answers: int) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .note .figures")).to_have_count(answers)


def act(page: Any, number: int, name: str) -> None:
    note = page.locator("#chat .note").nth(number)
    note.hover()
    note.get_by_role("button", name=name).click()


def test_a_message_is_deleted_with_what_follows_and_comes_back(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    say(page, "The first question", 1)
    say(page, "The second question", 2)
    notes = page.locator("#chat .note")
    expect(notes).to_have_count(4)
    act(page, 2, "Delete this message and what follows")
    expect(notes).to_have_count(2)
    expect(page.locator("#live .sentence")).to_contain_text("Undo stands under the list of chats")
    expect(page.locator("#conversations .undo")).to_contain_text("“The end of The first question” was deleted.")
    page.locator("#conversations .undo [data-part=undo-do]").click()
    expect(notes).to_have_count(4)
    act(page, 1, "Delete this message and what follows")
    expect(notes).to_have_count(1)
    notes.get_by_role("button", name="Answer this message").click()
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    page.get_by_role("button", name="Trash").click()
    expect(page.locator(".conversation-title").first).to_have_text("The end of The first question")


def test_an_answer_is_edited_and_the_model_goes_on_from_it(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    say(page, "Tell me", 1)
    act(page, 1, "Edit")
    page.get_by_label("Edit the message").fill("My own <b>words</b> instead")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#chat .bot-row")).to_contain_text("My own <b>words</b> instead")
    expect(page.locator("#chat .note .versions")).to_contain_text("2/2")
    expect(page.locator("#chat .note .figures")).to_have_count(0)
    page.get_by_role("button", name="Continue this answer").click()
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    expect(page.locator("#chat .bot-row")).to_contain_text("My own <b>words</b> instead")
    page.get_by_role("button", name="Previous version").click()
    expect(page.locator("#chat .bot-row")).not_to_contain_text("My own")


def test_a_branch_goes_on_in_a_chat_of_its_own(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    say(page, "Where to?", 1)
    say(page, "And then?", 2)
    act(page, 1, "Branch: go on from here in a new chat")
    expect(page.locator("#header h1")).to_have_text("Where to? (branch)")
    expect(page.locator("#chat .note")).to_have_count(2)
    expect(page.locator(".conversation")).to_have_count(2)
    say(page, "Elsewhere", 2)
    page.locator(".conversation-open", has_text=re.compile(r"Where to\?$")).click()
    expect(page.locator("#chat .user-row").last).to_contain_text("And then?")

"""A long answer, which the chat draws in several rows, is one answer to a person."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.test_page_frame import converse

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]
WORDS = [f"windswept-harbour-{number}" for number in range(720)]
PARTS = [f"## Part {part}\n\nThe {part}th gull looks at {' '.join(WORDS[part::9])}." for part in range(9)]
TEXT = "\n\n".join(PARTS)


def test_it_is_copied_edited_tinted_and_found_as_one(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server(answers=[TEXT], loaded=True))
    converse(page, "Tell me of gulls")
    rows = page.locator("#chat .bot-row")
    expect(rows.nth(2)).to_be_attached()
    expect(page.locator('#chat [aria-label="The model"]')).to_have_count(1)
    expect(page.locator("#chat .bot-row .note")).to_have_count(1)
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.get_by_role("button", name="Copy").last.click()
    page.wait_for_function("window.copied")
    assert page.evaluate("window.copied") == TEXT

    page.get_by_role("button", name="Edit", exact=True).last.click()
    expect(page.get_by_label("Edit the message")).to_have_value(TEXT)
    expect(page.locator("#chat .bot-row .message:visible")).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#chat .bot-row .message").first).to_be_visible()

    page.get_by_role("button", name="Sources").click()
    expect(page.locator("#chat .origins")).to_have_count(1)
    expect(page.locator("#chat .bot-row .message:visible")).to_have_count(0)
    page.wait_for_function("document.querySelectorAll('.origins .block').length > 100")
    assert page.locator("#chat .origins").evaluate("it => it.textContent") == TEXT
    page.get_by_role("button", name="Sources").click()
    expect(page.locator("#chat .origins")).to_have_count(0)

    page.locator("#search textarea, #search input").fill('"1th gull"')
    expect(page.locator(".conversation-snippet")).to_contain_text("1th gull")
    page.locator("#conversations .conversation-open").first.click()
    found = page.locator("#chat .prose p", has_text=re.compile("The 1th gull looks"))
    expect(found).to_be_in_viewport()
    assert page.evaluate("[...CSS.highlights.get('found')].map(String)") == ["1th gull"]

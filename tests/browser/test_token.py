"""The page asks a browser that it does not know for its token."""

import re
from typing import Any

from playwright.sync_api import expect


def test_a_browser_without_the_token_is_asked_for_it_once(browser: Any, server: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780})
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_text("python launcher.py url")).to_be_visible()
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("That is not the token of this Slipstream.")).to_be_visible()
    page.get_by_label("Token").fill(server.token)
    page.keyboard.press("Enter")
    expect(page.locator("#box textarea")).to_be_visible(timeout=20_000)
    assert page.url == server.url
    again = context.new_page()
    again.goto(server.url)
    expect(again.locator("#live .sentence")).to_have_text(re.compile("ready"), timeout=20_000)
    assert page.evaluate("document.cookie") == ""  # no script reads it
    context.close()

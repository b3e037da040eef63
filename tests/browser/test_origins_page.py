"""Where words came from, on the page: the switch, tints and borders, the card by pointer and by keys, old answers."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.test_page_frame import converse

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]


def shown_text(page: Any) -> str:
    return str(page.locator(".origins").last.evaluate("node => node.textContent"))


def test_an_answer_is_tinted_by_its_sources_and_stays_the_same_text(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server(delay_s=0.02))
    switch = page.get_by_role("button", name="Sources")
    expect(switch).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#origins-legend")).to_be_hidden()
    converse(page, "The old station")
    expect(page.locator("#chat .bot-row h2")).to_have_text("You said")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#origins-legend")).to_contain_text("a trained drafter")
    expect(page.locator(".origins .from-other").first).to_be_visible()
    expect(page.locator("#chat .bot-row h2")).to_be_hidden()
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.get_by_role("button", name="Copy").last.click()
    page.wait_for_function("window.copied")
    assert shown_text(page) == page.evaluate("window.copied")
    styles = page.evaluate(
        "['prompt','chat','other','model','trained'].map((kind) => "
        "getComputedStyle(document.querySelector(`#origins-legend .from-${kind}`)).textDecorationStyle)"
    )
    assert sorted(styles) == ["dashed", "dotted", "double", "solid", "wavy"]
    page.reload()  # it is a setting, and old answers have it too
    expect(page.locator(".origins .block").first).to_be_visible()
    page.get_by_role("button", name="Sources").click()
    expect(page.locator("#chat .bot-row h2")).to_be_visible()
    expect(page.locator(".origins")).to_have_count(0)


def test_a_block_says_what_it_is_made_of_by_pointer_and_by_keys(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    converse(page, "The old station")
    page.get_by_role("button", name="Sources").click()
    block = page.locator(".origins .block.refused").first
    block.hover()
    card = page.get_by_role("tooltip")
    said = "tokens in one round of the model", "after 4 matching tokens", "97 %", "but not this"
    expect(card).to_have_text(re.compile(".*".join(said), re.DOTALL))
    page.locator("#chat .panel-wrap").evaluate("it => it.scrollBy(0, -1)")  # the text moves under a pointer that rests
    page.evaluate("document.querySelector('#new-chat').focus()")
    expect(card).to_be_visible()
    page.evaluate("document.querySelectorAll('[data-part=show-origins]').forEach(it => { it.click(); it.click(); })")
    expect(card).to_have_text(re.compile(".*".join(said), re.DOTALL))  # and is drawn anew
    page.locator("#header h1").hover()
    expect(card).to_be_hidden()
    assert page.locator(".origins [tabindex='0']").count() == 1  # one Tab stop an answer
    page.locator(".origins [tabindex='0']").focus()
    expect(card).to_be_visible()
    first = card.text_content()
    page.keyboard.press("ArrowRight")
    expect(card).not_to_have_text(first)
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "origin-card"
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    page.keyboard.press("End")
    expect(page.locator(".origins [tabindex]").last).to_be_focused()


def test_an_answer_is_tinted_while_it_is_written(open_page: OpenPage, start_server: Any) -> None:
    server = start_server(hold_after=24)
    page = open_page(server)
    page.get_by_role("button", name="Sources").click()
    page.locator("#box textarea").fill("hold the old station")
    page.keyboard.press("Enter")
    expect(page.locator(".origins .block").nth(4)).to_be_visible()
    early = shown_text(page)
    server.release()
    expect(page.locator("#chat .bot-row .note")).to_be_visible()
    expect(page.locator(".origins")).to_contain_text("all there is to say about it.")
    assert shown_text(page).startswith(early)

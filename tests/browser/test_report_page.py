"""The speed report on the page: figures, an answer replayed, a picture made in the browser."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.test_page_frame import converse

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]


def test_a_report_of_this_chat_and_of_all_and_its_picture(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    opener = page.get_by_role("button", name="Speed report")
    opener.click()
    dialog = page.get_by_role("dialog", name="Speed report")
    expect(dialog).to_contain_text("No answer with figures yet")
    expect(dialog.get_by_role("button", name="This chat")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    converse(page, "The <b>secret</b> station")
    converse(page, "And the new one")
    opener.click()
    dialog.get_by_role("button", name="This chat").click()
    expect(dialog.locator(".figure").first).to_contain_text("times as fast, est.")
    assert dialog.locator(".figure").first.get_attribute("data-gains") == "yes"
    expect(dialog).to_contain_text("over 1 answer")
    expect(dialog.get_by_role("table")).to_have_count(2)
    expect(dialog).to_contain_text("A round took 1.00 times as long as a plain one")
    dialog.get_by_role("button", name="All chats").click()
    expect(dialog).to_contain_text("over 2 answers")
    seek = dialog.get_by_role("slider", name="Time")
    seek.fill("1000")
    lanes = dialog.locator(".lane-row .count")
    expect(lanes.first).to_have_text(re.compile(r"^125 tokens"))
    expect(lanes.last).to_have_text(re.compile(r"^125 tokens"))
    dialog.get_by_role("button", name="Play").click()
    expect(dialog.get_by_role("button", name="Pause")).to_be_visible()
    dialog.get_by_role("button", name="Pause").click()
    for kind, begins in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as download:
            dialog.get_by_role("button", name=f"Save as {kind}").click()
        saved = download.value.path().read_bytes()
        assert saved.startswith(begins)
        assert b"secret" not in saved
        assert download.value.suggested_filename == f"slipstream-speed.{kind.lower()}"

"""A server in the engine's place, on the page: where words go, the server's own figures, and the way back."""

import re
from typing import Any

import pytest

from tests.remote_server import DONE, FakeServer, delta, end, event, running

expect: Any = pytest.importorskip("playwright.sync_api").expect

FIGURES = {"timings": {"predicted_n": 5, "draft_n": 12, "draft_n_accepted": 3}}
ANSWER = (event(delta("one two")), event(delta(" three")), event(end()), event({"choices": [], **FIGURES}), DONE)


def test_a_server_answers_and_the_page_says_where_words_go(open_page: Any, start_server: Any) -> None:
    fake = FakeServer(
        owner="llamacpp", models=("maker/a-model.gguf",), says={"/slots": [{"speculative": True}]}, answers=(ANSWER,)
    )
    server = start_server(servers=True)
    page = open_page(server)
    expect(page.locator("#header .where")).to_have_text("on this machine")
    page.locator("#servers button").first.click()
    address = page.locator("#server-address").locator("input, textarea")
    with running(fake) as url:
        address.fill("http://192.0.2.7:8080")
        page.locator("#server-connect").click()
        expect(page.locator("#server-said")).to_contain_text("Nothing has been sent yet")
        expect(page.locator("#server-confirm")).to_be_visible()
        address.fill(url)
        page.locator("#server-connect").click()
        expect(page.locator("#header .where")).to_have_text("to " + url.removeprefix("http://"))
        expect(page.locator("#header .model")).to_have_text("a-model")
        expect(page.locator("#server-confirm")).to_be_hidden()
        expect(page.locator("#header .badge")).to_contain_text("no certificate")
        page.locator("#box textarea").fill("a question")
        page.keyboard.press("Enter")
        expect(page.locator("#chat")).to_contain_text("one two three")
        expect(page.locator("#live .sentence")).to_contain_text("3 of 12 draft tokens accepted")
        expect(page.locator('#meters [data-part="served"]')).to_contain_text(
            "this answer: 3 of 12 draft tokens accepted"
        )
        page.locator("#compare").click()
        expect(page.locator(".toast-wrap")).to_contain_text("Compare is not available with a server")
        page.locator("#model button").first.click()
        page.locator("#model-name input").fill("starter")
        page.keyboard.press("Enter")
        page.locator("#model-load").click()
        expect(page.locator("#header .where")).to_have_text("on this machine")
        expect(page.locator("#header .badge")).to_contain_text(re.compile("same words"))

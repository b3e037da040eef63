"""What the page asks for is drawn, in whatever order the receipts, the steps and the end of the stream arrive."""

import re
from collections.abc import Callable
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]

LATE_END = """(() => {
  const ask = window.fetch;
  window.fetch = async (...call) => {
    const answer = await ask(...call);
    if (!answer.url.includes("/queue/data")) return answer;
    const late = new TransformStream({
      async transform(chunk, out) {
        if (new TextDecoder().decode(chunk).includes("close_stream")) {
          window.held = (window.held || 0) + 1;
          await new Promise((go) => setTimeout(go, 500));
        }
        out.enqueue(chunk);
      },
    });
    return new Response(answer.body.pipeThrough(late), answer);
  };
})()"""


def converse(page: Any, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .figures")).to_have_count(1)


def test_a_click_is_heard_whose_receipt_comes_after_its_steps(open_page: OpenPage, start_server: Any) -> None:
    server = start_server(hold_after=20)
    page = open_page(server)
    page.get_by_label("Drafting", exact=True).uncheck()
    converse(page, "The first one")
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()
    page.locator("#box textarea").fill("The second one, on hold")  # it keeps the stream open
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .bot-row")).to_contain_text("You said")

    def late(route: Any) -> None:
        receipt = route.fetch()
        page.wait_for_timeout(300)
        route.fulfill(response=receipt)

    page.route("**/queue/join*", late)
    for title, drafting in (("The first one", False), ("The second one, on hold", True)) * 2:
        page.locator(".conversation-open", has_text=title).click()
        expect(page.locator("#header h1")).to_have_text(title)
        expect(page.locator("#chat .user-row")).to_contain_text(title)
        expect(page.get_by_label("Drafting", exact=True)).to_be_checked(checked=drafting)
    page.unroute_all()
    server.release()
    expect(page.locator("#chat .figures")).to_have_count(1)


@pytest.fixture(scope="module")
def quick(start_shared_server: Callable[..., Any]) -> Any:
    return start_shared_server()


def test_an_open_page_holds_no_connection_but_for_what_it_must_forget(open_page: OpenPage, quick: Any) -> None:
    """A browser has six for all pages of an address: more pages than that would wait for each other."""
    page = open_page(quick)
    held: list[str] = []
    page.on("request", lambda request: held.append(request.url) if "/heartbeat/" in request.url else None)
    page.reload()
    expect(page.locator("#live .sentence")).to_have_text(re.compile("ready"))
    converse(page, "A question")
    assert held == []
    with page.expect_request(re.compile("/heartbeat/")):
        page.keyboard.press("Alt+p")


def test_a_click_is_heard_that_meets_the_end_of_the_stream(browser: Any, quick: Any) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(LATE_END)
    page.goto(f"{quick.url}?token={quick.token}")
    expect(page.locator("#live .sentence")).to_have_text(re.compile("ready"))
    for number in range(4):
        held = page.evaluate("window.held || 0")
        converse(page, f"Conversation {number}")
        page.wait_for_function("held => window.held > held", arg=held)
        page.get_by_role("button", name="New chat", exact=True).click()
        expect(page.locator(".welcome")).to_be_visible()
    context.close()

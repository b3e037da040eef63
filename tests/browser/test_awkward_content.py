"""What strains the page: images elsewhere, many conversations, wide tables, right-to-left text, little room."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.importing import import_into

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]
NARROW = {"width": 390, "height": 780}
ZOOMED = {"width": 720, "height": 450}  # a laptop's window at 200 %


def send(page: Any, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .figures")).to_have_count(1)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another server's address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_an_image_elsewhere_is_not_fetched(open_page: OpenPage, server: Any, elsewhere: tuple[str, list[str]]) -> None:
    address, asked = elsewhere
    page = open_page(server)
    send(page, f"![a picture]({address}/what-you-wrote.png)")
    expect(page.locator("#chat img").first).to_have_attribute("alt", "a picture")
    page.wait_for_function("[...document.querySelectorAll('#chat img')].every(image => image.complete)")
    assert asked == []


def test_search_and_export_stay_in_view_beside_many_conversations(open_page: OpenPage, start_server: Any) -> None:
    server = start_server()
    page = open_page(server)
    send(page, "One of many")
    file = json.load(server.request("export/all.json"))
    (one,) = file["conversations"]
    question, *rest = one["messages"]
    others = [one | {"messages": [question | {"text": f"Number {number}"}, *rest]} for number in range(40)]
    import_into(server.request, json.dumps(file | {"conversations": others}).encode())
    page.reload()
    expect(page.locator(".conversation")).to_have_count(41)
    for part in ("#search textarea, #search input", "#files a:visible >> nth=0", "#new-chat"):
        expect(page.locator(part)).to_be_in_viewport()
        assert page.locator(part).bounding_box()["height"] > 12
    page.locator(".conversation").last.scroll_into_view_if_needed()
    expect(page.locator("#search textarea, #search input")).to_be_in_viewport()


def test_wide_tables_scroll_and_keep_their_words(open_page: OpenPage, start_server: Any) -> None:
    row = "| " + " | ".join(["something"] * 9) + " |"
    page = open_page(start_server(answers=["\n".join([row, "|---" * 9 + "|", row])]), viewport=NARROW)
    send(page, "A table, please")
    table = page.locator("#chat .bot-row table")
    height = table.locator("tbody td").first.bounding_box()["height"]
    assert height < 60, "the word was broken into lines"
    assert table.evaluate("node => node.scrollWidth > node.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_right_to_left_text_runs_from_the_right(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    send(page, "שלום, מה שלומך?")
    mark = """node => { const text = node.firstChild, range = document.createRange();
      range.setStart(text, text.length - 1); range.setEnd(text, text.length);
      const whole = node.getBoundingClientRect(); return range.getBoundingClientRect().left - whole.left; }"""
    assert page.locator("#chat .user-row p").evaluate(mark) < 5, "the question mark must end the sentence, at the left"


def test_nothing_of_the_chat_shows_through_an_open_side(open_page: OpenPage, server: Any) -> None:
    page = open_page(server, viewport=NARROW)
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(page.locator("#left")).to_be_in_viewport(ratio=1)
    above = """() => { const mark = document.createElement('div');  // as Gradio's button that scrolls down
      mark.style = 'position: fixed; left: 100px; top: 300px; width: 40px; height: 40px; z-index: 999';
      document.querySelector('#chat').append(mark);
      return document.elementFromPoint(120, 320).closest('#left') !== null; }"""
    assert page.evaluate(above)


def test_a_comparison_can_be_read_where_there_is_little_room(open_page: OpenPage, server: Any) -> None:
    page = open_page(server, viewport=ZOOMED)
    page.locator("#box textarea").fill("Compare this")
    page.locator("#compare").click()
    expect(page.locator(".compare .card")).to_be_visible()
    answer = page.get_by_label("With drafting: answer")
    answer.scroll_into_view_if_needed()
    expect(answer).to_be_in_viewport(ratio=0.5)
    assert answer.bounding_box()["height"] > 80
    line = page.locator("#live").bounding_box()["y"]
    assert page.locator("#lanes").bounding_box()["y"] + page.locator("#lanes").bounding_box()["height"] <= line + 1


def test_prices_are_no_formulas(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    send(page, "It costs $5 and $6, with $x = y$.")
    question, answer = page.locator("#chat .user").first, page.locator("#chat .bot").first
    expect(answer).to_contain_text("It costs $5 and $6, with ")
    expect(answer.locator(".katex annotation").first).to_have_text("x = y")
    expect(question).to_contain_text("It costs $5 and $6, with $x = y$.")

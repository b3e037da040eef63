"""The page as an app: it can be installed, and tells of a long answer that has ended out of sight."""

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]

WATCHED = """() => {
    window.told = [];
    window.Notification = class {
        static permission = "default";
        static async requestPermission() { return (Notification.permission = "granted"); }
        constructor(title, { body }) { window.told.push(`${title}: ${body}`); }
        close() {}
    };
    let skipped = 0;
    const now = Date.now;
    Date.now = () => now() + skipped;
    window.skip = (seconds) => { skipped += 1000 * seconds; };
    Object.defineProperty(document, "hidden", { get: () => window.away === true });
    document.hasFocus = () => window.away !== true;
}"""


def test_the_page_can_be_installed(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    links = page.locator("link[rel=manifest]").evaluate_all("links => links.map((link) => link.href)")
    assert set(links) == {f"{server.url}manifest.json"}  # one is Gradio's own
    with urllib.request.urlopen(links[0]) as answer:  # as a browser does: without the page's cookie
        manifest = json.load(answer)
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    assert server.request(manifest["icons"][0]["src"].lstrip("/")).headers["content-type"] == "image/svg+xml"


def test_a_long_answer_that_ends_out_of_sight_is_told(open_page: OpenPage, start_server: Any) -> None:
    server = start_server(hold_after=3)
    page = open_page(server)
    page.evaluate(WATCHED)
    notify = page.get_by_role("button", name="Notify me")
    expect(notify).to_have_attribute("aria-pressed", "false")
    notify.click()
    expect(notify).to_have_attribute("aria-pressed", "true")
    for seconds, away, told in ((0, True, 0), (20, False, 0), (20, True, 1)):
        page.locator("#box textarea").fill("hold the line")
        page.locator("#box textarea").press("Enter")
        expect(page.locator("body")).to_have_attribute("data-running", "yes")
        page.evaluate("([seconds, away]) => { window.skip(seconds); window.away = away; }", [seconds, away])
        server.release()
        expect(page.locator("body")).to_have_attribute("data-running", "no")
        page.evaluate("window.away = false")
        assert page.evaluate("window.told") == ["The answer is here: hold the line"] * told

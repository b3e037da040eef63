"""axe-core runs over the page in its states and finds nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect
axe_package: Any = pytest.importorskip("axe_playwright_python")

OpenPage = Callable[..., Any]
AXE = Path(axe_package.__file__).with_name("axe.min.js")
SECTIONS = ("model", "get", "sampling", "answer", "presets", "programs")


def findings(page: Any) -> list[str]:
    """What axe finds, each with the elements."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")
    assert len(found["passes"]) > 10
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}" for one in found["violations"]]


@pytest.mark.parametrize(("width", "colours"), [(1400, "dark"), (390, "light")])
def test_no_state_of_a_chat_has_a_finding(
    open_page: OpenPage, server: Any, tmp_path: Path, width: int, colours: str
) -> None:
    page = open_page(server, viewport={"width": width, "height": 860}, color_scheme=colours)
    assert findings(page) == []
    (tmp_path / "notes.txt").write_text("Remember the milk.\n" * 20)
    page.locator("#attachments input").set_input_files(tmp_path / "notes.txt")
    expect(page.locator("#attachments li")).to_contain_text("tokens")
    assert findings(page) == []
    page.locator("#box textarea").fill("What is it?")
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    page.locator("#chat .attached summary").click()
    expect(page.locator("#chat .attached pre")).to_contain_text("Remember the milk.")
    assert findings(page) == []


def test_neither_settings_nor_a_comparison_nor_an_import_has_one(
    open_page: OpenPage, server: Any, tmp_path: Path
) -> None:
    page = open_page(server)
    for section in SECTIONS:
        page.locator(f"#{section} .section-head button").click()
    assert findings(page) == []
    page.locator("#box textarea").fill("Both ways")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#lanes [data-part=card]")).to_be_visible()
    assert findings(page) == []
    (tmp_path / "wrong.json").write_text("{}")
    page.locator('#files input[type="file"]').set_input_files(tmp_path / "wrong.json")
    expect(page.locator("#import")).to_contain_text("is no export of")
    assert findings(page) == []


def test_what_axe_should_find_is_found(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    page.evaluate("document.body.append(document.createElement('button'))")
    assert [one.partition(":")[0] for one in findings(page)] == ["button-name"]


@pytest.mark.parametrize(("width", "colours"), [(1400, "dark"), (390, "light")])
def test_neither_tinted_answers_nor_the_panels_have_one(
    open_page: OpenPage, start_server: Any, width: int, colours: str
) -> None:
    page = open_page(start_server(), viewport={"width": width, "height": 860}, color_scheme=colours)
    page.locator("#box textarea").fill("The old station")
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    page.evaluate("document.querySelector('[data-part=show-origins]').click()")
    page.locator(".origins .block").first.focus()
    expect(page.get_by_role("tooltip")).to_be_visible()
    assert findings(page) == []
    for panel, name in (("report", "Speed report"), ("memory-view", "Memory")):
        page.evaluate(f"document.querySelector('[data-panel={panel}]').click()")
        dialog = page.get_by_role("dialog", name=name)
        expect(dialog.get_by_role("heading", level=3).first).to_be_visible()
        dialog.get_by_role("button", name="All chats").click()
        assert findings(page) == []
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()

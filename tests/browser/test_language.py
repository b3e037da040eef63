"""Another language is one file: with it no English word of the page's own is left in sight."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.texts import ENGLISH, MONTHS, plural_form

expect: Any = pytest.importorskip("playwright.sync_api").expect

INNERMOST = re.compile("⟦[^⟦⟧]*⟧")
# No texts of the page: names, formats, keys, what the engine says, and Gradio's own words, which follow the browser.
NAMES = re.compile(
    r"Slipstream|smollm2|auto|none|int8|nf4|b?float(16|32)|https?://\S+|Alt \+ [NPM]|This is a scripted engine\.|"
    r"Repeat this\.|"
    r"number input for|range slider for|Reset to default value|chatbot conversation|Scroll down"
)
SEEN = """() => {
  const found = [];
  const seen = (node) => !node.closest("script, style, .message-row") &&
    node.checkVisibility({ visibilityProperty: true });
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement, whole = parent.closest(".welcome p, .welcome button");
    if (node.data.trim() && seen(parent)) found.push(whole ? whole.innerText : node.data);
  }
  for (const name of ["aria-label", "title", "placeholder"]) {
    for (const node of document.querySelectorAll(`[${name}]`)) if (seen(node)) found.push(node.getAttribute(name));
  }
  for (const note of document.querySelectorAll(".message-row .note")) found.push(note.innerText);
  return found;
}"""


def english_in_sight(page: Any) -> set[str]:
    """Words that stand in no brackets."""
    left = set()
    for text in page.evaluate(SEEN):
        rest = text
        while INNERMOST.search(rest):
            rest = INNERMOST.sub("", rest)
        if re.search(r"[A-Za-z]{2}", NAMES.sub("", rest)):
            left.add(text)
    return left


def bracketed(text: str) -> str:
    return '"⟦' + text.replace("\\", "\\\\").replace('"', '\\"') + '⟧"'


def pseudo_language() -> str:
    """All texts in brackets, as a file."""
    lines = ['[language]\ncode = "en-x-pseudo"\nthousands = "."\ndecimal = ","']
    for key, text in ENGLISH.texts.items():
        table, name = key.split(".")
        if key in MONTHS:
            value = '"' + ", ".join(f"⟦{month.strip()}⟧" for month in str(text).split(",")) + '"'
        elif isinstance(text, str):
            value = bracketed(text)
        else:
            value = "{ " + ", ".join(f"{form} = {bracketed(words)}" for form, words in text.items()) + " }"
        lines.append(f"[{table}]\n{name} = {value}" if f"[{table}]" not in "\n".join(lines) else f"{name} = {value}")
    return "\n".join(lines) + "\n"


def test_a_file_of_texts_reaches_every_place(
    start_server: Callable[..., Any], open_page: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "pseudo.toml"
    file.write_text(pseudo_language())
    page = open_page(start_server(language=str(file), delay_s=0.0))
    expect(page.locator("html")).to_have_attribute("lang", "en-x-pseudo")
    expect(page.get_by_role("button", name="⟦New chat⟧")).to_be_visible()
    for head in page.locator(".section-head button").all():
        head.click()
        expect(head).to_have_attribute("aria-expanded", "true")
    assert not english_in_sight(page)

    page.locator("#box textarea").fill("Repeat this.")
    page.keyboard.press("Enter")
    expect(page.locator("#chat .note .figures")).to_contain_text("⟦")
    expect(page.locator("#live .sentence")).to_contain_text("⟦done⟧")
    page.locator("[data-part='show-origins']").click()
    expect(page.locator("#origins-legend")).to_be_visible()
    assert not english_in_sight(page)
    for panel in ("report", "memory-view"):
        page.locator(f"[data-panel='{panel}']").click()
        expect(page.locator(f"#{panel} h3").first).to_contain_text("⟦")
        if panel == "memory-view":
            drawn = f"#{panel} [data-part='held'] tr, #{panel} [data-part='said']:not(:empty)"
            expect(page.locator(drawn).first).to_be_attached()
        assert not english_in_sight(page)
        page.keyboard.press("Escape")
    page.locator(".conversation .row-action").nth(1).click(force=True)
    expect(page.locator("#conversations .undo")).to_contain_text("⟦Undo⟧")
    page.locator("#files [data-part='trash']").click()
    expect(page.locator("[data-part='trash-head']")).to_be_visible()
    page.locator("#header h1").click()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    assert not english_in_sight(page)

    counts = list(range(130))
    for code in re.findall(r"\S+", "en de fr pt pt-PT ru pl cs hr is lt lv sl ro he ar mt ga gd cy fil hi ja"):
        forms = page.evaluate(
            "([code, counts]) => counts.map((n) => new Intl.PluralRules(code).select(n))", [code, counts]
        )
        assert forms == [plural_form(code, count) for count in counts], code

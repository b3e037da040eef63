"""What the page draws of messages: the characters that were written, code and formulas, and the exact text to copy."""

import json
from collections.abc import Callable
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]

TYPED = (
    'Why does my page not show <div class="a">hello</div> and List<String> items?\n  if a<b and c>d: __init__ ${1+1}'
)
ANSWER = """<details>
<summary>Hidden</summary>
behind it
</details>
Put <!-- note --> above <div class="a">, or <script>alert(1)</script>. Pay $5 or $6 in US ($) or Canadian (C$) dollars.

So $x = 5 < 6$ holds, and

$$
\\begin{aligned} a &= b \\end{aligned}
$$

- ```sh
  cp ${A}/${B} .
  ```
- [x] It takes 3~5 days.

```python
def f(a_b: list[str]) -> None:
    print("<b>", a_b)
```"""


@pytest.fixture(scope="module")
def talking(start_shared_server: Callable[..., Any]) -> Any:
    return start_shared_server(answers=[ANSWER])


def converse(page: Any, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .figures")).to_have_count(1)


def test_words_that_look_like_tags_are_shown(open_page: OpenPage, talking: Any) -> None:
    page = open_page(talking)
    converse(page, TYPED)
    assert page.locator("#chat .user-row .said").evaluate("node => node.textContent") == TYPED
    answer = page.locator("#chat .bot-row .prose")
    expect(answer.locator("p").first).to_have_text(ANSWER.split("\n\n")[0], use_inner_text=False)
    expect(answer.locator("ul pre code")).to_have_text("cp ${A}/${B} .")
    expect(answer.locator("ul")).to_contain_text("☑ It takes 3~5 days.")
    expect(answer.locator(".katex annotation")).to_have_text(["x = 5 < 6", "\\begin{aligned} a &= b \\end{aligned}"])
    code = answer.locator("pre code").last
    expect(code).to_have_text(ANSWER.split("```python\n")[1].removesuffix("\n```"))
    expect(code.locator(".token").first).to_be_visible()


def test_copy_gives_the_exact_text(open_page: OpenPage, talking: Any) -> None:
    page = open_page(talking)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    converse(page, TYPED)
    for row, text in ((".user-row", TYPED), (".bot-row", ANSWER)):
        page.locator(f"#chat {row}").hover()
        page.locator(f"#chat {row}").get_by_role("button", name="Copy", exact=True).click()
        expect(page.locator(f"#chat {row} .acts")).to_contain_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_has_colours_that_can_be_read(scheme: str, open_page: OpenPage, talking: Any) -> None:
    page = open_page(talking, color_scheme=scheme)
    converse(page, "Show me code")
    for kind in ("keyword", "string"):  # colours come after the words
        expect(page.locator(f"#chat .bot-row pre .token.{kind}").first).to_be_visible()
    colours = page.evaluate(
        """() => {
            const pre = document.querySelector("#chat .bot-row pre:has(.keyword)");
            const colour = element => getComputedStyle(element).color;
            const [word, text, rest] = [".keyword", ".string", "code"].map(name => colour(pre.querySelector(name)));
            return { word, text, rest, behind: getComputedStyle(pre).backgroundColor };
        }"""
    )
    assert len(set(colours.values())) == 4
    behind = luminance(colours["behind"])
    for name in ("word", "text", "rest"):
        low, high = sorted((luminance(colours[name]), behind))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name


def luminance(colour: str) -> float:
    """Of `rgb(r, g, b)`, as WCAG defines it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_reasoning_is_folded_only_at_the_beginning(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(
        start_server(answers=["I weigh it.\n</think>\n\nUse `<think>`.\n\n<think>\nThis is text.\n</think>"])
    )
    converse(page, "How?")
    expect(page.locator("#chat .thought-group")).to_contain_text("Reasoning")
    answer = page.locator("#chat .bot-row .prose").last
    expect(answer.locator("code")).to_have_text("<think>")
    expect(answer).to_contain_text("<think>\nThis is text.\n</think>")


def test_an_answer_of_bare_code_is_shown_as_code(open_page: OpenPage, start_server: Any) -> None:
    code = (
        "import re\n\ndef __f__(a_b, c_d):\n    if a_b:\n        return re.sub('*', '_', c_d)\n    return a_b * c_d * 2"
    )
    page = open_page(start_server(answers=[code]))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    converse(page, "Rename it")
    expect(page.locator("#chat .bot-row pre code")).to_have_text(code, use_inner_text=True)
    page.locator("#chat .bot-row").get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#chat .bot-row .acts")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == code


def test_the_editor_has_keys_and_gives_back_what_was_typed(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    converse(page, TYPED)
    user = page.locator("#chat .user-row")
    user.hover()
    user.get_by_role("button", name="Edit").click()
    editor = user.get_by_label("Edit the message")
    expect(editor).to_be_focused()
    expect(editor).to_have_value(TYPED)
    editor.press("Escape")
    expect(editor).to_have_count(0)
    expect(user.get_by_role("button", name="Edit")).to_be_focused()
    page.keyboard.press("Enter")
    editor.fill("Another wording")
    editor.press("Shift+Enter")
    expect(editor).to_have_value("Another wording\n")
    editor.press("Enter")
    expect(user.locator(".versions")).to_contain_text("2/2")
    expect(user.locator(".said")).to_have_text("Another wording")


COMPOSED = """(field, key) => field.dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, isComposing: true }))"""


def test_keys_of_a_composition_belong_to_the_input_method(open_page: OpenPage, start_server: Any) -> None:
    server = start_server(hold_after=30)
    page = open_page(server)
    box = page.locator("#box textarea")
    box.fill("half a wo")
    box.evaluate(COMPOSED, "Enter")
    box.fill("hold this")
    expect(page.locator("#chat .user-row")).to_have_count(0)
    box.press("Enter")
    expect(page.locator("#chat .bot-row")).to_contain_text("You said")
    box.evaluate(COMPOSED, "Escape")
    page.get_by_role("button", name="Rename hold this").click()
    title = page.get_by_label("New title")
    for key in ("Enter", "Escape"):
        title.evaluate(COMPOSED, key)
        expect(title).to_be_focused()
    title.press("Escape")
    expect(page.locator("#stop")).to_be_visible()
    server.release()
    expect(page.locator("#chat .figures")).to_have_count(1)
    expect(page.locator("#chat .remark")).to_have_count(0)
    exported = json.load(server.request("export/all.json"))
    assert [message["role"] for message in exported["conversations"][0]["messages"]] == ["user", "assistant"]

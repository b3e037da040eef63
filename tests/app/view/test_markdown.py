"""How messages are drawn: every visible character is there, code is untouched, and what grows looks like the whole."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange.bare_code import bare_code
from app.view.markdown import PIECE, Markdown, markdown_html, said

WORDS = st.sampled_from(
    ["alpha", "beta_gamma", "<div class='a'>", "List<String>", "</details>", "<script>", "<!-- x -->", "a<b", "c>d",
     "&lt;", "&amp", "__init__", "*.py", "${A}/${B}", "$5", "$$", "3~5", "[x]: y", "![i](j)", "`", "```", "~~~",
     "# one", "- ", "1. ", "> ", "| a | b |", "|---|---|",
     "    ", "\t", "\n", "\n\n", "\\", "<br>", "<b>", "\ue000", "שלום"]
)  # fmt: skip
MESSAGES = st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=25).map(" ".join)
SHOWN = re.compile(r"[A-Za-z<&א-ת]")  # what Markdown itself is never written with, but for links, and tags on the list


def finished(text: str) -> str:
    return "\n\n".join(Markdown().finished(text))


def visible(sent: str) -> str:
    """The characters that a page shows for what the chat is sent: fences as they are, the rest as HTML."""
    pieces, fence = [], ""
    for line in sent.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if fence:
            if line == fence:
                fence = ""
            else:
                pieces.append(line)
        elif ticks:
            fence = ticks[0]
        else:
            pieces.append(html.unescape(re.sub(r"<[^>]*>", "", line)))
    assert not fence, "a fence is not closed"
    return "\n".join(pieces)


@given(MESSAGES)
def test_every_character_that_a_person_typed_is_shown(text: str) -> None:
    text = text.replace("\r", "").replace("\0", "")
    shown = visible(said(text))
    if "```" not in text and "~~~" not in text:
        assert shown == re.sub(r"\A(?:[^\S\n]*\n)+", "", text).rstrip()
    assert sorted(SHOWN.findall(shown)) == sorted(SHOWN.findall(text))


@given(MESSAGES)
def test_every_visible_character_of_an_answer_is_shown(text: str) -> None:
    text = text.replace("](", "] (").replace("<br>", "").replace("\r", "").replace("\0", "")
    shown = visible(finished(text))
    assert sorted(SHOWN.findall(shown)) == sorted(SHOWN.findall(text))


@given(MESSAGES, st.integers(1, 9))
def test_an_answer_that_grows_looks_like_the_whole(text: str, step: int) -> None:
    markdown = Markdown()
    for end in range(0, len(text), step):
        assert markdown.growing(text[:end]) == Markdown().finished(text[:end])
    assert markdown.growing(text) == markdown.finished(text)


def test_a_long_answer_is_drawn_in_pieces_of_which_only_the_last_one_changes_as_it_grows() -> None:
    text = "\n\n".join(f"## Part {part}\n\n{'some words and more ' * 40}" for part in range(12))
    whole = Markdown().finished(text)
    assert len(whole) > 2
    assert all(len(piece) < 2 * PIECE for piece in whole)
    markdown, before = Markdown(), ("",)
    for end in range(0, len(text), 50):
        now = markdown.growing(text[:end])
        assert now[: len(before) - 1] == before[:-1]
        before = now
    assert markdown.growing(text) == whole


@pytest.mark.parametrize("before", ["Look:\n\n```python\n", "```\n", "~~~a b\n", ""])
def test_long_code_is_drawn_in_pieces_while_it_grows_and_as_one_in_the_end(before: str) -> None:
    code = "\n".join(f"def f{line}(x):\n    return [x, {line}]" for line in range(400))
    text, markdown, drawn = before + code, Markdown(), ("",)
    for end in range(len(before), len(text), 400):
        now = markdown.growing(text[:end])
        if len(now) >= len(drawn) > 1:
            assert now[: len(drawn) - 1] == drawn[:-1]
        drawn = now
    assert len(drawn) > 3
    assert all(len(piece) < 2 * PIECE for piece in drawn)
    assert visible("\n\n".join(markdown.growing(text))).split() == visible(finished(text)).split()
    assert len(Markdown().finished(text)) == 1


def test_empty_lines_fill_a_piece_too() -> None:
    assert all(len(piece) < 2 * PIECE for piece in Markdown().growing("```\n" + "\n" * 3 * PIECE))


@given(st.text(alphabet="abc <>&$`{}_*#\n\t\\~", max_size=200))
def test_code_is_shown_as_it_was_written(code: str) -> None:
    ticks = "`" * (3 + max((len(run) for run in re.findall("`+", code)), default=0))
    shown = visible(finished(f"Before\n\n{ticks}\n{code}\n{ticks}\n\nAfter"))
    assert shown.removeprefix("Before\n\n").removesuffix("\n\nAfter").strip("\n") == code.strip("\n")


def test_tags_are_text_but_for_a_few() -> None:
    drawn = finished("<details>\nx<br>y H<sub>2</sub>O </sub> <kbd>\n</details>")
    assert drawn == (
        "<p>&lt;details&gt;&#10;x<br>y H&lt;sub&gt;2&lt;/sub&gt;O &lt;/sub&gt; &lt;kbd&gt;&#10;&lt;/details&gt;</p>"
    )
    assert finished("H<sub>2</sub>O") == "<p>H<sub>2</sub>O</p>"


@pytest.mark.parametrize("marker", ["- ", "> ", "1. ", "- > "])
def test_what_stands_in_many_lists_or_quotes_is_shown(marker: str) -> None:
    for times in (9, 10, 11, 19, 20, 21, 39, 40, 41, 200):
        assert "alpha\nbeta" in visible(finished(f"{marker * times}alpha\nbeta"))


def test_tasks_tables_and_addresses() -> None:
    assert "<li>☑ done</li>" in finished("- [x] done\n- [ ] open")
    assert 'style="text-align:right"' in finished("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert finished("See http://a.b/c.") == '<p>See <a href="http://a.b/c">http://a.b/c</a>.</p>'
    for scheme in (
        "javascript",
        "script",
        "search-ms",
        "ms-msdt",
        "file",
    ):  # what a browser runs, or gives to a program
        assert finished(f"[x]({scheme}:a)") == f"<p>[x]({scheme}:a)</p>"
    assert finished("[x](#part)") == '<p><a href="#part">x</a></p>'


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("def f(my_list):\n    return max(my_list)", "python"),
        ("import re\n\nfor x in y:\n    print(__name__)\n    if x", "python"),
        ("x = 1\ny = x", "python"),
        ('[\n  {"a_b": 1}\n]', "json"),
        ("Hello", None),
        ("Yes.\nNo.", None),
        ("Note: this\nThat: it", None),
        ("Use `f`:\n\n    x = 1", None),
        ("[1] a source", None),
        ("", None),
    ],
)
def test_an_answer_of_bare_code_is_recognised(text: str, language: str | None) -> None:
    assert bare_code(text) == language


def test_beside_the_chat_an_answer_is_html_of_its_own() -> None:
    drawn = markdown_html("# A\n\n- [x] `a<b`\n\n```python\nx = 1\n```\n\n<script>alert(1)</script> costs $x^2$")
    assert "<h1>A</h1>" in drawn
    assert "☑ <code>a&lt;b</code>" in drawn
    assert "<pre><code>x = 1\n</code></pre>" in drawn
    assert "<script" not in drawn
    assert "$x^2$" in drawn
    assert markdown_html("def f():\n    return 1") == "<pre><code>def f():\n    return 1</code></pre>"

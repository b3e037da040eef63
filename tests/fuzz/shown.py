"""What the page draws of a message: no active element, and every character that a person can see."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

from hypothesis import strategies as st

from app.view.markdown import markdown_html, said
from tests.app.view.test_markdown import MESSAGES, SHOWN, finished, visible
from tests.fuzz.boundary import Boundary, Check
from tests.fuzz.variants import varied

ALLOWED = frozenset(
    ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "em", "strong", "s", "ul", "ol", "li", "blockquote", "table",
     "thead", "tbody", "tr", "th", "td", "pre", "code", "a", "sub", "sup", "kbd", "img"]
)  # fmt: skip
ATTRIBUTES = {"class", "href", "start", "style", "src", "alt", "title"}
CLASSES = re.compile(r"(said|language)|language-[\w+#.-]*")
LINKS = re.compile(r"(?i)<(?=http|mailto:|[\w.!#$%&'*+/=?^`{|}~-]+@)")  # what stands in <> is shown without them
LATEX = st.sampled_from(
    ["$x$", "$$\\frac{1}{2}$$", "\\(a_b\\)", "\\[\\href{javascript:alert(1)}{x}\\]",
     "$\\includegraphics{http://a/b}$", "$\\htmlData{x=1}{y}$", "\\begin{align}a&b\\end{align}",
     "$<img src=x onerror=alert(1)>$", "[x](javascript:alert(1))", "[x](data:text/html,<script>)",
     "![x](http://a/b.png)", "<a href=javascript:alert(1)>", "<svg onload=alert(1)>", "<iframe srcdoc='<script>'>",
     "[x](  jAvAsCrIpT:alert(1))", "<http://a.example>", "[x](<vbscript:y>)", "<style>@import", "`<script>`",
     "```html\n<script>alert(1)</script>\n```", "[a]: javascript:alert(1)", "[a][a]", "\x00", "\r",
     '![a](x" onerror="alert(1))', "[x](http://a 't\" onclick=\"alert(1)')", "&#106;avascript:", "</p><script>"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(LATEX, MESSAGES, st.text(max_size=20)), max_size=6).map("\n".join)


class _Elements(HTMLParser):
    """Refuses every element and attribute that could do something."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, f"<{tag}>"
        for name, value in attrs:
            assert name in ATTRIBUTES, f"{name} of <{tag}>"
            if name in ("href", "src"):
                scheme = re.match(r"[\x00-\x20]*([a-zA-Z][a-zA-Z0-9+.\x00-\x20-]*):", value or "")
                assert scheme is None or re.sub(r"\s", "", scheme[1]).lower() in ("http", "https", "mailto"), value
            elif name == "style":
                assert re.fullmatch(r"text-align:\s?(left|right|center)", value or ""), value
            elif name == "class":
                assert CLASSES.fullmatch(value or ""), value


def _outside_fences(sent: str) -> str:
    lines, fence = [], ""
    for line in sent.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks[0]
        else:
            lines.append(line)
    return "\n".join(lines)


@contextmanager
def drawn() -> Iterator[Check]:
    def check(text: str) -> None:
        person, answer = said(text), finished(text)
        for sent in (_outside_fences(person), _outside_fences(answer), markdown_html(text)):
            parser = _Elements()
            parser.feed(sent)
            parser.close()
        plain = text.replace("\r", "").replace("\0", "")
        assert sorted(SHOWN.findall(visible(said(plain)))) == sorted(SHOWN.findall(plain))
        plain = LINKS.sub("< ", plain.replace("](", "] (").replace("<br>", ""))
        assert sorted(SHOWN.findall(visible(finished(plain)))) == sorted(SHOWN.findall(plain))

    yield check


DRAWN = (Boundary("markdown", TEXTS, drawn, vary=varied),)

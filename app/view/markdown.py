"""Messages as the chat draws them: what is not Markdown is shown as the characters that were written. Pure.

One parser's tokens decide what is code, a formula or text. The chat is Gradio's, which parses what it gets once more.
So each block is sent as one line of HTML, which its parser lets through, and code as a fence, which it colours. The
stored text is never changed: copying and editing take that.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from app.exchange.bare_code import bare_code
from app.view.formulas import formulas

# What Gradio finds formulas by: two characters that no text holds (Unicode's private ones), and one for the kind.
INLINE = "\ue0f0(", ")\ue0f0"
DISPLAY = "\ue0f1[", "]\ue0f1"

KEPT = 1000  # messages whose drawing is kept
DEEPEST = 40  # levels: a quote is one, a list two
PIECE = 3000  # characters: the chat draws a long answer in pieces, and anew only the last of one that grows
_PAIRS = ("sub", "sup", "kbd")  # tags that are shown as what they mean; beside these, <br>
_ADDRESS = re.compile(r"https?://[^\s<>\"']*[^\s<>\"'.,;:!?)\]}]")
_LONG_FENCE = re.compile(r"(?:(<p class=\"language\">[^\n]*</p>)\n\n)?(`{3,})([^\n]*)\n(.*)\n\2", re.DOTALL)
_GOES_ON = '<p class="goes-on"></p>'  # before a fence that goes on with the one of the piece above (page.css)
_SCHEME = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):")  # of a link; what others open is a program of this machine
_TASK = re.compile(r"\[([ xX])\] ")


def _newline(state: StateInline, silent: bool) -> bool:
    """A line break as it was written: the spaces after it stay, because models indent without fences, too."""
    if state.src[state.pos] != "\n":
        return False
    if not silent:
        state.push("softbreak", "br", 0)
    state.pos += 1
    return True


def _too_deep(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """Lists and quotes in many others are text as it was written; the parser itself would leave them out."""
    if state.level < DEEPEST:
        return False
    if not silent:
        state.push("paragraph_open", "p", 1)
        inline = state.push("inline", "", 0)
        inline.content = state.getLines(first, end, state.blkIndent, False).strip()
        inline.map, inline.children = [first, end], []
        state.push("paragraph_close", "p", -1)
        state.line = end
    return True


def _inside_link(before: Sequence[Token]) -> bool:
    return next((t.nesting == 1 for t in reversed(before) if t.type in ("link_open", "link_close")), False)


def _label(info: str) -> str:
    return f'<p class="language">{escapeHtml(info.strip())}</p>' if info.strip() else ""


class _Renderer(RendererHTML):
    """Tokens as HTML; no text becomes a tag."""

    def text(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        content = tokens[idx].content
        if "://" not in content or _inside_link(tokens[:idx]):
            return escapeHtml(content)
        pieces, at = [], 0
        for found in _ADDRESS.finditer(content):
            address = escapeHtml(found[0])
            pieces += [escapeHtml(content[at : found.start()]), f'<a href="{address}">{address}</a>']
            at = found.end()
        return "".join([*pieces, escapeHtml(content[at:])])

    def html_inline(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        tag = tokens[idx].content.lower()
        if re.fullmatch(r"<br\s*/?>", tag):
            return "<br>"
        for name in _PAIRS:
            if tag in (f"<{name}>", f"</{name}>"):
                pair = [t.content.lower() for t in tokens if t.content.lower() in (f"<{name}>", f"</{name}>")]
                opens_first = len(pair) % 2 == 0 and all(t == f"<{'/' * (at % 2)}{name}>" for at, t in enumerate(pair))
                return tag if opens_first else escapeHtml(tokens[idx].content)
        return escapeHtml(tokens[idx].content)

    def fence(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        return f"{_label(tokens[idx].info)}<pre><code>{escapeHtml(tokens[idx].content)}</code></pre>"

    def formula(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        left, right = INLINE if tokens[idx].markup in ("$", "\\(") else DISPLAY
        return left + escapeHtml(tokens[idx].content) + right

    def formula_block(self, tokens: Sequence[Token], idx: int, options: object, env: object) -> str:
        return f"<p>{self.formula(tokens, idx, options, env)}</p>"


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Whether it is a link; else its characters are shown."""
        scheme = _SCHEME.match(url)
        return scheme is None or scheme[1].lower() in ("http", "https", "mailto")


def _parser() -> MarkdownIt:
    """CommonMark with tables and strikethrough; entities and link definitions stay text, since they would vanish."""
    parser = _Markdown("commonmark", {"maxNesting": 2 * DEEPEST}, renderer_cls=_Renderer).enable(
        ["table", "strikethrough"]
    )
    parser.disable(["html_block", "reference", "entity"])
    parser.inline.ruler.at("newline", _newline)
    parser.block.ruler.before("table", "too_deep", _too_deep)
    formulas(parser)
    return parser


_MARKDOWN = _parser()
_FENCES = MarkdownIt("zero").enable("fence")


def _one_line(markup: str) -> str:
    return markup.strip("\n").replace("\n", "&#10;")


def _fence(code: str, language: str) -> str:
    """The code in a fence that nothing in it closes."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return f"{ticks}{language}\n{code.removesuffix(chr(10))}\n{ticks}"


def _code(token: Token) -> str:
    """A block of code; what stands behind its fence is shown above it."""
    info = token.info.strip()
    language = info if re.fullmatch(r"[0-9A-Za-z+#.-]*", info) else ""
    return "\n\n".join(filter(None, [_label(info), _fence(token.content, language)]))


def _tick(tokens: Sequence[Token]) -> None:
    """Show the box of a task as a box."""
    for before, token in pairwise(token for token in tokens if token.type != "paragraph_open"):
        task = _TASK.match(token.content) if before.type == "list_item_open" and token.type == "inline" else None
        if task is not None and token.children and token.children[0].type == "text":
            box = "☐ " if task[1] == " " else "☑ "
            token.children[0].content = token.children[0].content.replace(task[0], box, 1)


def _blocks(text: str) -> list[tuple[int, str]]:
    """The blocks at the top, each with its first line's number, as Gradio's chat takes them."""
    tokens = _MARKDOWN.parse(text)
    _tick(tokens)
    found, start = [], 0
    for at, token in enumerate(tokens):
        if token.level == 0 and token.nesting >= 0:
            start = at
        if token.level == 0 and token.nesting <= 0:
            first = tokens[start]
            if first.type in ("fence", "code_block"):
                drawn = _code(first)
            else:
                drawn = _one_line(_MARKDOWN.renderer.render(tokens[start : at + 1], _MARKDOWN.options, {}))
            found.append((first.map[0] if first.map else 0, drawn))
    return found


def said(text: str) -> str:
    """A person's words as they were typed, in every character; fences are code."""
    lines, pieces, at = text.split("\n"), [], 0
    fences = [token for token in _FENCES.parse(text) if token.type == "fence" and token.level == 0]
    for fence in [*fences, None]:
        first, after = fence.map if fence is not None and fence.map else (len(lines), len(lines))
        words = "\n".join(lines[at:first])
        if words.strip():
            words = re.sub(r"\A(?:[^\S\n]*\n)+", "", words).rstrip()
            pieces.append(_one_line(f'<p class="said">{escapeHtml(words)}</p>'))
        if fence is not None:
            pieces.append(_code(fence))
        at = after
    return "\n\n".join(pieces)


def markdown_html(text: str) -> str:
    """An answer as HTML of its own, beside the chat: formulas are shown as they were written."""
    if bare_code(text) is not None:
        return f"<pre><code>{escapeHtml(text)}</code></pre>"
    tokens = _MARKDOWN.parse(text)
    _tick(tokens)
    drawn = str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))
    for shown, written in zip((*INLINE, *DISPLAY), ("$", "$", "$$", "$$"), strict=True):
        drawn = drawn.replace(shown, written)
    return drawn


def lone_line(text: str, line: str) -> int | None:
    """The number of the first line that is `line` and stands in no code, or None."""
    if line not in text:
        return None
    code = [token.map for token in _MARKDOWN.parse(text) if token.type in ("fence", "code_block") and token.map]
    for at, written in enumerate(text.split("\n")):
        if written.strip() == line and not any(first <= at < after for first, after in code):
            return at
    return None


def _pieces(blocks: Sequence[str]) -> tuple[str, ...]:
    """The blocks in pieces; all but the last piece stay as they are when blocks are added."""
    return tuple(_joined(blocks, "\n\n"))


def _joined(texts: Sequence[str], between: str) -> list[str]:
    """The texts, as many in each as make a piece."""
    joined: list[str] = []
    begun: list[str] = []
    size = 0
    for text in texts:
        if size >= PIECE:
            joined.append(between.join(begun))
            begun, size = [], 0
        begun.append(text)
        size += len(text) + len(between)
    return [*joined, between.join(begun)]


def _in_parts(block: str) -> list[str]:
    """A block of code that grows, in several where it is long: all but the last stay as they are."""
    fence = _LONG_FENCE.fullmatch(block) if len(block) > PIECE else None
    if fence is None:
        return [block]
    label, ticks, language, code = fence.groups()
    parts = _joined(code.split("\n"), "\n")
    first = label if label is not None else ""
    marks = [first, *[_GOES_ON] * (len(parts) - 1)]
    fences = [f"{ticks}{language}\n{part}\n{ticks}" for part in parts]
    return ["\n\n".join(filter(None, each)) for each in zip(marks, fences, strict=True)]


class Markdown:
    """Draws answers; what has not changed since it was drawn last is not parsed again."""

    def __init__(self) -> None:
        self.finished = lru_cache(KEPT)(self._finished)
        self.said = lru_cache(KEPT)(said)
        self._begun: tuple[str, list[str]] = "", []  # a text whose blocks have all ended, and how they are drawn

    def forget(self) -> None:
        """Let go of every text that was drawn."""
        self.finished.cache_clear()
        self.said.cache_clear()
        self._begun = "", []

    def _finished(self, text: str) -> tuple[str, ...]:
        """The pieces of an answer."""
        if (language := bare_code(text)) is not None:
            return (_fence(text.strip("\n"), language),)
        return _pieces([drawn for _, drawn in _blocks(text)])

    def growing(self, text: str) -> tuple[str, ...]:
        """The same of a text that grows: only its last block can still change, or become part of the one before."""
        begun, drawn = self._begun
        if (language := bare_code(text)) is not None:
            return _pieces(_in_parts(_fence(text.strip("\n"), language)))
        if "\r" in text:
            return self._finished(text)
        if not begun or not text.startswith(begun):
            begun, drawn = "", []
        rest = text[len(begun) :]
        blocks = _blocks(rest)
        if len(blocks) > 2:
            begun += "".join(line + "\n" for line in rest.split("\n")[: blocks[-2][0]])
            drawn = [*drawn, *(block for _, block in blocks[:-2])]
            blocks = blocks[-2:]
            self._begun = begun, drawn
        return _pieces([part for block in [*drawn, *(block for _, block in blocks)] for part in _in_parts(block)])

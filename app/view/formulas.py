"""Formulas as tokens of the Markdown parser: which dollars and brackets are one, and which are prices or variables."""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

_CLOSERS = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}
_BRACKETS = {")": "(", "]": "[", "}": "{"}


def formulas(parser: MarkdownIt) -> None:
    """Teach the parser formulas: tokens `formula` inside a text, `formula_block` alone; `markup` is their opener."""
    parser.inline.ruler.before("escape", "formula", _inline)
    alt = {"alt": ["paragraph", "blockquote", "list"]}
    parser.block.ruler.before("fence", "formula_block", _block, alt)  # type: ignore[arg-type]


def _inline(state: StateInline, silent: bool) -> bool:
    src, start = state.src, state.pos
    opener = src[start : start + 2]
    if src[start] not in "$\\" or (src[start] == "\\" and opener not in _CLOSERS):
        return False
    if opener in _CLOSERS:
        end = src.find(_CLOSERS[opener], start + 2, state.posMax)
        content = src[start + 2 : end] if end >= 0 else ""
        if not content.strip() or (opener == "$$" and content != content.strip()):
            if opener != "$$":
                return False
            if not silent:
                state.pending += opener  # as in `echo $$`; neither of them opens another formula
            state.pos += 2
            return True
        after = end + 2
    else:
        opener, end = "$", _end_of_single(src, start, state.posMax)
        if end < 0:
            return False
        content, after = src[start + 1 : end], end + 1
    if not silent:
        token = state.push("formula", "", 0)
        token.markup, token.content = opener, content
    state.pos = after
    return True


def _end_of_single(src: str, start: int, limit: int) -> int:
    r"""Where the formula that the dollar at `start` opens ends, or -1: the rules of Pandoc and of GitHub, and more.

    No space inside the dollars, no letter or digit outside, one line, and brackets that close. So neither prices nor
    `${A}/${B}` nor "US dollars ($), Canadian dollars (C$)" are formulas.
    """
    end = start + 1
    while end < limit and src[end] != "$" and src[end] not in "\n`":
        end += 2 if src[end] == "\\" else 1
    if end >= limit or src[end] != "$" or end == start + 1:
        return -1
    before, after, content = src[start - 1 : start], src[end + 1 : end + 2], src[start + 1 : end]
    outside = re.match(r"[\w$]", before) or re.match(r"[\w${]", after)
    return -1 if outside or content != content.strip() or not _balanced(content) else end


def _balanced(content: str) -> bool:
    open_ones: list[str] = []
    for character in re.sub(r"\\.", "", content):
        if character in "([{":
            open_ones.append(character)
        elif character in _BRACKETS and (not open_ones or open_ones.pop() != _BRACKETS[character]):
            return False
    return not open_ones


def _block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Lines from one that begins with `$$` or `\\[` to one that ends with its closer, none of them empty."""
    if state.is_code_block(first):
        return False
    lines: list[str] = []
    opener = closer = ""
    for at in range(first, last):
        line = state.src[state.bMarks[at] + state.tShift[at] : state.eMarks[at]].rstrip()
        if at == first:
            opener = line[:2]
            if opener not in ("$$", "\\["):
                return False
            closer, line = _CLOSERS[opener], line[2:]
        elif not line or state.sCount[at] < state.blkIndent:
            return False
        ends = line.endswith(closer)
        if closer in (line[:-2] if ends else line):
            return False
        lines.append(line[:-2] if ends else line)
        if ends:
            return _push(state, first, at + 1, opener, "\n".join(lines).strip(), silent)
    return False


def _push(state: StateBlock, first: int, after: int, opener: str, content: str, silent: bool) -> bool:
    if not content:
        return False
    if not silent:
        state.line = after
        token = state.push("formula_block", "", 0)
        token.markup, token.content, token.map = opener, content, [first, after]
    return True

"""Which dollars and brackets are formulas."""

import re

import pytest

from app.view.markdown import DISPLAY, INLINE, Markdown

FORMULAS = [
    ("$x$", ["x"]),
    ("Let $a_1 * b_2$ and $c$.", ["a_1 * b_2", "c"]),
    ("($x$), $y$: “$z$”", ["x", "y", "z"]),
    (r"$\frac{1}{2}$ of $5\$$", [r"\frac{1}{2}", r"5\$"]),
    ("It costs $5, so $x = 5$", ["x = 5"]),
    ("`$a$` is $a$", ["a"]),
    ("A lone ` and $a$", ["a"]),
    ("```\n$a$\n```\n$b$", ["b"]),
    ("$$a$$ then $b$", ["a", "b"]),
    (r"\(a\) and \[b\]", ["a", "b"]),
    ("$$\na &= b\n+ c\n$$\nafter", ["a &amp;= b&#10;+ c"]),
    ("\\[\nx < 1\n\\]", ["x &lt; 1"]),
    ("- $a$\n\n> $$ b $$", ["a", "b"]),
]
NO_FORMULAS = [
    "It costs $5 and $6.",
    "$5-$10, US$5 or A$6, $5/$6",
    "between $ 5 and 6 $",
    "echo $HOME/bin:$PATH",
    "$5 at the door,\n$6 inside",
    r"\$a\$ and \\$",
    "``$a` $b$``",
    "~~~sh\necho $A $B\n",
    "```\n$a$\n~~~\n$b$",
    "    cp ${A}/${B} .",
    "Copy it to ${SRC}/${DST} and then to ${HOME}/${NAME}.",
    "Prices come in US dollars ($), Canadian dollars (C$) and euros.",
    "The PID is $$ in bash; echo $$ prints it.",
    "- ```sh\n  cp ${A}/${B} .\n  ```\n- Then pay $5.",
    "$$\na\n\nb\n$$",
    "$$ not closed yet",
    "$x is not closed yet",
    "$$",
    r"\( and \[",
    "",
]


def formulas(text: str) -> list[str]:
    found = re.findall(
        "|".join(f"{re.escape(left)}(.*?){re.escape(right)}" for left, right in (INLINE, DISPLAY)),
        "\n\n".join(Markdown().finished(text)),
    )
    return ["".join(groups) for groups in found]


@pytest.mark.parametrize(("text", "shown"), FORMULAS)
def test_a_formula_is_marked(text: str, shown: list[str]) -> None:
    assert formulas(text) == shown


@pytest.mark.parametrize("text", NO_FORMULAS)
def test_anything_else_is_text(text: str) -> None:
    assert formulas(text) == []


@pytest.mark.parametrize("piece", ["$a ", "` ", "\n```x\n~~~ ", "$$ ", "\\( ", "${"])
def test_what_is_never_closed_is_text(piece: str) -> None:
    assert formulas(piece * 2_000) == []

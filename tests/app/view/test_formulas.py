"""Single dollars: which of them are formulas."""

import pytest

from app.view.formulas import in_brackets

FORMULAS = [
    ("$x$", r"\(x\)"),
    ("Let $a_1 * b_2$ and $c$.", r"Let \(a_1 * b_2\) and \(c\)."),
    ("($x$), $y$: “$z$”", r"(\(x\)), \(y\): “\(z\)”"),
    (r"$\frac{1}{2}$ of $5\$$", r"\(\frac{1}{2}\) of \(5\$\)"),
    ("It costs $5, so $x = 5$", r"It costs $5, so \(x = 5\)"),
    ("`$a$` is $a$", r"`$a$` is \(a\)"),
    ("A lone ` and $a$", r"A lone ` and \(a\)"),
    ("```\n$a$\n```\n$b$", "```\n$a$\n```\n\\(b\\)"),
    ("```a``` and $b$", r"```a``` and \(b\)"),
    ("$$a$$ then $b$", r"$$a$$ then \(b\)"),
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
    "$$\na\n$b$\n$$",
    "$$ not closed yet $a$",
    "$x is not closed yet",
    "$$",
    "",
]


@pytest.mark.parametrize(("text", "shown"), FORMULAS)
def test_a_formula_stands_in_brackets(text: str, shown: str) -> None:
    assert in_brackets(text) == shown
    assert in_brackets(shown) == shown


@pytest.mark.parametrize("text", NO_FORMULAS)
def test_anything_else_stays_as_it_is(text: str) -> None:
    assert in_brackets(text) == text


def test_what_is_never_closed_is_left_alone() -> None:
    for piece in ("$a ", "` ", "```x ", "\n```x\n~~~ ", "$$ "):
        text = piece * 20_000
        assert in_brackets(text) == text

"""Tells formulas between single dollars from prices. Pure."""

import re

# From left to right: what is no formula, whatever stands in it; then a formula, by the rules of Pandoc and of GitHub:
# no space inside the dollars, no letter or digit outside.
_PIECES = re.compile(
    r"""
      ^[ \t]*(?P<fence>`{3,}(?![^\n]*`)|~{3,}) .*? (?: ^[ \t]*(?P=fence)[`~]*[ \t]*$ | \Z )
    | (?P<ticks>`+) (?!`) [^\n]*? (?<!`) (?P=ticks) (?!`)
    | \$\$ .*? (?: \$\$ | \Z )
    | \\.
    | (?<! [\w$] ) \$ (?P<formula> (?! \s ) (?: \\. | [^$\\\n] )+ (?<! \s ) ) \$ (?! [\w$] )
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)


def in_brackets(text: str) -> str:
    r"""Markdown whose formulas between single dollars stand in `\(` and `\)`, which nothing else is written with.

    >>> print(in_brackets("It costs $5 and $6, so $x = 5$."))
    It costs $5 and $6, so \(x = 5\).
    >>> print(in_brackets("`echo $HOME$` and $$a$$ and US$5-$7"))
    `echo $HOME$` and $$a$$ and US$5-$7
    """
    return _PIECES.sub(lambda piece: rf"\({piece['formula']}\)" if piece["formula"] else piece[0], text)

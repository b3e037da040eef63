"""Answers that are nothing but code, which small models write without a fence. Pure."""

import ast
import json


def bare_code(text: str) -> str | None:
    """The language of an answer that is nothing but code without a fence, or None.

    It must be Python with a statement that is more than an expression, or JSON. Up to two lines at the end may be cut
    short, because the answer is still being written, or had reached its limit.

    >>> bare_code("def f(my_list):\\n    return my_list"), bare_code('{"a": 1}'), bare_code("Use a list.\\nSort it.")
    ('python', 'json', None)
    """
    if text.lstrip()[:1] in ("{", "["):
        try:
            json.loads(text)
        except ValueError:
            return None
        return "json"
    lines = text.rstrip().split("\n")
    for cut in range(min(3, len(lines) - 1)):
        try:
            body = ast.parse("\n".join(lines[: len(lines) - cut])).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return "python" if any(not isinstance(part, ast.Expr | ast.AnnAssign) for part in body) else None
    return None

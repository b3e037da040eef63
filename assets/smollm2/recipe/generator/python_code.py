"""Small Python functions, written at random from statements, with their variables known.

The code is plausible, not meaningful: the tasks only rewrite it. Names appear as `{name}` placeholders until
rendered, so that renaming is exact and needs no parser.
"""

from __future__ import annotations

from dataclasses import dataclass

from generator.pools import MODULES, Pools

STATEMENTS = (
    "{a} = {b} + {n}",
    "{a} = {b} * {c}",
    "{a} += {b}",
    "{a} -= {n}",
    "{a} = {f}({b})",
    "{a} = {f}({b}, {c})",
    "{a} = len({b})",
    "{a} = {b}[{n}]",
    "{a} = []",
    "{a} = {n}",
    '{a} = "{w}"',
    "{a} = str({b})",
    "{a} = {b}.strip()",
    "{a} = max({b}, {c})",
    "{a} = sorted({b})",
    "{a} = {b} / {c}",
    "{a} = ({b} - {c}) * {n}",
    "{a} = [{b} for {b} in {c}]",
    "{a} = {b} if {c} else {n}",
    "{a}.append({b})",
    "{a}[{b}] = {c}",
    "print({a})",
    'print("{w}", {a})',
    'print(f"{w}: {{{{{a}}}}}")',
    "{f}({a}, {b})",
    "# {w} {a}",  # last, so that a block can leave it out: a comment is no body
)
BLOCKS = (
    "if {a} > {b}:",
    "if {a} is None:",
    "if not {a}:",
    "if {a} == {n}:",
    'if {a} == "{w}":',
    "for {a} in {b}:",
    "for {a} in range({b}):",
    "for {a}, {b} in {c}.items():",
    "while {a} < {b}:",
    "with open({a}) as {b}:",
)
RETURNS = (
    "return {a}",
    "return {a} + {b}",
    "return {a} / {n}",
    "return {a}, {b}",
    "return {f}({a})",
    "return None",
)
DEFAULTS = ("None", "0", "1", "10", "True", "False", '""', "0.5", "100")


@dataclass(frozen=True, slots=True)
class Function:
    """A function's source with `{v0}`, `{v1}`, ... for its variables, and their names."""

    template: str
    names: tuple[str, ...]

    def render(self, renamed: dict[int, str] | None = None) -> str:
        """Return the source, some variables under other names."""
        names = {f"v{i}": name for i, name in enumerate(self.names)}
        names.update({f"v{i}": name for i, name in (renamed or {}).items()})
        return self.template.format(**names)

    def used(self) -> list[int]:
        """Return the indices of the variables that occur in the source."""
        return [i for i in range(len(self.names)) if f"{{v{i}}}" in self.template]


def write_function(pools: Pools, num_lines: int) -> Function:
    """Return a function of about `num_lines` statements with two to five variables."""
    rng = pools.rng
    names = pools.identifiers(rng.randint(2, 5))
    num_args = rng.randint(1, min(3, len(names)))
    args = [f"{{v{i}}}" for i in range(num_args)]
    if rng.random() < 0.3:
        args[-1] += f"={rng.choice(DEFAULTS)}"
    lines = [f"def {pools.function_name()}({', '.join(args)}):"]
    if rng.random() < 0.15:
        lines.append(f'    """{pools.written_sentence()}"""')
    lines += write_body(pools, len(names), num_lines)
    lines.append("    " + fill(pools, rng.choice(RETURNS), len(names)))
    return Function("\n".join(lines), tuple(names))


def write_snippet(pools: Pools) -> Function:
    """Return one or two statements with two or three variables, and no function around them."""
    names = pools.identifiers(pools.rng.randint(2, 3))
    lines = [fill(pools, pools.rng.choice(STATEMENTS[:-1]), len(names)) for _ in range(pools.rng.randint(1, 2))]
    return Function("\n".join(lines), tuple(names))


def write_body(pools: Pools, num_names: int, num_lines: int) -> list[str]:
    """Return indented statements, a third of them opening a block of one or two more."""
    rng = pools.rng
    body: list[str] = []
    while len(body) < num_lines:
        if rng.random() < 0.3:
            body.append("    " + fill(pools, rng.choice(BLOCKS), num_names))
            body += ["        " + fill(pools, rng.choice(STATEMENTS[:-1]), num_names) for _ in range(rng.randint(1, 2))]
        else:
            body.append("    " + fill(pools, rng.choice(STATEMENTS), num_names))
    return body


def fill(pools: Pools, statement: str, num_names: int) -> str:
    """Return a statement with variables' placeholders and random numbers, words and functions."""
    rng = pools.rng
    chosen = [rng.randrange(num_names) for _ in range(3)]
    return statement.format(
        a=f"{{v{chosen[0]}}}",
        b=f"{{v{chosen[1]}}}",
        c=f"{{v{chosen[2]}}}",
        n=rng.randint(0, 100),
        w=pools.item(),
        f=pools.function_name(),
    )


def write_call(pools: Pools, num_args: int) -> tuple[str, list[tuple[str, str]]]:
    """Return a call's function name and its keyword arguments with their values."""
    rng = pools.rng
    name = pools.function_name()
    if rng.random() < 0.2:
        name = f"{pools.pick(MODULES)}.{name}"
    return name, [(key, argument_value(pools)) for key in pools.identifiers(num_args)]


def argument_value(pools: Pools) -> str:
    """Return a literal for an argument."""
    kind = pools.rng.random()
    if kind < 0.4:
        return str(pools.rng.randint(0, 5000))
    if kind < 0.7:
        return f'"{pools.item()}"'
    return pools.rng.choice(["True", "False", "None", f"0.{pools.rng.randint(1, 99)}", pools.identifier()])

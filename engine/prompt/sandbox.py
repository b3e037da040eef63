"""What a chat template may compute at most in one step.

Transformers runs it in jinja2's sandbox, which bounds no sizes, and a step in C is interrupted by no limit of time. So
what makes a text or a list longer asks here first.
"""

import functools
import itertools
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from string import Formatter
from typing import Any

from jinja2 import nodes, pass_environment, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

MOST = 1_000_000  # characters or items of a product; items of a list, however deep; of a number, some 3 million bits
LONGEST = 50_000_000  # characters of a text: more than ten times what the longest contexts hold
_BITS = 3 * MOST
_WIDTH = 4  # digits
_SIZES = re.compile(r"[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?")  # of a field of a format: its width and its precision
_WIDE = re.compile(rf"\d{{{_WIDTH + 1}}}")

_GROWING = {"center", "expandtabs", "ljust", "rjust", "to_bytes", "translate", "zfill"}  # methods
_PASSING_ON = {  # filters that make no longer text of what they are given
    *("abs", "attr", "count", "d", "default", "dictsort", "first", "groupby", "items", "last", "length", "list", "map"),
    *("max", "min", "random", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "truncate", "unique"),
}


def measured(value: Any) -> int:
    """How long a value is as a text, roughly; raises `OverflowError` beyond `LONGEST`, however deep it is nested."""
    if isinstance(value, str):
        return _within(len(value))
    total, items, rest = 0, 0, [value]
    while rest:
        one = rest.pop()
        if isinstance(one, (str, bytes)):
            total += len(one)
        elif isinstance(one, Collection):
            items = _within(items + len(one), MOST)
            rest.extend(one)
            if isinstance(one, Mapping):
                rest.extend(one.values())
        elif isinstance(one, Namespace):
            raise OverflowError("a namespace is no text")
        else:
            total += 1
        _within(total)
    return total + items


def _within(size: int, most: int = LONGEST) -> int:
    if size > most:
        raise OverflowError("a text is too long, or a list")
    return size


def _concatenated(pieces: Iterable[str]) -> str:
    kept, total = [], 0
    for piece in pieces:
        total = _within(total + len(piece))
        kept.append(piece)
    return "".join(kept)


def _text(value: Any) -> str:
    measured(value)
    return str(value)


def _shown(value: Any) -> Any:
    measured(value)
    return value


def _times(left: Any, right: Any) -> Any:
    for many, times in ((left, right), (right, left)):
        if isinstance(many, Sized) and isinstance(times, int):
            _within(len(many) * max(0, times), MOST)
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _BITS:
        raise OverflowError("a product is too large")
    return operator.mul(left, right)


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(0, right) > _BITS:
        raise OverflowError("a power is too large")
    return operator.pow(left, right)


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, Sized) and isinstance(right, Sized):
        _within(len(left) + len(right), LONGEST if isinstance(left, (str, bytes)) else MOST)
    return operator.add(left, right)


def _modulo(left: Any, right: Any) -> Any:
    """Of numbers; of a text, the old way to format, which takes any width."""
    if isinstance(left, (str, bytes)):
        fields = list(_fields(left if isinstance(left, str) else left.decode("latin-1")))
        if any(size == "*" or len(size) > _WIDTH for sizes in fields for size in sizes):
            raise OverflowError("a width is too large, or an argument")
        _within(len(left) + len(fields) * measured(right))
    return operator.mod(left, right)


def _fields(text: str) -> Iterator[tuple[str, ...]]:
    """The width and the precision of each field of a text, as `%` reads it."""
    at = 0
    while (at := text.find("%", at) + 1) > 0:
        if text.startswith("(", at):  # a name, which may have brackets
            depth = itertools.accumulate((each == "(") - (each == ")") for each in itertools.islice(text, at, None))
            at += next((length for length, level in enumerate(depth, 1) if level == 0), 0)
        sizes = _SIZES.match(text, at)
        assert sizes is not None
        yield sizes.groups("")
        at = sizes.end() + 1


class _Formatter(SandboxedFormatter):
    """The new way to format, for one text."""

    _made = 0

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(_shown(value), conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        if _WIDE.search(format_spec):
            raise OverflowError("a width is too large")
        made = super().format_field(_shown(value), format_spec)
        self._made = _within(self._made + len(made))
        return made


def _check_growth(value: Any, given: Iterable[Any]) -> None:
    """Refuse where the value, made longer by what is given (a width, a text) at each of its places, were too long."""
    widths = (abs(one) if isinstance(one, int) else measured(one) for one in given)
    _within(max(1, measured(value)) * max(widths, default=1))


def _check_replacing(text: Any, old: Any, new: Any, count: int = -1) -> None:
    found = text.count(old) if count < 0 else min(count, text.count(old))
    _within(len(text) + found * max(0, len(new) - len(old)))


def _check_method(owner: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Look at a call of a method of a text or a number."""
    if name in _GROWING:
        _check_growth(owner, (*args, *kwargs.values()))
    elif name == "replace":
        _check_replacing(owner, *args, **kwargs)
    elif name == "join":
        _within(sum(len(owner) + len(one) for one in itertools.chain(*args)))


@pass_eval_context
def _join(context: nodes.EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = map(make_attrgetter(context.environment, attribute), value)
    pieces = (piece for one in value for piece in (_text(d), _text(one)))
    return _concatenated(itertools.islice(pieces, 1, None))


@pass_environment
def _sum(environment: Any, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    if attribute is not None:
        iterable = map(make_attrgetter(environment, attribute), iterable)
    return functools.reduce(_plus, iterable, start)


def _replace(s: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new, count = _text(s), _text(old), _text(new), -1 if count is None else count
    _check_replacing(text, old, new, count)
    return text.replace(old, new, count)


def _format(value: Any, *args: Any, **kwargs: Any) -> Any:
    return _modulo(_text(value), kwargs or args)


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"*": _times, "**": _power, "%": _modulo, "+": _plus}
_INSTEAD: dict[str, Callable[..., Any]] = {"format": _format, "join": _join, "replace": _replace, "sum": _sum}


class _Filters(dict[str, Callable[..., Any]]):
    """Filters by name, each of which asks first."""

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        if name not in _PASSING_ON and name not in _INSTEAD:
            function = _asking(function)
        super().__setitem__(name, function)


def _asking(function: Callable[..., Any]) -> Callable[..., Any]:
    first = int(hasattr(function, "jinja_pass_arg"))  # before the value comes what jinja2 passes

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_growth(args[first], (*args[first + 1 :], *kwargs.values()))
        return function(*args, **kwargs)

    return bounded


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Write what `a ~ b` computes."""
        self.write("environment.concat(map(environment.text, (")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write(")))")


class Bounded(ImmutableSandboxedEnvironment):
    """The sandbox of chat templates, with sizes bounded."""

    intercepted_binops = frozenset(_OPERATORS)
    code_generator_class = _Generator
    concat = staticmethod(_concatenated)
    text = staticmethod(_text)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.binop_table |= _OPERATORS
        self.finalize = _shown
        own, self.filters = self.filters, _Filters()
        for name, function in (own | _INSTEAD).items():
            self.filters[name] = function

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, (str, bytes, int)):
            if __obj.__name__ == "join":
                args = tuple(map(list, args))  # an iterator can be read once
            _check_method(owner, __obj.__name__, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        text, formatter = str(value.__self__), _Formatter(self)
        if value.__name__ == "format":
            return lambda *args, **kwargs: Formatter.vformat(formatter, text, args, kwargs)
        return lambda mapping: Formatter.vformat(formatter, text, (), mapping)


def bound() -> None:
    """Bound the sandboxes that transformers makes from now on."""
    from transformers.utils import chat_template_utils

    chat_template_utils.ImmutableSandboxedEnvironment = Bounded

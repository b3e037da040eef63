"""A chat template makes nothing that is too long, and what templates do compute is left alone."""

import pytest
from transformers.utils import chat_template_utils

from engine.errors import UnsupportedModel
from engine.prompt import sandbox, template
from engine.prompt.sandbox import Bounded
from tests.models import byte_tokenizer

TURNS = [{"role": "user", "content": "Hi"}]
DOUBLED = "{%% set n = namespace(x=%s) %%}{%% for i in range(40) %%}{%% set n.x = %s %%}{%% endfor %%}{{ n.x|length }}"


def shown(computed: str) -> str:
    return template.render(
        byte_tokenizer(template=computed if computed.startswith("{%") else f"{{{{ {computed} }}}}"), TURNS
    )


@pytest.mark.parametrize(
    "computed",
    [
        "('x' * 10**9)|length",
        "(10**9 * 'x')|length",
        "([0] * 10**9)|length",
        "(9**(9**9))|length",
        "((9**9999)**9999)|length",
        "2.5 * 'x'",
        "('%999999999d' % 1)|length",
        "('%*d' % (999999999, 1))|length",
        "('%(a)-.999999999f' % {'a': 1.0})|length",
        "('%(a(b))200000000d' % {'a(b)': 1})|length",
        "('%(a((b)))200000000d' % {'a((b))': 1})|length",
        "('%%%.200000000f' % 1.0)|length",
        "(('%s' * 1000) % (['x' * 10**6] * 1000))|length",
        "(('%(a)s' * 1000) % {'a': 'x' * 10**6})|length",
        "('%200000000d'.encode() % 1)|length",
        "('%200000000d'|format(1))|length",
        "'{:>99999999}'.format(1)|length",
        "'{:>{}}'.format(1, 99999999)|length",
        "'{a:>99999999}'.format_map({'a': 1})|length",
        "('{:>99999999}'|escape).format(1)|length",
        "(('{0}' * 1000).format('x' * 10**6))|length",
        "'x'.ljust(10**8)|length",
        "'x'.rjust(10**8)|length",
        "'x'.center(10**8)|length",
        "('x'|escape).center(10**8)|length",
        "'7'.zfill(10**8)|length",
        "'\t'.expandtabs(10**8)|length",
        "('x' * 10**6).translate({120: 'y' * 1000})|length",
        "(1).to_bytes(10**8, 'big')|length",
        "('x' * 10**6).replace('x', 'y' * 1000)|length",
        "('x' * 10**6)|replace('x', 'y' * 1000)|length",
        "('x' * 1000).join(['y'] * 10**6)|length",
        "(['y' * 1000] * 10**6)|join|length",
        "(['y'] * 10**6)|join('x' * 1000)|length",
        "([{'a': 'y' * 1000}] * 10**6)|join(attribute='a')|length",
        "('x'|center(100000000))|length",
        "(['x']|map('center', 100000000)|list)|length",
        "(('x\n' * 10**5)|indent(1000))|length",
        "(('x ' * 10**5)|wordwrap(1, true, 'y' * 1000))|length",
        "([0] * 10**6)|tojson(indent=1000)|length",
        "(['x' * 1000] * 10**6)|tojson|length",
        "(['x' * 1000] * 10**6)|string|length",
        "(['x' * 1000] * 10**6)|upper|length",
        "([[[[0] * 1000] * 1000] * 1000]|string)|length",
        "[[[0] * 1000] * 1000] * 1000",
        "(([[0] * 10**6] * 1000)|sum(start=[]))|length",
        "1.5|round(1000000000, 'ceil')",
        "(([[0] * 1000] * 10**6) ~ 'x')|length",
        DOUBLED % ("'x'", "n.x + n.x"),
        DOUBLED % ("'x'", "n.x ~ n.x"),
        DOUBLED % ("[0]", "n.x + n.x"),
        "{% set x = 'x' * 10**6 %}{% for i in range(1000) %}{{ x }}{% endfor %}",
        "{% set x = 'x' * 10**6 %}{% set y %}{% for i in range(1000) %}{{ x }}{% endfor %}{% endset %}{{ y|length }}",
    ],
)
def test_what_grows_without_an_end_is_refused_at_once(computed: str) -> None:
    with pytest.raises(UnsupportedModel, match="Use another version"):
        shown(computed)


@pytest.mark.parametrize(
    ("computed", "text"),
    [
        ("'-' * 20", "-" * 20),
        ("3 * 4", "12"),
        ("2 ** 10", "1024"),
        ("'%05d|%s' % (7, 'a')", "00007|a"),
        ("'**20240101** 100%% %(a)s *' % {'a': 'x'}", "**20240101** 100% x *"),
        ("'%%20240101 %d%%' % 7", "%20240101 7%"),
        ("7 % 4", "3"),
        ("'**%s**' % 'bold'", "**bold**"),
        ("'%s-%s'|format('a', 2)", "a-2"),
        ("'{:>5}|{!r}|{b}'.format(1, 'a', b=2)", "    1|'a'|2"),
        ("'{a[b]}'.format_map({'a': {'b': 7}})", "7"),
        ("'a' ~ 1 ~ none ~ [2]", "a1None[2]"),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", "[1, 2]"),
        ("1 + 2.5", "3.5"),
        ("'a'.ljust(3) + 'b'.rjust(3) + 'c'.center(3) + '7'.zfill(3)", "a    b c 007"),
        ("'a-b'.replace('-', '+').upper()", "A+B"),
        ("'a-b-c'|replace('-', '+', 1)", "a+b-c"),
        ("', '.join(['a', 'b'])", "a, b"),
        ("', '.join(messages|map(attribute='role'))", "user"),
        ("[1, 'a']|join(', ')", "1, a"),
        ("messages|join(', ', attribute='role')", "user"),
        ("[1, 2]|sum + ([{'a': 3}]|sum(attribute='a'))", "6"),
        ("{'a': [1, true]}|tojson", '{"a": [1, true]}'),
        ("{'a': 1}|tojson(indent=2)", '{\n  "a": 1\n}'),
        ("'a\nb'|indent(2)", "a\n  b"),
        ("'a'|center(3)|length", "3"),
        ("messages[0].content|trim|lower|truncate(9)", "hi"),
        ("missing|default('x') ~ missing", "x"),
        ("' a b '.split()|length", "2"),
        ("messages[0].role.title()[1:]", "ser"),
        ("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(1) }}{% set s %}b{% endset %}{{ s }}", "<1>b"),
    ],
)
def test_what_templates_compute_is_left_alone(computed: str, text: str) -> None:
    assert shown(computed) == text


def test_long_texts_are_let_through() -> None:
    long = "river " * 700_000
    turns = [{"role": "user", "content": long}]
    chat = "{% for m in messages %}{{ '<' + m.role + '>' + m.content|trim ~ '\n' }}{% endfor %}"
    assert template.render(byte_tokenizer(template=chat), turns) == f"<user>{long.strip()}\n"


def test_transformers_makes_the_bounded_sandbox() -> None:
    sandbox.bound()
    assert chat_template_utils.ImmutableSandboxedEnvironment is Bounded
    compiled = chat_template_utils._compile_jinja_template("{{ 'x' ~ 1 }}")
    assert isinstance(compiled.environment, Bounded)
    assert {"*", "**", "%", "+"} <= set(compiled.environment.binop_table)

"""The page's words: each is used, each that is used exists, its names are given, and another language is one file."""

import ast
import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

from app import texts
from app.assets import ASSETS, bare_page
from app.page import templates
from app.texts import (
    ENGLISH,
    LanguageError,
    decimal,
    filled,
    find,
    for_scripts,
    placeholders,
    plural_form,
    rounded,
    speak,
    tr,
)

ROOT = Path(__file__).parents[2]
JS_CALL = re.compile(r'\btr\("([^"]+)"(?:, \{)?')
MARK = re.compile(r"\[\[([a-z0-9_]+\.[a-z0-9_]+)\]\]")


@pytest.fixture
def spoken() -> Iterator[None]:
    """English again afterwards."""
    yield
    speak("en")


def python_uses() -> Iterator[tuple[str, set[str]]]:
    """Keys and the names that are given with each."""
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if _says(node) and path.name != "texts.py":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: write the key out"
                yield node.args[0].value, {keyword.arg or "" for keyword in node.keywords}
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from ((key, set()) for key in MARK.findall(node.value))
    for markup in vars(templates).values():
        yield from ((key, set()) for key in MARK.findall(markup if isinstance(markup, str) else ""))


def _says(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("tr", "marked")


def script_uses() -> Iterator[tuple[str, set[str]]]:
    for path in (ASSETS / "js").glob("*.js"):
        script = path.read_text()
        assert script.count("tr(") == script.count('tr("') or path.name == "texts.js"
        for call in JS_CALL.finditer(script):
            yield call[1], names_of(script[call.end() :]) if call[0].endswith("{") else set()
    for path in ASSETS.glob("*.html"):
        yield from ((key, set()) for key in MARK.findall(path.read_text()))


def names_of(literal: str) -> set[str]:
    """The names in an object's literal, behind its brace.

    >>> sorted(names_of(' a, b: f(x, {y: 1}) })'))
    ['a', 'b']
    """
    depth, part, parts = 0, "", []
    for sign in literal:
        if depth == 0 and sign in ",}":
            parts.append(part)
            part = ""
            if sign == "}":
                break
            continue
        depth += (sign in "({[") - (sign in ")}]")
        part += sign
    return {each.split(":")[0].strip() for each in parts if each.strip()}


def test_every_text_is_used_with_the_names_it_has() -> None:
    used: dict[str, list[set[str]]] = defaultdict(list)
    for key, names in [*python_uses(), *script_uses()]:
        used[key].append(names)
    assert used.keys() - ENGLISH.texts.keys() == set(), "has no text"
    assert ENGLISH.texts.keys() - used.keys() == set(), "is not used"
    for key, calls in used.items():
        text = ENGLISH.texts[key]
        wanted = placeholders(text) | (set() if isinstance(text, str) else {"count"})
        assert all(names == wanted for names in calls), f"{key} wants {wanted}"


def test_german_has_every_text() -> None:
    german = find("de")
    assert german.texts.keys() == ENGLISH.texts.keys()
    for key, text in ENGLISH.texts.items():
        assert placeholders(german.texts[key]) - {"count"} == placeholders(text) - {"count"}, key


@pytest.mark.usefixtures("spoken")
def test_a_language_says_how_numbers_and_counts_are_written() -> None:
    assert (tr("count.tokens", count=1), tr("count.tokens", count=1900), decimal(1.5, 1)) == (
        "1 token",
        "1,900 tokens",
        "1.5",
    )
    speak("de")
    assert (tr("count.tokens", count=1900), decimal(1234.5, 1)) == ("1.900 Token", "1.234,5")
    assert rounded(0.75) == "0,75"
    assert json.loads(for_scripts())["texts"]["list.pin"] == "Anheften"
    assert '<html lang="de">' in filled(bare_page("splash.html"))
    assert '<html lang="de">' in filled(bare_page("token.html"))


@pytest.mark.usefixtures("spoken")
def test_a_file_is_a_language_and_what_it_lacks_is_english(tmp_path: Path) -> None:
    file = tmp_path / "polish.toml"
    file.write_text(
        '[language]\ncode = "pl"\nthousands = " "\ndecimal = ","\n'
        '[count]\nchats = { one = "1 czat", few = "{count} czaty", '
        'many = "{count} czatów", other = "{count} czatu" }\n[list]\npin = "Przypnij <b>"\nback = "$<`\\\\"\n'
    )
    speak(str(file))
    assert [tr("count.chats", count=count) for count in (1, 22, 1005)] == ["1 czat", "22 czaty", "1 005 czatów"]
    assert filled("<i>[[list.pin]]</i>") == "<i>Przypnij &lt;b&gt;</i>"
    assert not set("$`{}\\") & set(filled("[[list.back]]")), "Gradio's templates would run it"
    assert html.unescape(filled("[[list.back]]")) == "$<`\\"
    assert tr("count.tokens", count=2) == "2 tokens"
    assert "<" not in for_scripts()
    told = json.loads(for_scripts())
    assert "count.chats" in told["texts"]
    assert "count.tokens" in told["english"]
    assert [told["plurals"][count] for count in (1, 22, 105)] == ["one", "few", "many"]


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("not toml", "cannot be read as a file of texts"),
        ("[list]\npin = 'x'", "needs a table [language] with code, thousands, decimal"),
        ("[language]\ncode = 'German'\nthousands = ''\ndecimal = ''", "“German” is no code of a language"),
        ("pin = 'x'\n{about}", "“pin” stands in no table"),
        ("{about}[list]\nping = 'x'", "no text has the key “list.ping”"),
        ("{about}[list]\npin = 3", "“list.pin” must be a text, or a table of its plural forms"),
        ("{about}[count]\nchats = {{ one = 'x' }}", "“count.chats” needs the form other"),
        ("{about}[list]\npin = {{ other = 'x' }}", "“list.pin” has no plural forms: give one text"),
        ("{about}[list]\nrename_one = '{{tilte}}'", "“list.rename_one” has no {{tilte}}"),
        *[
            (
                f"{{about}}[list]\nrename_one = '{text}'",
                "“list.rename_one” has a brace that does not stand around a name",
            )
            for text in (
                "{{title",
                "{{title:d}}",
                "{{title!z}}",
                "{{title:>300000000}}",
                "{{{{x}}}}",
                "{{}}",
                "{{title.x}}",
            )
        ],
        ("{about}[dates]\nmonths = 'Tháng 1 Tháng 2'", "“dates.months” needs twelve names, with commas between"),
        (
            "{about}[count]\nchats = {{ two = 'x', other = 'x' }}",
            "“count.chats” has a form that no count takes in “de”",
        ),
        *[
            (f"[language]\ncode = '{code}'\nthousands = ''\ndecimal = ''", f"“{code}” is no code of a language")
            for code in ("de-a", "en-1", "pt-BR-BR")
        ],
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(tmp_path: Path, written: str, sentence: str) -> None:
    about = "[language]\ncode = 'de'\nthousands = '.'\ndecimal = ','\n"
    file = tmp_path / "texts.toml"
    file.write_text(written.format(about=about))
    with pytest.raises(LanguageError, match=re.escape(sentence.format())):
        speak(str(file))
    assert texts._spoken == [ENGLISH]


def test_a_language_that_is_not_there_is_refused() -> None:
    with pytest.raises(LanguageError, match="There are no texts for “xx”: choose de, en, or a file like theirs"):
        find("xx")


def test_plural_forms_of_slavic_languages() -> None:
    assert [plural_form("ru", count) for count in (1, 2, 5, 11, 12, 21, 22)] == [
        "one", "few", "many", "many", "many", "one", "few",
    ]  # fmt: skip
    assert [plural_form("cs", count) for count in (1, 2, 5, 22)] == ["one", "few", "other", "other"]

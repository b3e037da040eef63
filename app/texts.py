"""The page's words by key: `assets/texts/en.toml`, and a file like it for each other language.

`tr` gives a text here, `assets/js/texts.js` in the page's scripts, `filled` in markup. The language is chosen once, by
`speak`, before the page is laid out. What lower floors say (failures above all) is no part of this, and English.
A file of texts is data, whoever wrote it: what it may hold is checked once, in `find`, and nothing in it is run.
"""

import html
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.assets import ASSETS

Text = str | Mapping[str, str]  # one text, or its plural forms, named as Unicode does; `count` chooses among them

FORMS = ("zero", "one", "two", "few", "many", "other")
MONTHS = ("dates.months", "dates.months_short")  # twelve names, with commas between
# Language, script, region, a part of one's own: browsers refuse what is in no order.
_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-x(-[A-Za-z0-9]{1,8})+)?")
_MARK = re.compile(r"\[\[([a-z0-9_.]+)\]\]")
_NAME = re.compile(r"\{([A-Za-z0-9_]+)\}")
_RUN = {ord(sign): f"&#{ord(sign)};" for sign in "$`{}\\"}  # what Gradio's templates and JavaScript's would run


class LanguageError(ValueError):
    """A language cannot be used; `str()` of it is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What a file of texts holds; a text that it lacks is the English one."""

    code: str
    thousands: str
    decimal: str
    texts: Mapping[str, Text]


def read(path: Path) -> Language:
    """A file of texts. Raises `LanguageError` naming what does not fit."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise LanguageError(f"{path} cannot be read as a file of texts ({exc}): see assets/texts/de.toml.") from exc
    about = tables.pop("language", None)
    fields = ("code", "thousands", "decimal")
    if not isinstance(about, dict) or not all(isinstance(about.get(name), str) for name in fields):
        raise LanguageError(f"{path} needs a table [language] with {', '.join(fields)}: see assets/texts/de.toml.")
    if not _CODE.fullmatch(about["code"]):
        raise LanguageError(f"{path}: “{about['code']}” is no code of a language, such as de or pt-BR.")
    texts = {f"{table}.{name}": text for table, named in tables.items() for name, text in _named(path, table, named)}
    return Language(texts=texts, **{name: about[name] for name in fields})


def _named(path: Path, table: str, named: Any) -> list[tuple[str, Text]]:
    if not isinstance(named, dict):
        raise LanguageError(f"{path}: “{table}” stands in no table.")
    for name, text in named.items():
        forms = [text] if isinstance(text, str) else list(text.values()) if isinstance(text, dict) else [None]
        if not all(isinstance(form, str) for form in forms):
            raise LanguageError(f"{path}: “{table}.{name}” must be a text, or a table of its plural forms.")
        if isinstance(text, dict) and not ("other" in text and set(text) <= set(FORMS)):
            raise LanguageError(f"{path}: “{table}.{name}” needs the form other, and may have {', '.join(FORMS[:-1])}.")
    return list(named.items())


def placeholders(text: Text) -> set[str]:
    """
    >>> sorted(placeholders({"one": "1 chat in {where}", "other": "{count} chats in {where}"}))
    ['count', 'where']
    """
    return {name for form in _forms(text) for name in _NAME.findall(form)}


def _forms(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else [*text.values()]


ENGLISH = read(ASSETS / "texts" / "en.toml")
_spoken = [ENGLISH]  # the one that is spoken: `speak` replaces it


def speak(name: str) -> None:
    """Let all that `tr` says be in this language: a code, such as de, or a file. Raises `LanguageError`."""
    _spoken[:] = [find(name)]


def find(name: str) -> Language:
    """The language of this code, or in this file, checked against the English texts. Raises `LanguageError`."""
    known = sorted(path.stem for path in (ASSETS / "texts").glob("*.toml"))
    path = ASSETS / "texts" / f"{name}.toml" if name in known else Path(name).expanduser()
    if not path.is_file():
        raise LanguageError(f"There are no texts for “{name}”: choose {', '.join(known)}, or a file like theirs.")
    language = read(path)
    for key, text in language.texts.items():
        if key not in ENGLISH.texts:
            raise LanguageError(f"{path}: no text has the key “{key}”: take it out.")
        if wrong := _misfit(key, text, language.code):
            raise LanguageError(f"{path}: “{key}” {wrong}.")
    return language


def _misfit(key: str, text: Text, code: str) -> str:
    """What is wrong with a text, in words that go on after its key; "" where it fits."""
    english = ENGLISH.texts[key]
    if isinstance(text, Mapping):
        if isinstance(english, str):
            return "has no plural forms: give one text"
        if unknown := text.keys() - {plural_form(code, count) for count in range(200)} - {"other"}:
            return f"has a form that no count takes in “{code}”: take {min(unknown)} out"
    if any(brace in _NAME.sub("", form) for form in _forms(text) for brace in "{}"):
        return "has a brace that does not stand around a name: write names as {name}, and no other braces"
    known = placeholders(english) | ({"count"} if isinstance(english, Mapping) else set())
    if strange := placeholders(text) - known:
        return f"has no {{{min(strange)}}}"
    if key in MONTHS and (not isinstance(text, str) or len(text.split(",")) != 12):
        return "needs twelve names, with commas between"
    return ""


def tr(key: str, /, **values: str | int) -> str:
    """The text of this key, with these values in it; whole numbers are grouped, and `count` chooses the plural form."""
    language = _spoken[0]
    text = language.texts.get(key)
    if text is None:
        language, text = ENGLISH, ENGLISH.texts[key]
    if not isinstance(text, str):
        text = text.get(plural_form(language.code, int(values["count"])), text["other"])
    shown = {name: decimal(value, 0) if isinstance(value, int) else value for name, value in values.items()}
    return _put(text, shown)


def _put(text: str, values: Mapping[str, str]) -> str:
    return _NAME.sub(lambda name: values[name[1]], text)


def decimal(value: float, digits: int) -> str:
    """A number with so many digits behind its point, as the language writes it."""
    signs = {",": _spoken[0].thousands, ".": _spoken[0].decimal}
    return "".join(signs.get(sign, sign) for sign in f"{value:,.{digits}f}")


def rounded(value: float, digits: int = 6) -> str:
    """A number with so many digits that count, as the language writes it.

    >>> rounded(0.7), rounded(0.0078125, 4)
    ('0.7', '0.007812')
    """
    return f"{value:.{digits}g}".replace(".", _spoken[0].decimal)


def filled(markup: str) -> str:
    """The markup with each `[[key]]`'s text, escaped, for a template of Gradio's, too; `[[:code]]` is the language."""
    markup = markup.replace("[[:code]]", _spoken[0].code)
    return _MARK.sub(lambda mark: html.escape(tr(mark[1])).translate(_RUN), markup)


def marked(key: str, /, **markup: str) -> str:
    """The text of this key, escaped, with markup in the places of its names."""
    text = tr(key, **{name: f"{{{name}}}" for name in markup})
    return _put(html.escape(text, quote=False), markup)


def for_scripts() -> str:
    """What `assets/js/texts.js` needs, as JSON that may stand in a script."""
    spoken = _spoken[0]
    told = {"code": spoken.code, "thousands": spoken.thousands, "decimal": spoken.decimal, "texts": spoken.texts}
    told["english"] = {key: text for key, text in ENGLISH.texts.items() if key not in spoken.texts}
    told["plurals"] = [plural_form(spoken.code, count) for count in range(200)]  # then the last two digits choose
    return json.dumps(told, ensure_ascii=False).replace("<", "\\u003c")


def plural_form(code: str, count: int) -> str:
    """The plural form for a whole number, as in Unicode's rules; the page's scripts are told by `for_scripts`.

    A language without a rule of its own has one and other, as English.

    >>> plural_form("en", 1), plural_form("fr", 0), plural_form("pl", 22), plural_form("ru", 11), plural_form("ja", 1)
    ('one', 'one', 'few', 'many', 'other')
    """
    language, ten, hundred = code.split("-")[0], count % 10, count % 100
    teens, few = 11 <= hundred <= 19, 2 <= ten <= 4 and not 12 <= hundred <= 14
    match language:
        case "id" | "ja" | "km" | "ko" | "lo" | "ms" | "my" | "th" | "vi" | "yo" | "zh":
            forms: dict[str, bool] = {}
        case "am" | "as" | "bn" | "fa" | "fr" | "gu" | "hi" | "hy" | "kn" | "pa" | "pt" | "si" | "ti" | "zu" if (
            code.lower() != "pt-pt"
        ):
            forms = {"one": count <= 1}
        case "cs" | "sk":
            forms = {"one": count == 1, "few": 2 <= count <= 4}
        case "pl":
            forms = {"one": count == 1, "few": few, "many": True}
        case "be" | "ru" | "uk":
            forms = {"one": ten == 1 and not teens, "few": few, "many": True}
        case "bs" | "hr" | "sr":
            forms = {"one": ten == 1 and not teens, "few": few}
        case "is" | "mk":
            forms = {"one": ten == 1 and hundred != 11}
        case "lt":
            forms = {"one": ten == 1 and not teens, "few": ten >= 2 and not teens}
        case "lv":
            forms = {"zero": ten == 0 or teens, "one": ten == 1}
        case "sl":
            forms = {"one": hundred == 1, "two": hundred == 2, "few": hundred in (3, 4)}
        case "mo" | "ro":
            forms = {"one": count == 1, "few": count == 0 or 1 <= hundred <= 19}
        case "fil" | "tl":
            forms = {"one": ten not in (4, 6, 9)}
        case "he":
            forms = {"one": count == 1, "two": count == 2}
        case "ar":
            small = {"zero": count == 0, "one": count == 1, "two": count == 2}
            forms = small | {"few": 3 <= hundred <= 10, "many": hundred >= 11}
        case "mt":
            forms = {"one": count == 1, "two": count == 2, "few": count == 0 or 3 <= hundred <= 10, "many": teens}
        case "ga":
            forms = {"one": count == 1, "two": count == 2, "few": 3 <= count <= 6, "many": 7 <= count <= 10}
        case "gd":
            forms = {"one": count in (1, 11), "two": count in (2, 12), "few": 3 <= count <= 19}
        case "cy":
            small = {"zero": count == 0, "one": count == 1, "two": count == 2}
            forms = small | {"few": count == 3, "many": count == 6}
        case _:
            forms = {"one": count == 1}
    return next((form for form, holds in forms.items() if holds), "other")

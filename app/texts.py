"""The page's words by key: `assets/texts/en.toml`, and a file like it for each other language.

`tr` gives a text here, `assets/js/texts.js` in the page's scripts, `filled` in markup. The language is chosen once, by
`speak`, before the page is laid out. What lower floors say (failures above all) is no part of this, and English.
"""

import html
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from app.assets import ASSETS

Text = str | Mapping[str, str]  # one text, or its plural forms, named as Unicode does; `count` chooses among them

FORMS = ("zero", "one", "two", "few", "many", "other")
_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_MARK = re.compile(r"\[\[([a-z0-9_.]+)\]\]")


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
    forms = [text] if isinstance(text, str) else [*text.values()]
    return {name for form in forms for _, name, _, _ in Formatter().parse(form) if name is not None}


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
        english = ENGLISH.texts[key]
        if isinstance(text, dict) and not isinstance(english, dict):
            raise LanguageError(f"{path}: “{key}” has no plural forms: give one text.")
        try:
            strange = placeholders(text) - placeholders(english) - ({"count"} if isinstance(english, dict) else set())
        except ValueError as exc:
            raise LanguageError(f"{path}: “{key}” has a brace that does not close ({exc}).") from exc
        if strange:
            raise LanguageError(f"{path}: “{key}” has no {{{min(strange)}}}.")
    return language


def tr(key: str, /, **values: str | int) -> str:
    """The text of this key, with these values in it; whole numbers are grouped, and `count` chooses the plural form."""
    language = _spoken[0]
    text = language.texts.get(key)
    if text is None:
        language, text = ENGLISH, ENGLISH.texts[key]
    if not isinstance(text, str):
        text = text.get(plural_form(language.code, int(values["count"])), text["other"])
    shown = {name: decimal(value, 0) if isinstance(value, int) else value for name, value in values.items()}
    return text.format(**shown)


def decimal(value: float, digits: int) -> str:
    """A number with so many digits behind its point, as the language writes it."""
    signs = {",": _spoken[0].thousands, ".": _spoken[0].decimal}
    return "".join(signs.get(sign, sign) for sign in f"{value:,.{digits}f}")


def filled(markup: str) -> str:
    """The markup with the text of each `[[key]]` in it, escaped."""
    return _MARK.sub(lambda mark: html.escape(tr(mark[1])), markup)


def marked(key: str, /, **markup: str) -> str:
    """The text of this key, escaped, with markup in the places of its names."""
    text = tr(key, **{name: f"{{{name}}}" for name in markup})
    return html.escape(text, quote=False).format(**markup)


def for_scripts() -> str:
    """What `assets/js/texts.js` needs, as JSON that may stand in a script."""
    spoken = _spoken[0]
    texts = {"code": spoken.code, "thousands": spoken.thousands, "decimal": spoken.decimal}
    return json.dumps(texts | {"texts": {**ENGLISH.texts, **spoken.texts}}, ensure_ascii=False).replace("<", "\\u003c")


def plural_form(code: str, count: int) -> str:
    """The plural form for a whole number, as in Unicode's rules.

    >>> plural_form("en", 1), plural_form("fr", 0), plural_form("pl", 22), plural_form("ru", 11), plural_form("ja", 1)
    ('one', 'one', 'few', 'many', 'other')
    """
    language, ten, hundred = code.split("-")[0], count % 10, count % 100
    few = 2 <= ten <= 4 and not 12 <= hundred <= 14
    match language:
        case "id" | "ja" | "ko" | "ms" | "th" | "vi" | "zh":
            return "other"
        case "cs" | "sk":
            return "one" if count == 1 else "few" if 2 <= count <= 4 else "other"
        case "pl":
            return "one" if count == 1 else "few" if few else "many"
        case "be" | "ru" | "uk":
            return "one" if ten == 1 and hundred != 11 else "few" if few else "many"
        case "bs" | "hr" | "sr":
            return "one" if ten == 1 and hundred != 11 else "few" if few else "other"
        case "fr" | "hi" | "fa":
            return "one" if count in (0, 1) else "other"
    return "one" if count == 1 else "other"

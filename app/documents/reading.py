"""A file as text, whatever it holds: text and code here, PDF and Word files in a process that can be ended.

>>> read("notes.txt", b"one\\r\\ntwo")
('text', 'one\\ntwo')
"""

import codecs
from typing import Literal

from app.documents.limits import FILE_LIMIT, TEXT_LIMIT, Unreadable, too_long
from app.documents.process import extract

Kind = Literal["text", "pdf", "docx", "pasted"]

READABLE = "text, code, PDF and Word (.docx)"

_MARKS = (  # the longer one first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\b")) + b"\x7f"
_FEW_CONTROLS = 0.01  # of its bytes: above, it is no text


def read(name: str, data: bytes) -> tuple[Kind, str]:
    """Which kind of file it is, and its text; raises `Unreadable`."""
    if not data:
        raise Unreadable(f"“{name}” is empty: there is nothing to attach.")
    if len(data) > FILE_LIMIT:
        raise Unreadable(
            f"“{name}” has {len(data) / 1e6:,.0f} MB; at most {FILE_LIMIT / 1e6:.0f} MB can be attached. "
            "Attach a part of it."
        )
    kind: Kind = "text"
    if b"%PDF-" in data[:1024]:
        kind, text = "pdf", extract("pdf", name, data)
    elif data.startswith(_ZIP) and _is_word(data):
        kind, text = "docx", extract("docx", name, data)
    elif data.startswith(_OLE) and name.lower().endswith((".docx", ".doc")):
        raise Unreadable(f"“{name}” is locked with a password or of an old kind: save it as a new .docx file first.")
    else:
        text = _decoded(name, data)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise Unreadable(f"“{name}” holds no text: there is nothing to attach.")
    if len(text) > TEXT_LIMIT:
        raise Unreadable(f"“{name}” {too_long(len(text))}.")
    return kind, text


def _is_word(data: bytes) -> bool:
    return b"word/document" in data


def _decoded(name: str, data: bytes) -> str:
    """Text in the encoding that its mark names, else UTF-8, else that of older Windows programs."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    num_controls = len(data) - len(data.translate(None, _CONTROL))
    if num_controls > _FEW_CONTROLS * len(data):
        raise Unreadable(f"“{name}” is no text: {READABLE} files can be attached.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")

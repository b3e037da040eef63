"""Files become text, and what cannot is said in one sentence: crafted, damaged, locked, empty and huge ones."""

import io
import zipfile
from collections.abc import Callable

import pytest

from app.documents import process
from app.documents.limits import FILE_LIMIT, TEXT_LIMIT, Unreadable
from app.documents.reading import read
from tests.documents import WORD, docx, pdf

LOCKED = f"/Encrypt<</Filter/Standard/V 1/R 2/O({'0' * 32})/U({'0' * 32})/P -4>>/ID[(a)(b)]"
LINES = "Quarterly report\nRevenue (net) rose by 4 %"


def refusal(name: str, data: bytes) -> str:
    with pytest.raises(Unreadable) as refused:
        read(name, data)
    sentence = str(refused.value)
    assert sentence.startswith(f"“{name}” ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("naïve\r\ncafé\r".encode(), "naïve\ncafé\n"),
        ("\ufeffwith a mark".encode(), "with a mark"),
        ("wide 日本".encode("utf-16"), "wide 日本"),
        ("wide 日本".encode("utf-32"), "wide 日本"),
        ("“quoted” – café".encode("cp1252"), "“quoted” – café"),
        (b"def f():\n\treturn '\x1b[1m'", "def f():\n\treturn '\x1b[1m'"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_text_and_code_in_every_usual_encoding(data: bytes, text: str) -> None:
    assert read("a.txt", data) == ("text", text)


def test_a_pdf_and_a_word_file() -> None:
    assert read("report.pdf", pdf(LINES, "Page two")) == ("pdf", f"{LINES}\n\nPage two")
    assert read("by its contents", pdf("x"))[0] == "pdf"
    assert read("letter.docx", docx("Dear <Ann> & Bob,", "Zweite Zeile – 日本")) == (
        "docx",
        "Dear <Ann> & Bob,\n\nZweite Zeile – 日本",
    )


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n\t\n", "holds no text"),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, "text, code, PDF and Word (.docx)"),
        ("long.txt", b"x" * (TEXT_LIMIT + 1), "1,000,001 characters"),
        ("huge.bin", b"x" * (FILE_LIMIT + 1), "50 MB; at most 50 MB can be attached"),
        ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "save it as a new .docx"),
        ("archive.zip", docx("x").replace(b"word/document", b"wart/document"), "is no text"),
        ("cut.docx", docx("x" * 999)[:400] + b"word/document", "it is damaged"),
        ("no-xml.docx", docx(document="<w:document"), "it is damaged"),
        ("empty.docx", docx(""), "holds no text"),
        ("cut.pdf", pdf("x")[:120], "it is damaged"),
        ("scan.pdf", pdf("", stream=b"0 0 m 9 9 l S"), "recognise its text (OCR) first"),
        ("locked.pdf", pdf("x", trailer=LOCKED), "locked with a password"),
        ("cert.pdf", pdf("x", trailer="/Encrypt<</Filter/Adobe.PubSec/V 4>>"), "it is damaged"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_sentence(name: str, data: bytes, said: str) -> None:
    assert said in refusal(name, data)


def test_a_word_file_that_unpacks_without_an_end_is_refused_before_it_does() -> None:
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("word/document.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(300):
            part.write(bytes(1_000_000))
    assert len(made.getvalue()) < 1_000_000
    assert "unpacks to 300 MB" in refusal("bomb.docx", made.getvalue())


def test_entities_that_multiply_are_no_memory_bomb() -> None:
    entities = "".join(f'<!ENTITY e{at} "{f"&e{at - 1};" * 10 if at else "lol"}">' for at in range(12))
    body = "<w:body><w:p><w:r><w:t>&e11;</w:t></w:r></w:p></w:body>"
    document = f'<!DOCTYPE x [{entities}]><w:document xmlns:w="{WORD}">{body}</w:document>'
    assert "it is damaged" in refusal("laughs.docx", docx(document=document))


@pytest.mark.parametrize(
    ("limits", "what"), [({"time_limit_s": 0.0}, "too long"), ({"memory_limit": 1_000}, "too much memory")]
)
def test_the_reader_is_ended_where_it_takes_too_much(limits: dict[str, float], what: str) -> None:
    with pytest.raises(Unreadable, match=what):
        process.extract("pdf", "loop.pdf", pdf(*["many words"] * 400), **limits)  # type: ignore[arg-type]


def test_a_reader_that_dies_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_ROOT", "/nowhere")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert "cannot be read as a PDF" in refusal("a.pdf", pdf("x"))


def test_what_is_used_of_the_libraries_is_there() -> None:
    import mammoth
    import pypdf
    from pypdf.errors import DependencyError, PdfReadError

    used: list[Callable[..., object] | type] = [
        mammoth.extract_raw_text,
        pypdf.PdfReader,
        DependencyError,
        PdfReadError,
    ]
    assert all(map(callable, used))
    assert callable(pypdf.PdfReader.decrypt)
    assert isinstance(pypdf.PdfReader.is_encrypted, property)

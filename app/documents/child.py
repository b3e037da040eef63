"""`python -m app.documents.child KIND`: reads a file from its standard input and prints its text as JSON.

This is the one module that knows pypdf and mammoth. What they cannot read is {"why": the end of a sentence}.
"""

import io
import json
import logging
import sys
import zipfile

from app.documents.limits import PAGE_LIMIT, TEXT_LIMIT, UNPACKED_LIMIT, Unreadable, too_long


def pdf(data: bytes) -> str:
    """The text of all pages, in reading order as far as the file says it."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PdfReadError

    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("is locked with a password: save a copy without one, and attach that")
        num_pages = len(reader.pages)
        if num_pages > PAGE_LIMIT:
            raise Unreadable(f"has {num_pages:,} pages; at most {PAGE_LIMIT:,} can be attached. Attach a part of it")
        pages, length = [], 0
        for page in reader.pages:
            pages.append(page.extract_text().strip())
            length += len(pages[-1])
            if length > TEXT_LIMIT:
                raise Unreadable(too_long(length))
    except DependencyError as exc:
        raise Unreadable("is encrypted: save a copy that is not, and attach that") from exc
    except (PdfReadError, RecursionError) as exc:
        raise Unreadable("cannot be read: it is damaged, or no PDF. Open it elsewhere and save it again") from exc
    text = "\n\n".join(page for page in pages if page)
    if not text.strip():
        raise Unreadable("holds no text, only pictures of pages: recognise its text (OCR) first, and attach that")
    return text


def docx(data: bytes) -> str:
    """The paragraphs of a Word file, a blank line between two."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
    except zipfile.BadZipFile as exc:
        raise Unreadable("cannot be read: it is damaged. Open it elsewhere and save it again") from exc
    if unpacked > UNPACKED_LIMIT:
        raise Unreadable(
            f"unpacks to {unpacked / 1e6:,.0f} MB; at most {UNPACKED_LIMIT / 1e6:.0f} MB are read. "
            "Take out its pictures, or attach a part of it"
        )
    import mammoth

    text = str(mammoth.extract_raw_text(io.BytesIO(data)).value).strip()
    if len(text) > TEXT_LIMIT:
        raise Unreadable(too_long(len(text)))
    if not text:
        raise Unreadable("holds no text: there is nothing to attach")
    return text


def main(kind: str) -> int:
    logging.disable(logging.CRITICAL)  # pypdf reports every oddity of a file
    try:
        answer = {"text": {"pdf": pdf, "docx": docx}[kind](sys.stdin.buffer.read())}
    except Unreadable as exc:
        answer = {"why": str(exc)}
    except MemoryError:
        answer = {"why": "takes too much memory to read: attach a part of it"}
    except Exception:  # of these libraries on damaged files: of any type
        answer = {"why": "cannot be read: it is damaged or of an unusual kind. Open it elsewhere and save it again"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

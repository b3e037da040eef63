"""`python -m app.documents.child KIND PARENT`: reads a file from its standard input and prints its text as JSON.

This is the one module that knows pypdf and mammoth. What they cannot read is {"why": the end of a sentence}.
The process PARENT bounds this one's time and memory; the system does, too, where it can. It does not outlive PARENT.
"""

import io
import json
import logging
import os
import sys
import threading
import time
import zipfile
from contextlib import suppress

import psutil

from app.documents.limits import (
    MEMORY_LIMIT,
    PAGE_LIMIT,
    TEXT_LIMIT,
    TIME_LIMIT_S,
    UNPACKED_LIMIT,
    Unreadable,
    too_long,
)

ADDRESS_LIMIT = 2 * MEMORY_LIMIT  # bytes; libraries and threads reserve more than they use
SPARE_S = 5  # of computing beyond what the parent allows
LOOK_S = 0.2  # between two looks at the parent


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


def confine() -> None:
    """Have the system end this process where it computes for too long, and refuse it too much memory."""
    if sys.platform == "win32":
        return
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, int(TIME_LIMIT_S) + SPARE_S),
        (resource.RLIMIT_AS, ADDRESS_LIMIT),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # macOS takes no bound of addresses
            resource.setrlimit(what, (bound, bound))


def end_with(parent: int) -> None:
    """End this process when the parent is gone."""
    first = os.getppid()  # that of a wrapper, where Python is started by one

    def watch() -> None:
        while os.getppid() == first and psutil.pid_exists(parent):
            time.sleep(LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main(kind: str, parent: int) -> int:
    end_with(parent)
    confine()
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
    sys.exit(main(sys.argv[1], int(sys.argv[2])))

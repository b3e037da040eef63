"""Files go with a message: by the button, dropped, pasted; what the page shows of them is text, never markup."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.documents import docx, pdf

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]

PAGE = "<img src=x onerror=alert(1)><script>document.title = 'gone'</script> & 日本語"
LONG = "A line of the minutes of a long meeting.\n" * 60


def write(folder: Path, **files: bytes) -> list[str]:
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return [str(folder / name.replace("_", ".")) for name in files]


def choose(page: Any, paths: list[str]) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach files").click()
    chooser.value.set_files(paths)


def paste(page: Any, text: str) -> None:
    page.evaluate(
        """text => {
            const data = new DataTransfer();
            data.setData("text/plain", text);
            const box = document.querySelector("#box textarea");
            const options = {clipboardData: data, bubbles: true, cancelable: true};
            const went = box.dispatchEvent(new ClipboardEvent("paste", options));
            if (went) box.setRangeText(text, box.selectionStart, box.selectionEnd, "end");
        }""",
        text,
    )


def test_files_are_counted_sent_shown_folded_and_stay_with_an_edited_message(
    open_page: OpenPage, server: Any, tmp_path: Path
) -> None:
    page = open_page(server)
    chips, box = page.locator("#attachments li"), page.locator("#box textarea")
    choose(
        page, write(tmp_path, page_html=PAGE.encode(), report_pdf=pdf("Revenue rose."), letter_docx=docx("Dear Ann"))
    )
    expect(chips).to_have_count(3)
    expect(chips.first).to_contain_text("page.html")
    expect(chips.first).to_contain_text(re.compile(r"\d+ tokens"))
    expect(page.locator("#attachments [data-part=line]")).to_have_text(re.compile(r"^\d+ tokens attached$"))
    page.reload()
    expect(chips).to_have_count(3)
    page.get_by_role("button", name="Remove letter.docx").click()
    expect(chips).to_have_count(2)
    box.fill("What is in them?")
    box.press("Enter")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    expect(chips).to_have_count(0)
    blocks = page.locator("#chat .attached details")
    expect(blocks).to_have_count(2)
    expect(blocks.locator("pre")).to_have_count(0)
    blocks.first.locator("summary").click()
    expect(blocks.first.locator("pre")).to_have_text(PAGE)
    expect(page).not_to_have_title("gone")
    expect(page.locator("#chat .bot-row, #chat .bot").first).to_contain_text('Attached text "page.html"')
    page.locator("#chat .user-row").hover()
    page.locator("#chat .user-row").get_by_role("button", name="Edit").click()
    page.get_by_label("Edit the message").fill("What is in these?")
    page.get_by_role("button", name="Remove report.pdf").click()
    expect(page.get_by_role("button", name="Put report.pdf back")).to_be_visible()
    added = {"name": "more.txt", "mimeType": "text/plain", "buffer": b"Bitterorangen are boiled twice"}
    page.get_by_label("Files to attach to this message").set_input_files(added)
    expect(page.locator(".edited-files li")).to_have_count(3)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#chat .note .versions").first).to_contain_text("2/2")
    expect(blocks).to_have_count(2)
    expect(blocks.nth(1)).to_contain_text("more.txt")

    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()
    page.locator("#search input, #search textarea").fill("bitterorangen")
    expect(page.locator(".conversation-snippet")).to_have_text("more.txt: Bitterorangen are boiled twice")
    page.locator(".conversation-open").click()
    page.wait_for_function("CSS.highlights.get('found')?.size > 0")  # what holds the words is unfolded
    expect(blocks.nth(1)).to_have_attribute("open", "")
    page.locator("#search input, #search textarea").fill("")


def test_a_long_paste_is_attached_and_becomes_text_again(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    chips, box = page.locator("#attachments li"), page.locator("#box textarea")
    paste(page, "a short one")
    expect(box).to_have_value("a short one")
    paste(page, LONG)
    expect(chips).to_have_count(1)
    expect(chips).to_contain_text("Pasted text")
    expect(box).to_have_value("a short one")
    page.get_by_role("button", name="Put Pasted text into the message").click()
    expect(chips).to_have_count(0)
    expect(box).to_have_value(f"a short one\n{LONG}")
    box.fill("")
    page.route("**/attachments/*", lambda route: route.abort())
    paste(page, LONG)
    expect(box).to_have_value(LONG)
    expect(page.locator("#attachments [data-part=refusals]")).to_contain_text("“Pasted text” did not arrive")


def test_dropped_files_that_cannot_be_read_are_named_and_the_message_stays(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    box = page.locator("#box textarea")
    box.fill("half written")
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array([0, 1, 2, 3, 4, 5])], "photo.raw"));
            data.items.add(new File([], "empty.txt"));
            data.items.add(new File(["fine"], "fine.txt"));
            document.querySelector("#chat").dispatchEvent(
                new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
    )
    refusals = page.locator("#attachments [data-part=refusals]")
    expect(refusals).to_contain_text("“photo.raw” is no text: text, code, PDF and Word (.docx) files can be attached.")
    expect(refusals).to_contain_text("“empty.txt” is empty")
    expect(page.locator("#attachments li")).to_have_count(1)
    expect(box).to_have_value("half written")
    refusals.get_by_role("button", name="Dismiss").click()
    expect(refusals).to_be_hidden()


def test_what_does_not_fit_is_said_before_it_is_sent_and_refused_without_a_loss(
    open_page: OpenPage, start_server: Any, tmp_path: Path
) -> None:
    page = open_page(start_server())
    choose(page, write(tmp_path, long_txt=b"word " * 30_000))
    line = page.locator("#attachments [data-part=line]")
    expect(line).to_contain_text("This does not fit:")
    expect(line).to_contain_text("load a model with a longer context")
    expect(page.locator("#meters [data-part=context]")).to_contain_text("context: ")
    page.locator("#box textarea").fill("Sum it up.")
    page.locator("#box textarea").press("Enter")
    expect(page.locator(".toast-body")).to_contain_text("Remove an attachment, or load a model with a longer context.")
    expect(page.locator("#attachments li")).to_have_count(1)
    expect(page.locator("#box textarea")).to_have_value("Sum it up.")


def test_attachments_stay_with_their_conversation_and_alone_make_a_message(
    open_page: OpenPage, start_server: Any, tmp_path: Path
) -> None:
    page = open_page(start_server())
    chips = page.locator("#attachments li")
    (path,) = write(tmp_path, notes_txt=LONG.encode())
    choose(page, [path])
    expect(chips).to_have_count(1)
    expect(chips.first).to_contain_text(re.compile(r"\d+ tokens"))  # it has been read: until then nothing is sent
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .note .figures")).to_have_count(1)
    expect(page.locator("#chat .attached summary")).to_contain_text("notes.txt")
    expect(page.locator(".conversation-title").first).to_have_text("notes.txt")
    choose(page, [path])
    expect(chips).to_have_count(1)
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(chips).to_have_count(0)
    page.locator(".conversation-open").first.click()
    expect(chips).to_have_count(1)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#lanes [data-part=card]")).to_be_visible()
    expect(chips).to_have_count(0)
    page.get_by_role("button", name="Back to the conversation").click()
    expect(page.locator("#chat .attached details")).to_have_count(2)

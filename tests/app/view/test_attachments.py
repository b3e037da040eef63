"""What the page says of attachments."""

from dataclasses import replace

from app.chat.attachments import Waiting
from app.store.records import Attachment
from app.view.attachments import attachment_list, copied
from engine.config import ModelSpec
from engine.events import ServerInfo
from tests.scripted_answer import scripted_info

TEXT = " ".join(f"word{number} of the report," for number in range(40))
REPORT = Attachment(id=1, name="report.pdf", kind="pdf", size=52_000, text=TEXT)
INFO = replace(scripted_info(ModelSpec()), context_length=1000)


def line(*tokens: int, used: int = 0, exact: bool = True) -> tuple[str, str]:
    waiting = [Waiting(replace(REPORT, id=at), count, exact) for at, count in enumerate(tokens)]
    drawn = attachment_list(waiting, used, INFO, 500, 1)
    return drawn["line"], drawn["tone"]


def test_a_chip_says_name_size_and_tokens() -> None:
    drawn = attachment_list([Waiting(REPORT, 1234, True), Waiting(REPORT, 1200, False)], 0, None, 500, 7)
    assert drawn["items"][0] == {
        "id": 1,
        "name": "report.pdf",
        "pasted": False,
        "size": "1,234 tokens",
        "detail": f"52 kB, {len(TEXT):,} characters",
    }
    assert drawn["items"][1]["size"] == "about 1,200 tokens"
    assert (drawn["line"], drawn["tone"], drawn["number"]) == ("about 2,434 tokens attached", "", 7)


def test_whether_it_fits_is_said_before_it_is_sent_and_what_to_do() -> None:
    assert line() == line(400) == ("", "")
    assert line(200, 300) == ("500 tokens attached", "")
    assert line(751)[0].startswith(
        "This does not fit: 751 tokens, and the model reads 750 at once. Attach a part of it"
    )
    assert line(500, 300)[0].startswith("These do not fit: 800 tokens")
    assert "Remove one, or load a model with a longer context." in line(500, 300)[0]
    assert line(500, 300)[1] == "bad"
    assert line(500, used=300)[0].startswith("With this chat that is 800 tokens")
    assert line(500, used=300)[1] == "warn"


def test_a_server_is_sent_all_of_a_chat_and_nothing_else_is_promised() -> None:
    at_server = replace(
        INFO, server=ServerInfo(kind="vLLM", address="http://127.0.0.1:8000", is_here=True, speculation="on")
    )
    told = attachment_list([Waiting(REPORT, 500, False)], 300, at_server, 500, 1)
    assert told["tone"] == "warn"
    assert "the server is sent all of it" in told["line"]
    assert "left out" not in told["line"]
    assert "left out" in line(500, used=300)[0]


def test_an_answer_that_was_copied_says_from_where() -> None:
    other = replace(REPORT, id=2, name="other.txt", text="nothing of it")
    assert copied(TEXT, [other, REPORT]) == "100% word for word from “report.pdf”"
    half = f"{TEXT} {' '.join(f'own{number}' for number in range(200))}"
    assert copied(half, [REPORT]) == "50% word for word from “report.pdf”"
    assert copied("\n".join(TEXT.upper().split()), [REPORT]).startswith("100%")
    assert copied(" ".join(reversed(TEXT.split())), [REPORT]) == ""
    assert copied(" ".join(TEXT.split()[:12]), [REPORT]) == ""  # short
    assert copied("", [REPORT]) == ""
    weather = "東京の天気は晴れです。明日も晴れるでしょう。そして明後日も。"
    assert copied(weather, [replace(REPORT, text=f"天気：{weather}")]).startswith("100%")

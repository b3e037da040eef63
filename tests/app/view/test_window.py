"""Which lines of a long chat are drawn."""

from datetime import UTC, datetime

from app.store.records import StoredMessage
from app.view.markdown import Markdown
from app.view.messages import chat_messages, drawn, rows
from app.view.window import SHOWN, STEP, Lines, first_shown, shown_notes

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


def lines_of(turns: int, answer: str = "<think>so</think>Yes.", last: str | None = None) -> Lines:
    path = []
    for number in range(2 * turns):
        role = "assistant" if number % 2 else "user"
        text = answer if number % 2 else f"question {number // 2}"
        text = last if last is not None and number == 2 * turns - 1 else text
        streams = last is not None and number == 2 * turns - 1
        path.append(
            StoredMessage(
                id=number + 1,
                conversation_id=1,
                parent_id=None,
                role=role,  # type: ignore[arg-type]
                text=text,
                token_ids=(),
                status="streaming" if streams else "complete",
                created=NOW,
            )
        )
    return drawn(rows(path), Markdown())


def test_a_chat_that_is_not_long_is_drawn_whole() -> None:
    for turns in (0, 1, SHOWN, SHOWN + STEP - 1):
        assert first_shown(lines_of(turns)) == 0
    notes = shown_notes(lines_of(SHOWN), 0)
    assert len(notes) == 2 * SHOWN
    assert "earlier" not in notes[0]


def test_of_a_long_one_the_newest_lines_are_drawn_from_a_question_on() -> None:
    lines = lines_of(SHOWN + STEP)
    first = first_shown(lines)
    assert lines[first][0].text == f"question {STEP}"
    notes = shown_notes(lines, first)
    assert (notes[0]["earlier"], notes[0]["row"], notes[0]["text"]) == (2 * STEP, 0, f"question {STEP}")
    shown = chat_messages(lines[first:])
    assert notes[-1]["row"] == len(shown) - 1
    assert first_shown(lines, 100) == first_shown(lines, 99) <= 99
    assert first_shown(lines, -5) == 0


def test_what_is_drawn_begins_at_the_same_line_while_an_answer_grows() -> None:
    for turns in (SHOWN + STEP, SHOWN + STEP + 1):
        grows = ("", "<think>", "<think>why", "<think>why</think>", "<think>why</think>Because.")
        assert len({first_shown(lines_of(turns, last=text)) for text in grows}) == 1

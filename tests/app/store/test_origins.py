"""Where tokens came from, kept: a round trip, few bytes, gone with its message, never for another text."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange.own import export_json
from app.store.dates import ANY_DATE
from app.store.figures import kept_runs
from app.store.origins import (
    _USUAL,
    AnswerOrigins,
    Block,
    Drafted,
    OriginStore,
    Refused,
    Source,
    Undrafted,
    pack,
    unpack,
)
from app.store.parts import Parts
from app.store.purge import purge_rows
from app.store.records import ConversationSettings
from app.store.store import Store
from tests.app.store.test_store import make_run

SOURCES = st.builds(
    Source, st.sampled_from(["ngram-5", "memory", "recycled"]), st.sampled_from(["answer", "chat 7", ""])
)
PERCENT = st.integers(0, 100)


@st.composite
def drafted(draw: st.DrawFn) -> Drafted:
    accepted = draw(st.integers(0, 6))
    sources = tuple(draw(SOURCES) for _ in range(accepted))
    percents = tuple(draw(PERCENT) for _ in range(accepted)) if draw(st.booleans()) else ()
    lengths = tuple(draw(st.integers(0, 9)) for _ in range(accepted + 1))
    refused = draw(st.none() | st.builds(Refused, st.text(max_size=9), SOURCES, st.none() | PERCENT))
    return Drafted(lengths, sources, percents, refused)


UNDRAFTED = st.builds(
    Undrafted, st.integers(1, 9), st.integers(0, 40), st.sampled_from(["", "off", "resting", "unsure"])
)
BLOCKS = st.lists(drafted() | UNDRAFTED, max_size=12).map(tuple)
RECORDS = st.builds(AnswerOrigins, start=st.integers(0, 99), first=st.integers(0, 9), blocks=BLOCKS)

BLOCK: tuple[Block, ...] = (
    Undrafted(2, 5, "unsure"),
    Drafted((3, 2), (Source("memory", "chat 7"),), (91,), Refused("no", Source("ngram-2", "chat"), 40)),
)


@given(origins=RECORDS)
def test_a_record_comes_back_as_it_was(origins: AnswerOrigins) -> None:
    assert unpack(pack(origins)) == origins


@given(data=st.binary(max_size=80), cut=st.integers(0, 60), origins=RECORDS)
def test_a_damaged_record_is_refused_in_words(data: bytes, cut: int, origins: AnswerOrigins) -> None:
    for damaged in (data, pack(origins)[:cut], zlib.compress(data), zlib.compress(b"[1,2]")):
        with suppress(ValueError):  # and nothing else is raised
            unpack(damaged)
    for lost in ("lengths", "whys", "sources"):
        packed = pack(AnswerOrigins(start=0, first=1, blocks=BLOCK))
        text = zlib.decompressobj(zdict=_USUAL).decompress(packed).decode()
        start = text.index(f'"{lost}":[') + len(lost) + 4
        with pytest.raises(ValueError, match="damaged"):
            unpack(zlib.compress((text[:start] + text[text.index("]", start) :]).encode()))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.db")
    yield opened
    opened.close()


def keep(store: Store, text: str = "a first answer", start: int = 0) -> int:
    conversation = store.new_conversation(ConversationSettings())
    message = store.add_message(conversation.id, None, "assistant", text)
    run_id = store.add_run(message.id, make_run())
    OriginStore(store).add(message.id, run_id, AnswerOrigins(start=start, first=2, blocks=BLOCK), text)
    return message.id


def test_it_holds_for_the_text_that_it_was_made_of_and_for_no_other(store: Store) -> None:
    message_id = keep(store)
    kept = OriginStore(store)
    assert kept.of(message_id, "a first answer")[0].blocks == BLOCK
    assert kept.of(message_id, "a first answer, continued")
    assert kept.of(message_id, "An edited answer") == []
    ((run,), older) = kept_runs(store)
    assert (run.origins and run.origins.blocks, older) == (BLOCK, 0)


def test_it_goes_with_its_message(store: Store) -> None:
    message_id = keep(store)
    conversation_id = store.message(message_id).conversation_id
    assert len(kept_runs(store, conversation_id)[0]) == 1
    store.delete(conversation_id)
    assert kept_runs(store) == ([], 0)
    with store.transaction() as db:
        assert db["origins"].count == 1  # the trash brings it back
        purge_rows(db, ANY_DATE)
        assert db["origins"].count == 0


def test_a_message_that_is_deleted_alone_takes_it_along(store: Store) -> None:
    message_id = keep(store)
    with store.transaction() as db:
        db.execute("UPDATE conversations SET tip_id = NULL")
        db.execute("DELETE FROM runs WHERE message_id = ?", [message_id])
        db.execute("DELETE FROM messages WHERE id = ?", [message_id])
        assert db["origins"].count == 0


def test_an_export_holds_none_of_it(store: Store) -> None:
    """It names other conversations, and words that the model did not write."""
    keep(store)
    exported = export_json(store)
    assert "chat 7" not in exported
    assert "origins" not in exported


def test_a_damaged_row_is_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    message_id = keep(store)
    with store.transaction() as db:
        db.execute("UPDATE origins SET record = x'00'")
    assert OriginStore(store).of(message_id, "a first answer") == []
    assert "is shown without" in caplog.text


def test_a_long_answer_takes_few_bytes_a_token() -> None:
    """8,000 tokens of a real mix: three drafted a round, six sources, chances of every kind."""
    blocks: list[Block] = []
    for at in range(2000):
        sources = tuple(Source(f"ngram-{2 + (at * 7 + n) % 5}", ("answer", "prompt")[at % 2]) for n in range(3))
        lengths = tuple(1 + (at * 31 + n * 17) % 8 for n in range(4))
        refused = Refused(f" word{at % 50}", sources[0], at % 90) if at % 4 == 0 else None
        blocks.append(Drafted(lengths, sources, tuple((at * 13 + n * 29) % 101 for n in range(3)), refused))
    packed = pack(AnswerOrigins(start=0, first=1, blocks=tuple(blocks)))
    assert len(packed) / 8000 < 4
    short = pack(AnswerOrigins(start=0, first=1, blocks=(*BLOCK, *blocks[:6])))
    assert len(short) < 200


def test_a_branch_keeps_it_and_is_counted_once(store: Store) -> None:
    message_id = keep(store)
    branch_id = Parts(store).branch(message_id)
    (copied,) = store.path(branch_id)
    assert OriginStore(store).of(copied.id, copied.text) == OriginStore(store).of(message_id, copied.text) != []
    (found, older) = kept_runs(store)
    assert (len(found), older) == (1, 0), "the copy is no older answer"
    assert kept_runs(store, most=1)[1] == 1


def test_a_refused_guess_out_of_another_chat_is_not_kept(store: Store) -> None:
    """It would stay when that chat is deleted."""
    refused = (Refused("secret", Source("memory", "chat 7"), 9), Refused("own", Source("ngram-2", "chat"), 40))
    blocks = tuple(Drafted((3,), (), (), each) for each in refused)
    message_id = kept(store, AnswerOrigins(start=0, first=0, blocks=blocks), "abcdef")
    (found,) = OriginStore(store).of(message_id, "abcdef")
    assert found.blocks == (Drafted((3,), (), (), None), blocks[1])


def test_an_answer_with_nul_which_is_stored_without_has_no_record(store: Store) -> None:
    message_id = kept(store, AnswerOrigins(start=0, first=0, blocks=BLOCK), "ab\0cdefghi")
    assert OriginStore(store).of(message_id, store.message(message_id).text) == []


def kept(store: Store, origins: AnswerOrigins, text: str) -> int:
    """A message of this text, with this record."""
    conversation = store.new_conversation(ConversationSettings()).id
    message = store.add_message(conversation, None, "assistant", text)
    OriginStore(store).add(message.id, store.add_run(message.id, make_run()), origins, text)
    return message.id

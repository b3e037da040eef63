"""Where an answer's words come from: gathered while it is written, kept with it, true to its text."""

from pathlib import Path

from app.chat.origins import OriginsGrowing
from app.store.origins import Drafted, OriginStore, Undrafted, length_of
from app.store.records import ConversationSettings
from app.store.store import Store
from app.texts import tr
from app.view.origins import growing_origins, message_origins
from engine.events import Round, TextDelta
from tests.scripted import default_answer
from tests.turns import answer, service


def joined(blocks: list[dict[str, object]]) -> str:
    """The text that the page draws."""
    parts = [[*(part[0] for part in block.get("parts", ())), block.get("own", "")] for block in blocks]  # type: ignore[attr-defined]
    return "".join(piece for pieces in parts for piece in pieces)


def test_the_blocks_of_an_answer_make_its_text_and_are_kept_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    chat, conversation_id = service(store, answers=(default_answer,))
    message = answer(chat, conversation_id, "How do trains run?")
    (kept,) = OriginStore(store).of(message.id, message.text)
    assert kept.first + sum(map(length_of, kept.blocks)) == len(message.text)
    drafted = [block for block in kept.blocks if isinstance(block, Drafted)]
    assert message.run is not None
    assert [len(block.sources) for block in drafted] == [
        accepted
        for accepted, size in zip(message.run.stats.accepted_lengths, message.run.stats.draft_sizes, strict=True)
        if size
    ]
    told = message_origins(message.text, [kept], lambda _: "Trains")
    assert joined(told["blocks"]) == message.text
    words = {name["words"] for name in told["names"]}
    assert {"your message, after 4 matching tokens", "the chat “Trains”", "trained drafter"} <= words
    store.close()


def test_nothing_is_kept_where_drafting_was_off(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    chat, conversation_id = service(store, ConversationSettings(mode="plain"), answers=(default_answer,))
    message = answer(chat, conversation_id, "How do trains run?")
    assert OriginStore(store).of(message.id, message.text) == []
    told = message_origins(message.text, [], lambda _: None, unguessed=True)
    assert told == {"blocks": [{"own": message.text}], "names": [], "skip": 0}
    store.close()


def test_of_an_answer_without_a_record_nothing_is_claimed() -> None:
    """As of one that was imported."""
    told = message_origins("A sentence from elsewhere.", [], lambda _: None)
    assert (told["blocks"], told["unknown"]) == ([], tr("origins.unknown"))


def test_a_deleted_chat_is_not_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    chat, conversation_id = service(store, answers=(default_answer,))
    message = answer(chat, conversation_id, "How do trains run?")
    told = message_origins(message.text, OriginStore(store).of(message.id, message.text), lambda _: None)
    assert "a chat that was deleted" in {name["words"] for name in told["names"]}
    store.close()


def test_rounds_without_a_draft_are_one_block_as_long_as_they_have_one_reason() -> None:
    growing = OriginsGrowing(start=4)
    growing.take(TextDelta(text="The"), "adaptive")
    for at, (why, text) in enumerate([("unsure", " a"), ("unsure", " b"), ("resting", " cc")]):
        event = Round(index=at, draft_size=0, accepted=0, token_ids=(at,), sources=(), decode_s=0.1, undrafted=why)  # type: ignore[arg-type]
        growing.take(event, "adaptive")
        growing.take(TextDelta(text=text), "adaptive")
    growing.take(Round(index=3, draft_size=0, accepted=0, token_ids=(9,), sources=(), decode_s=0.2), "plain")
    growing.take(TextDelta(text=" d"), "plain")
    assert growing.whole.blocks == (Undrafted(2, 4, "unsure"), Undrafted(1, 3, "resting"), Undrafted(1, 2, "off"))
    assert growing.since(1) == (4 + 3 + 4, [Undrafted(1, 3, "resting"), Undrafted(1, 2, "off")])
    told = growing_origins("1234The a b cc d and more", 1, *growing.since(1), lambda _: None)
    assert [block["own"] for block in told["blocks"]] == [" cc", " d"]
    assert told["rest"] == " and more"
    assert "before" not in told


def test_what_is_reasoned_is_left_to_the_chat() -> None:
    told = message_origins("<think>so</think>\n\nYes.", [], lambda _: None, unguessed=True)
    assert told["skip"] == 19
    assert growing_origins("<think>so", 0, 0, [], lambda _: None)["skip"] is None

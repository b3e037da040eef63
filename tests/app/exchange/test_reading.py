"""Other programs' exports as they are written, and what nobody should rely on: damaged, hostile and huge ones."""

import io
import json
import struct
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.exchange import json_stream, reading
from app.exchange.own import FileAttachment, FileConversation, ImportRefused, export_json
from app.exchange.reading import Entry, read_file
from app.exchange.sources import building, open_webui
from app.store.attachments import MOST
from app.store.records import ConversationSettings
from app.store.store import Store
from tests.app.exchange.exports import (
    CHATGPT,
    JAN,
    JAN_THREAD,
    LLAMA_CPP,
    LLAMA_CPP_OLD,
    LM_STUDIO,
    OPEN_WEBUI,
    SILLY_TAVERN,
    as_lines,
    chatgpt,
    node,
    text,
)


def read(folder: Path, data: bytes, name: str = "export.json") -> list[Entry]:
    path = folder / "import"
    path.write_bytes(data)
    return list(read_file(path, name))


def only(entries: list[Entry]) -> tuple[FileConversation, dict[str, int]]:
    (entry,) = entries
    assert entry.found is not None
    return entry.found.conversation, {what: count for what, count in entry.found.left_out.items() if count}


def said(conversation: FileConversation) -> list[tuple[int, int | None, str, str]]:
    return [(message.id, message.parent, message.role, message.text) for message in conversation.messages]


def zipped(*, packing: int = zipfile.ZIP_DEFLATED, **files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as packed:
        for name, data in files.items():
            packed.writestr(name.replace("__", "/").replace("_J", ".json"), data)
    return made.getvalue()


def test_chatgpt(tmp_path: Path) -> None:
    conversation, left_out = only(read(tmp_path, text([CHATGPT])))
    assert (conversation.title, conversation.created.isoformat()) == (
        "Trip to Porto",
        "2024-07-09T14:27:25.500000+00:00",
    )
    assert said(conversation) == [
        (1, None, "user", "What is on it?"),
        (2, 1, "assistant", "<think>\nA bridge.\n</think>\n\n\n\nThe Dom Luís bridge."),
        (3, 2, "user", "Thanks"),
        (4, 1, "assistant", "A river."),
    ]
    assert conversation.tip == 3
    assert left_out == {
        "images": 1, "attached files": 1, "custom instructions": 1, "tool calls": 1, "tool results": 1,
    }  # fmt: skip


def test_open_webui(tmp_path: Path) -> None:
    conversation, left_out = only(read(tmp_path, text([OPEN_WEBUI])))
    assert (conversation.title, conversation.pinned, conversation.tip) == ("Rust lifetimes", True, 2)
    assert conversation.settings.system == "Answer briefly."
    assert said(conversation) == [
        (1, None, "user", "Explain <'a>"),
        (2, 1, "assistant", "<think>\nKeep it short.\n</think>\n\nA lifetime is a name for a region."),
        (3, 1, "assistant", "Second version"),
    ]
    assert [(one.name, one.text) for one in conversation.messages[0].attachments] == [("a.rs", "fn f<'a>() {}")]
    assert left_out == {"images": 1}


def test_lm_studio(tmp_path: Path) -> None:
    conversation, left_out = only(read(tmp_path, text(LM_STUDIO), "1720.conversation.json"))
    assert (conversation.title, conversation.settings.system, conversation.tip) == ("Poem", "You rhyme.", 3)
    assert said(conversation) == [
        (1, None, "user", "A poem"),
        (2, 1, "assistant", "Old"),
        (3, 1, "assistant", "<think>\nmoon, June\n</think>\n\nO moon"),
    ]
    assert left_out == {}


@pytest.mark.parametrize("data", [as_lines(LLAMA_CPP), text([LLAMA_CPP_OLD]), text(LLAMA_CPP_OLD)])
def test_llama_cpp_as_it_writes_now_and_formerly(tmp_path: Path, data: bytes) -> None:
    conversation, left_out = only(read(tmp_path, data))
    assert (conversation.title, conversation.tip) == ("Sorting", 3)
    assert said(conversation) == [
        (1, None, "user", "Sort it"),
        (2, 1, "assistant", "a, b"),
        (3, 1, "assistant", "<think>\nBy letter.\n</think>\n\na\nb"),
    ]
    assert [(one.name, one.text) for one in conversation.messages[0].attachments] == [("list.txt", "b\na")]
    assert left_out == {"images": 1, "tool calls": 1}


def test_jan_with_the_title_that_stands_beside_the_messages(tmp_path: Path) -> None:
    packed = zipped(threads__t1__thread_J=text(JAN_THREAD), threads__t1__messages_Jl=as_lines(JAN))
    conversation, left_out = only(read(tmp_path, packed, "threads.zip"))
    assert (conversation.title, conversation.tip) == ("Greek", 3)
    assert said(conversation) == [
        (1, None, "user", "Alpha?"),
        (2, 1, "assistant", "<think>\nLetters.\n</think>\n\nBeta."),
        (3, 2, "user", "And?"),
    ]
    assert left_out == {"images": 1}
    assert only(read(tmp_path, as_lines(JAN), "messages.jsonl"))[0].title == "Alpha?"


def test_silly_tavern_with_its_swipes(tmp_path: Path) -> None:
    conversation, left_out = only(read(tmp_path, as_lines(SILLY_TAVERN), "chat.jsonl"))
    assert (conversation.title, conversation.created.isoformat()) == ("Seraphina", "2024-07-09T14:27:25+00:00")
    assert said(conversation) == [
        (1, None, "assistant", "*She smiles.*"),
        (2, 1, "user", "Hello"),
        (3, 2, "assistant", "First"),
        (4, 2, "assistant", "<think>\nBe kind.\n</think>\n\nSecond"),
        (5, 2, "assistant", "Third"),
    ]
    assert conversation.tip == 4
    assert left_out == {"hidden messages": 1}


def test_a_zip_of_several_parts_and_of_files_that_hold_no_chats(tmp_path: Path) -> None:
    other = chatgpt(node("q", None, "user", "Other"), tip="q", title=None)
    packed = zipped(
        conversations_000_J=text([CHATGPT]), conversations_001_J=text([other]), user_J=b'{"email": "x"}', chat=b"<html>"
    )
    assert [entry.found.conversation.title for entry in read(tmp_path, packed) if entry.found] == [
        "Trip to Porto",
        "Other",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "in export.json there is nothing"),
        (b"[]", "is no export of"),
        (b"{}", "is no export of"),
        (b"# Greetings\n\n## You\n", "is no export of Slipstream, ChatGPT"),
        (b"\n<!doctype html>", "Markdown, web pages and plain text cannot be imported"),
        (zipped(**{"Greetings (1).md": b"x"}), "Slipstream's own files only JSON"),
        (b"{hello", "it is not JSON"),
        (b'[{"mapping": {', "it is not JSON, or cut short"),
        (text([CHATGPT])[:-1], "cut short"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (b"[" * 100_000, "it is nested too deep"),
        (zipped(user_J=b"{}"), "holds no conversations of"),
        (zipped(conversations_J=text([CHATGPT]))[:200], "is a damaged zip"),
        (zipped(conversations_J=b"[NaN]"), "NaN is not a JSON number"),
        (text({"format": "slipstream-conversations", "version": 2, "conversations": []}), "import it with a newer one"),
    ],
)
def test_what_cannot_be_imported_is_said_in_one_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        read(tmp_path, data)
    assert said in str(refused.value)
    assert str(refused.value).endswith("Nothing was changed.")
    assert "\n" not in str(refused.value)


def test_a_zip_that_unpacks_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "UNPACKED_LIMIT", 10**6)
    with pytest.raises(ImportRefused, match="unpacks to more than"):
        read(tmp_path, zipped(conversations_J=b" " * (10**6 + 1)))


def test_one_entry_may_not_be_longer_than_memory_is_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LONGEST_CHAT", 1000)
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    monkeypatch.setattr(reading, "CHUNK", 500)
    long = chatgpt(node("q", None, "user", "x" * 5000), tip="q")
    for data in (text(long), text([long]), as_lines([*LLAMA_CPP[:1], {"type": "message", "message": "x" * 5000}])):
        with pytest.raises(ImportRefused, match="longer than 1,000 characters"):
            read(tmp_path, data)


def test_our_own_export_is_read_a_conversation_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a long one is no longer than its longest chat is allowed to be."""
    with closing(Store(tmp_path / "slipstream.db")) as store:
        for number in range(30):
            chat = store.new_conversation(ConversationSettings(), f"Chat {number}")
            store.add_message(chat.id, None, "user", f"{number} " + "word, " * 100)
        written = export_json(store).encode()
    monkeypatch.setattr(json_stream, "LONGEST_CHAT", 5000)
    monkeypatch.setattr(json_stream, "CHUNK", 300)
    assert len(written) > 8 * 5000
    titles = [entry.found.conversation.title for entry in read(tmp_path, b"\xef\xbb\xbf" + written) if entry.found]
    assert titles == [f"Chat {number}" for number in range(30)]
    for broken, sentence in (
        (written[:-20], "cut short"),
        (written + b"{}", "it does not end behind its list"),
        (written.replace(b'"version": 1', b'"version": 2', 1), "import it with a newer one"),
        (written.replace(b'"parent": null', b'"parent": 5', 1), "file.conversations[0].messages[0].parent 5"),
    ):
        with pytest.raises(ImportRefused) as refused:
            read(tmp_path, broken)
        assert sentence in str(refused.value)
    keys = json.loads(written)
    with pytest.raises(ImportRefused, match="longer than 5,000 characters in one piece"):
        read(tmp_path, json.dumps({name: keys[name] for name in reversed(keys)}).encode())


def test_a_small_zip_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    packed = zipped(conversations_J=b"[[" + b"{}," * 5_000_000 + b"{}]]")
    assert len(packed) < 20_000
    with pytest.raises(ImportRefused, match="unpacks to more than 100 times its size"):
        read(tmp_path, packed)


@pytest.mark.parametrize("data", [b"[[" + b"{}," * 5000 + b"{}]]", b'{"a": [' + b"{}," * 5000 + b"{}]}"])
def test_a_file_of_countless_empty_values_is_refused_before_it_is_parsed(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    monkeypatch.setattr(reading, "CHUNK", 100)
    monkeypatch.setattr(json_stream, "STEP", 500)
    monkeypatch.setattr(json_stream, "MOST_CHAT_VALUES", 1000)
    with pytest.raises(ImportRefused, match="more than 1,000 values: "):
        read(tmp_path, data)


def test_a_chat_of_many_lines_is_limited_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "MOST_TEXT", 1000)
    lines = [SILLY_TAVERN[0], *({"is_user": True, "mes": "x" * 100} for _ in range(11))]
    with pytest.raises(ImportRefused, match=r"in export.json one chat has more than .* 1,000 characters"):
        read(tmp_path, as_lines(lines))
    monkeypatch.setattr(building, "MOST_TEXT", 2000)
    assert len(read(tmp_path, as_lines(lines))) == 1


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_damaged_anywhere_is_refused_in_a_sentence(tmp_path: Path, packing: int) -> None:
    sound = zipped(packing=packing, a__thread_J=text(JAN_THREAD), a__messages_Jl=as_lines(JAN))
    sentences = []
    for at in range(len(sound)):
        try:
            read(tmp_path, sound[:at] + bytes([sound[at] ^ 0x11]) + sound[at + 1 :])
        except ImportRefused as exc:
            sentences.append(str(exc))
    assert sum("is damaged" in sentence for sentence in sentences) > 50
    assert not any("\n" in sentence for sentence in sentences)


def test_a_damaged_extra_field_of_a_zip_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    packed = zipped(conversations_J=text([CHATGPT]))
    monkeypatch.setattr(zipfile.ZipFile, "open", fails)
    with pytest.raises(ImportRefused, match="is damaged, locked or packed in an unusual way"):
        read(tmp_path, packed)


@pytest.mark.parametrize(
    "date",
    [float("inf"), float("-inf"), float("nan"), 10**400, "9" * 320, "9" * 20, "2024-07-09" + " " * 200_000 + "x"],
)
def test_a_date_that_is_none_ends(date: Any) -> None:
    assert building.date_of(date) is None


def test_an_import_with_an_endless_number_for_a_date_ends(tmp_path: Path) -> None:
    data = text([CHATGPT]).replace(b"1720535245.5", b"1e999")
    conversation, _ = only(read(tmp_path, data))
    assert len(conversation.messages) == 4


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('<details type="reasoning"' * 20_000, None),
        ('<details type="reasoning">' * 20_000, None),
        ("<details " * 100_000 + ">", None),
        ('<details type="reasoning">' + " " * 200_000 + "x</details>y", "<think>\nx\n</think>\n\ny"),
        ('<details type="reasoning">' + "<summary>" * 100_000 + "</details>y", None),
        ('a<details type="tool_calls" x="1">{}</details>\n\nb<details open>c</details>', "ab<details open>c</details>"),
        ('<details>a<details type="reasoning">b</details>', "<think>\nb\n</think>\n\n<details>a"),
        ('<details type="reasoning">&#' + "9" * 5000 + ";</details>y", None),
    ],
)
def test_folded_blocks_of_any_shape_are_read_in_one_pass(content: str, expected: str | None) -> None:
    message = {"role": "assistant", "content": content}
    found = open_webui.read({"chat": {"history": {"messages": {"m": message}}}})
    assert found is not None
    (only_one,) = found.conversation.messages
    assert expected is None or only_one.text == expected


def test_parts_of_one_answer_are_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = building.FileMessage
    monkeypatch.setattr(building, "FileMessage", lambda **values: made.append(1) or make(**values))
    built = building.Building()
    for at in range(1000):
        built.add(str(at), str(at - 1) if at else None, "assistant", f"part {at}")
    found = built.found("Parts", None, None, "999")
    assert found is not None
    assert [message.text for message in found.conversation.messages] == [
        "\n\n".join(f"part {at}" for at in range(1000))
    ]
    assert (len(made), found.conversation.tip) == (1, 1)


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_a_list_is_read_the_same_whatever_its_pieces_are(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    values = [{"a": ']}\\"', "b": [1, {"c": None}]}, {}, {"é": "日本"}]
    assert list(json_stream.elements(io.StringIO(json.dumps(values, indent=1)))) == values


def test_links_that_lead_nowhere_or_in_circles_lose_no_message(tmp_path: Path) -> None:
    conversation, _ = only(
        read(
            tmp_path,
            text(
                chatgpt(
                    node("a", "b", "user", "a"),
                    node("b", "a", "assistant", "b"),
                    node("c", "nowhere", "user", "c"),
                    node("d", "d", "user", "d"),
                    node("e", "c", "assistant", "e"),
                    tip="gone",
                )
            ),
        )
    )
    assert sorted(message.text for message in conversation.messages) == ["a", "b", "c", "d", "e"]
    assert all(message.parent is None or message.parent < message.id for message in conversation.messages)


def test_parts_of_a_message_are_joined_only_where_all_that_is_attached_has_room() -> None:
    def attached(*numbers: int) -> list[FileAttachment]:
        return [FileAttachment(name=f"{at}.txt", kind="text", size=1, text="x") for at in numbers]

    built = building.Building()
    built.add("a", None, "user", "first", None, attached(*range(MOST - 1)))
    built.add("b", "a", "user", "second", None, attached(MOST - 1))
    built.add("c", "b", "user", "third", None, attached(MOST))
    built.add("d", "c", "user", "fourth")
    found = built.found("", None, None, "d")
    assert found is not None
    assert said(found.conversation) == [(1, None, "user", "first\n\nsecond"), (2, 1, "user", "third\n\nfourth")]
    names = [one.name for message in found.conversation.messages for one in message.attachments]
    assert names == [f"{at}.txt" for at in range(MOST + 1)]
    assert (found.conversation.tip, found.left_out) == (2, {})


def test_a_chain_of_a_million_links_is_no_recursion(tmp_path: Path) -> None:
    nodes = [
        node(str(at), str(at - 1) if at else None, "user" if at % 2 else "assistant", f"{at}") for at in range(20_000)
    ]
    conversation, _ = only(read(tmp_path, text(chatgpt(*nodes, tip="19999"))))
    assert (len(conversation.messages), conversation.tip) == (20_000, 20_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def changed(data: st.DataObject, value: Any) -> Any:
    """The value with one part of it replaced by anything."""
    if data.draw(st.integers(0, 6)) == 0 or not isinstance(value, dict | list) or not value:
        return data.draw(JSON)
    if isinstance(value, list):
        at = data.draw(st.integers(0, len(value) - 1))
        return [changed(data, inner) if number == at else inner for number, inner in enumerate(value)]
    chosen = data.draw(st.sampled_from(sorted(value)))
    return {key: changed(data, inner) if key == chosen else inner for key, inner in value.items()}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_a_file_is_read_or_refused_in_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    shapes: list[Any] = [[CHATGPT], [OPEN_WEBUI], LM_STUDIO, LLAMA_CPP_OLD, LLAMA_CPP, JAN, SILLY_TAVERN]
    at = data.draw(st.integers(0, len(shapes) - 1))
    value = changed(data, shapes[at])
    written = as_lines(value) if at >= 4 and isinstance(value, list) else text(value)
    try:
        entries = read(tmp_path, written)
    except ImportRefused as exc:
        sentence, entries = str(exc), []
    else:
        sentence = ""
    assert "\n" not in sentence
    for entry in entries:
        if entry.found is not None:
            ids = {message.id for message in entry.found.conversation.messages}
            assert entry.found.conversation.tip in ids

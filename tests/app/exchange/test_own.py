"""Export and import: nothing is lost on the way round, and nothing unsound gets in."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.exchange import own
from app.exchange.markdown import export_markdown
from app.exchange.own import ImportRefused, export_json, import_json
from app.store.attachments import Attachments
from app.store.organising import Organising
from app.store.records import ConversationSettings, RunRecord
from app.store.store import Store
from engine.config import Sampling
from engine.events import Certificate, Divergence, Verdict
from engine.metrics import GenerationStats, Loop

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"), max_size=30)  # clean
TIMES = st.floats(0, 1e6, allow_nan=False)
COUNTS = st.integers(0, 10_000)
DATES = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@st.composite
def stats(draw: st.DrawFn) -> GenerationStats:
    drafts = draw(st.lists(st.integers(0, 16), max_size=6))
    return GenerationStats(
        num_prompt_tokens=draw(COUNTS),
        num_reused_tokens=draw(COUNTS),
        num_tokens=draw(COUNTS),
        num_committed=draw(COUNTS),
        draft_sizes=tuple(drafts),
        accepted_lengths=tuple(draw(st.integers(0, size)) for size in drafts),
        prefill_s=draw(TIMES),
        ttft_s=draw(TIMES),
        decode_s=draw(TIMES),
        draft_s=draw(TIMES),
        plain_round_s=draw(st.none() | st.just(0.0) | st.floats(1e-6, 1e6)),
        loop=draw(st.none() | st.builds(Loop, start=COUNTS, period=st.integers(1, 100))),
    )


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.floats(0, 10),
    top_k=st.integers(0, 1000),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 2**63 - 1),
)
DIVERGENCES = st.builds(
    Divergence,
    position=COUNTS,
    plain_id=st.none() | COUNTS,
    adaptive_id=st.none() | COUNTS,
    margin=st.none() | st.floats(allow_nan=False),
)
VERDICTS = st.builds(
    Verdict,
    identical=st.booleans(),
    num_compared=COUNTS,
    divergence=st.none() | DIVERGENCES,
    plain=stats(),
    adaptive=stats(),
    speedup=st.none() | TIMES,
    complete=st.booleans(),
)
RUNS = st.builds(
    RunRecord,
    model=TEXTS,
    mode=st.sampled_from(["plain", "adaptive"]),
    sampling=SAMPLINGS,
    stop_reason=st.sampled_from(["eos", "stop", "length", "context", "cancelled"]),
    stats=stats(),
    certificate=st.builds(
        Certificate,
        setting=st.sampled_from(["exact", "fast"]),
        tier=st.sampled_from(["A", "B", "C"]),
        widths=st.lists(st.integers(1, 64), max_size=3).map(tuple),
    ),
    created=DATES,
    verdict=st.none() | VERDICTS,
)
SETTINGS = st.builds(
    ConversationSettings,
    system=TEXTS,
    sampling=SAMPLINGS,
    max_tokens=st.integers(1, 1_000_000),
    mode=st.sampled_from(["plain", "adaptive"]),
    exactness=st.sampled_from(["exact", "fast"]),
    thinking=st.none() | st.booleans(),
    seed=st.none() | st.integers(0, 2**63 - 1),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def fill(store: Store, data: st.DataObject) -> None:
    """One conversation with a tree of messages, a chosen branch, runs and dates."""
    conversation = store.new_conversation(
        data.draw(SETTINGS),
        data.draw(TEXTS),
        created=data.draw(DATES),
        pinned=data.draw(st.booleans()),
        labels=data.draw(st.lists(st.sampled_from(["work", "Home", "日本"]))),
    )
    ids: list[int] = []
    for _ in range(data.draw(st.integers(0, 6))):
        message = store.add_message(
            conversation.id,
            data.draw(st.sampled_from([None, *ids])),
            data.draw(st.sampled_from(["user", "assistant", "system"])),
            data.draw(TEXTS),
            token_ids=data.draw(st.lists(st.integers(0, 2**31 - 1), max_size=5)),
            status=data.draw(st.sampled_from(["complete", "stopped", "interrupted", "error", "streaming"])),
            error=data.draw(st.none() | TEXTS),
            created=data.draw(DATES),
        )
        ids.append(message.id)
        for run in data.draw(st.lists(RUNS, max_size=2)):
            store.add_run(message.id, run)
        for name in data.draw(st.lists(st.sampled_from(["a.txt", "b.pdf", "日本.docx"]), max_size=2)):
            kind = data.draw(st.sampled_from(["text", "pdf", "pasted"]))
            Attachments(store).insert(conversation.id, message.id, name, kind, data.draw(COUNTS), data.draw(TEXTS))
    if ids:
        store.place_tip(data.draw(st.sampled_from(ids)))
    Organising(store).flag([conversation.id], "archived", data.draw(st.booleans()))
    store.touch(conversation.id, data.draw(DATES))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_there_and_back_and_there_again_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("round")
    first, second = Store(folder / "first.db"), Store(folder / "second.db")
    try:
        for _ in range(data.draw(st.integers(0, 2))):
            fill(first, data)
        text = export_json(first)
        second.new_conversation(ConversationSettings(), "was here before")
        ids = import_json(second, text)
        assert export_json(second, ids) == text
        for ours, theirs in zip(first.conversation_ids(), ids, strict=True):
            assert first.conversation(ours).settings == second.conversation(theirs).settings
            assert [m.text for m in first.path(ours)] == [m.text for m in second.path(theirs)]
            assert [m.runs for m in first.path(ours)] == [m.runs for m in second.path(theirs)]
            kept = [
                [(a.name, a.kind, a.size, a.text) for m in s.path(i) for a in m.attachments]
                for s, i in ((first, ours), (second, theirs))
            ]
            assert kept[0] == kept[1]
    finally:
        first.close()
        second.close()


def sound_file(store: Store) -> dict[str, Any]:
    """An export with two branches and a run."""
    conversation = store.new_conversation(ConversationSettings(system="s"), "A talk")
    question = store.add_message(conversation.id, None, "user", "q")
    for text in ("one", "two"):
        answer = store.add_message(conversation.id, question.id, "assistant", text, token_ids=[1, 2])
    store.add_run(
        answer.id,
        RunRecord(
            model="starter",
            mode="adaptive",
            sampling=Sampling(seed=3),
            stop_reason="eos",
            stats=GenerationStats(
                num_prompt_tokens=3,
                num_reused_tokens=0,
                num_tokens=5,
                num_committed=4,
                draft_sizes=(4, 0),
                accepted_lengths=(2, 0),
                prefill_s=0.1,
                ttft_s=0.1,
                decode_s=0.5,
                draft_s=0.0,
                plain_round_s=0.2,
            ),
            certificate=Certificate(setting="exact", tier="A", widths=(1, 2)),
            created=datetime(2026, 1, 2, tzinfo=UTC),
        ),
    )
    data: dict[str, Any] = json.loads(export_json(store))
    return data


def put(*place: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for step in place[:-1]:
            data = data[step]
        data[place[-1]] = value

    return change


def drop(*place: str | int) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for step in place[:-1]:
            data = data[step]
        del data[place[-1]]

    return change


TALK = ("conversations", 0)
MESSAGE = (*TALK, "messages", 1)
RUN = (*TALK, "messages", 2, "runs", 0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put("format", value="other"), "not a Slipstream export"),
        (put("version", value=2), "format version is 2, and this Slipstream reads up to 1; import it with a newer one"),
        (put("version", value=True), "format version must be 1"),
        (put("version", value="1"), "format version must be 1"),
        (put("extra", value=1), "file has an unknown field 'extra'"),
        (drop("conversations"), "file lacks the field 'conversations'"),
        (put("conversations", value={}), "file.conversations must be a list; got {}"),
        (put(*TALK, value=5), "file.conversations[0] must be an object; got 5"),
        (put(*TALK, "title", value=None), "title must be text; got null"),
        (put(*TALK, "pinned", value=1), "pinned must be true or false; got 1"),
        (put(*TALK, "labels", value=[" "]), "labels cannot be kept: The label is empty"),
        (put(*TALK, "labels", value=[str(n) for n in range(21)]), "labels must be 20 at most"),
        (put(*TALK, "created", value="yesterday"), "created must be a date with a time zone"),
        (put(*TALK, "created", value="2026-01-01T00:00:00"), "created must be a date with a time zone"),
        (put(*TALK, "settings", value=5), "settings must be an object; got 5"),
        (put(*TALK, "settings", "extra", value="\ud800"), "settings: an unknown field holds half of a character"),
        (put(*TALK, "tip", value=None), "tip must name the last message"),
        (put(*TALK, "tip", value=77), "tip 77 is not in the file"),
        (put(*MESSAGE, "parent", value=99), "messages[1].parent 99 is not in the file"),
        (put(*MESSAGE, "parent", value=2), "messages[1].parent 2 does not come before it: there is a cycle"),
        (put(*MESSAGE, "parent", value=3), "messages[1].parent 3 does not come before it: there is a cycle"),
        (
            put(*TALK, "messages", 0, "parent", value=3),
            "messages[0].parent 3 does not come before it: there is a cycle",
        ),
        (put(*MESSAGE, "id", value=1), "messages[1].id 1 occurs twice"),
        (put(*MESSAGE, "id", value=1.5), "messages[1].id must be a whole number"),
        (put(*MESSAGE, "role", value="robot"), "role must be one of system, user, assistant"),
        (put(*MESSAGE, "text", value=["a"]), "text must be text"),
        (put(*MESSAGE, "text", value="\ud800"), "half of a character"),
        (put(*MESSAGE, "token_ids", value=[1, -2]), "token_ids must be between 0 and"),
        (put(*MESSAGE, "token_ids", value=[1, True]), "token_ids[1] must be a whole number; got true"),
        (put(*MESSAGE, "token_ids", value=[2**70]), "token_ids[0] must be a whole number"),
        (put(*MESSAGE, "status", value="fine"), "status must be one of complete"),
        (put(*RUN, "stats", "draft_sizes", value=[4]), "1 draft sizes for 2 accepted lengths"),
        (put(*RUN, "stats", "accepted_lengths", value=[5, 0]), "accepts more tokens in a round than were drafted"),
        (put(*RUN, "stats", "num_tokens", value=-1), "num_tokens must not be negative"),
        (put(*RUN, "stats", "decode_s", value="inf"), "decode_s must be a time in seconds"),
        (put(*RUN, "stats", "decode_s", value=1e308), "decode_s must be a time in seconds, from 0 to 1,000,000"),
        (put(*RUN, "stats", "plain_round_s", value=5e-324), "plain_round_s must be a time in seconds, from 1e-06 to"),
        (put(*RUN, "stats", "plain_round_s", value=1e308), "plain_round_s must be a time in seconds"),
        (put(*RUN, "stats", "plain_round_s", value="nan"), "plain_round_s must be a time in seconds"),
        (put(*RUN, "sampling", "temperature", value="hot"), "runs[0].sampling.temperature must be a number"),
        (put(*RUN, "sampling", "temperature", value=-1), "runs[0].sampling: temperature must be between 0 and 10"),
        (
            put(*TALK, "settings", "extra", value=json.loads("[" * 99 + "]" * 99)),
            "is nested more than 20 levels deep",
        ),
        (put(*RUN, "extra", value="\ud800"), "runs[0]: an unknown field holds half of a character"),
        (put(*RUN, "stats", "loop", value={"start": 3, "period": 0}), "stats.loop must begin at a token"),
        (put(*RUN, "mode", value="turbo"), "runs[0].mode must be one of adaptive, plain"),
        (put(*RUN, "stop_reason", value="boredom"), "stop_reason must be one of"),
        (drop(*RUN, "stats"), "runs[0] lacks the field 'stats'"),
    ],
)
def test_an_unsound_file_is_refused_whole(
    store: Store, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    data = sound_file(store)
    before = export_json(store)
    change(data)
    with pytest.raises(ImportRefused, match=re.escape(complaint)) as caught:
        import_json(store, json.dumps(data))
    assert str(caught.value).startswith("The file cannot be imported: ")
    assert str(caught.value).endswith("Nothing was changed.")
    assert export_json(store) == before


def test_one_unsound_conversation_keeps_all_out(store: Store) -> None:
    data = sound_file(store)
    data["conversations"].append(copy.deepcopy(data["conversations"][0]))
    put("conversations", 1, "messages", 0, "role", value="robot")(data)
    with pytest.raises(ImportRefused, match=r"conversations\[1\]\.messages\[0\]\.role"):
        import_json(store, json.dumps(data))
    assert len(store.conversation_ids()) == 1


def test_a_damaged_tip_is_exported_as_the_newest_message(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    conversation = store.new_conversation(ConversationSettings())
    question = store.add_message(conversation.id, None, "user", "a question")
    store.add_message(conversation.id, question.id, "assistant", "an answer")
    with store.transaction() as db:
        db.execute("UPDATE conversations SET tip_id = 777")
    (copied,) = import_json(store, export_json(store))
    assert [message.text for message in store.path(copied)] == ["a question", "an answer"]
    assert "has no message 777" in caplog.text


def test_a_failure_half_way_keeps_all_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(sound_file(store))
    before = export_json(store)

    def fail(*args: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(store, "add_run", fail)
    with pytest.raises(RuntimeError):
        import_json(store, text)
    assert export_json(store) == before


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\0", "nonsense", '{"a": NaN}', "[]", "null", '"x"'])
def test_what_is_no_export_is_refused(store: Store, text: str) -> None:
    with pytest.raises(ImportRefused, match="The file cannot be imported: it is no"):
        import_json(store, text)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_a_file_is_imported_or_refused_in_a_sentence(store: Store, data: st.DataObject) -> None:
    """Put any JSON value at any place: no other exception, and never half of a file."""
    if not store.conversation_ids():
        sound_file(store)
    whole = json.loads(export_json(store, store.conversation_ids()[:1]))
    place: Any = whole
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    place[key] = data.draw(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    before = len(store.conversation_ids())
    try:
        added = import_json(store, json.dumps(whole))
    except ImportRefused:
        added = []
    assert len(store.conversation_ids()) == before + len(added)
    for conversation_id in added:
        store.path(conversation_id)
        store.delete(conversation_id)


def test_an_answer_that_is_being_written_is_exported_as_interrupted(store: Store) -> None:
    conversation = store.new_conversation(ConversationSettings())
    store.add_message(conversation.id, None, "assistant", "half", status="streaming")
    (copied,) = import_json(store, export_json(store))
    assert store.path(copied)[0].status == "interrupted"


def test_only_the_chosen_conversations_are_exported(store: Store) -> None:
    kept = [store.new_conversation(ConversationSettings(), title).id for title in ("a", "b", "c")]
    store.delete(kept[1])
    assert [c["title"] for c in json.loads(export_json(store))["conversations"]] == ["a", "c"]
    assert [c["title"] for c in json.loads(export_json(store, [kept[2]]))["conversations"]] == ["c"]


def test_markdown_shows_the_branch_on_the_page_with_its_figures(store: Store) -> None:
    sound_file(store)
    store.add_message(1, 3, "user", "    indented code\n")
    text = export_markdown(store, 1)
    assert text.startswith("# A talk\n\n*2")
    assert "## System\n\ns\n\n## You\n\nq\n\n## starter (version 2 of 2)\n\ntwo\n\n" in text
    assert "*8.0 tokens/s · 5 tokens · 2.00 tokens per round · adaptive*" in text
    assert text.endswith("## You\n\n    indented code\n")
    assert "one" not in text
    answer = store.path(1)[1]
    store.update_message(answer.id, "part", (), "interrupted", "The engine ended.")
    assert "*interrupted: The engine ended. · 8.0 tokens/s" in export_markdown(store, 1)
    store.update_message(answer.id, "def twice(x):\n    return 2 * x", (), "complete")
    assert "\n\n```python\ndef twice(x):\n    return 2 * x\n```\n\n" in export_markdown(store, 1)


def test_the_version_in_the_file_is_the_one_that_is_read(store: Store) -> None:
    assert json.loads(export_json(store)) == {"format": own.FORMAT, "version": 1, "conversations": []}


def test_a_run_from_before_loops_were_noticed_has_none(store: Store) -> None:
    data = sound_file(store)
    drop(*RUN, "stats", "loop")(data)
    import_json(store, json.dumps(data))
    runs = [m.run for id in store.conversation_ids() for m in store.all_messages(id) if m.run is not None]
    assert [run.stats.loop for run in runs] == [None, None]


def test_a_label_that_comes_in_takes_the_capitals_that_it_has_here(store: Store) -> None:
    file = sound_file(store)
    Organising(store).label(store.conversation_ids(), "Home", True)
    file["conversations"][0]["labels"] = ["HOME", "Work", "home", "work"]
    (added,) = import_json(store, json.dumps(file))
    assert store.conversation(added).labels == ("Home", "Work")

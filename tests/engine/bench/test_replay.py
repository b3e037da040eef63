"""`bench replay` against a transcript counted by hand, and its oracle against brute force."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bench.arms.budget import WholeDraft
from engine.bench.arms.oracle import oracle_rounds
from engine.bench.inputs.curves import YARDSTICKS, Curve, find_curves
from engine.bench.inputs.transcripts import END_ID, Tokenizers, Transcript, Turn, read_transcripts
from engine.bench.plans import ReplayPlan
from engine.bench.reports.report_replay import replay_text
from engine.bench.runs import replay
from engine.bench.runs.replay import Player
from engine.drafting.baselines.prompt_lookup import PromptLookupDrafter
from engine.drafting.drafter import Draft, NoDrafter
from tests.transcripts import COPY, TALK, ids, record, write_tokenizer, written

KEYS = {
    *("suite", "category", "drafter", "curve", "memory", "conversations", "tokens", "rounds", "drafted", "accepted"),
    *("width_histogram", "tokens_per_round", "acceptance_rate", "speedup", "draft_us", "oracle_tokens_per_round"),
}


@pytest.fixture
def tokenizers(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path)


def test_turns_become_ids_as_the_protocol_says(tmp_path: Path, tokenizers: Path) -> None:
    ((copy, talk),) = read_transcripts([written(tmp_path / "f.jsonl", COPY, TALK)], Tokenizers(tokenizers))
    assert copy.turns == (Turn(ids("USER: a b c d ASSISTANT:"), (*ids("a b c d e"), END_ID)),)
    assert [turn.prompt_ids for turn in talk.turns] == [ids("USER: f ASSISTANT:"), (3, 0, 4)]
    assert talk.token_ids == (*ids("USER: f ASSISTANT: g h"), 2, 3, 0, 4, *ids("g h"), 2)
    assert (talk.suite, talk.category, talk.name) == ("tiny", "talk", "2")


def results(data: dict[str, Any], **wanted: str) -> dict[str, Any]:
    (row,) = [row for row in data["results"] if all(row[key] == value for key, value in wanted.items())]
    return dict(row)


def played(tmp_path: Path, tokenizers: Path, *records: dict[str, Any], **plan: Any) -> dict[str, Any]:
    path = written(tmp_path / "f.jsonl", *records)
    made = ReplayPlan(files=(path,), tokenizers=tokenizers, **plan)
    data = replay.run(read_transcripts(made.files, Tokenizers(tokenizers)), made)
    json.dumps(data, allow_nan=False)
    assert replay_text(data)
    return data


def test_a_transcript_counted_by_hand(tmp_path: Path, tokenizers: Path) -> None:
    # "a" comes from the prefill. Round 1 drafts what followed "a": b c d ASSISTANT: a. Three are right, and e comes
    # with them: width 6, four tokens. Round 2 knows no "e", drafts nothing and commits the end: width 1, one token.
    curve = Curve("steps", ((1, 1.0), (6, 2.0)))
    data = played(tmp_path, tokenizers, COPY, TALK, drafters=("prompt-lookup",), curves=(curve,))
    row = results(data, category="copying")
    assert set(row) == KEYS
    assert (row["tokens"], row["rounds"], row["drafted"], row["accepted"]) == (5, 2, 5, 3)
    assert row["width_histogram"] == {"1": 1, "6": 1}
    assert (row["tokens_per_round"], row["acceptance_rate"]) == (2.5, 0.6)
    assert row["speedup"] == pytest.approx(5 / 3)
    assert row["oracle_tokens_per_round"] == 2.5
    assert row["draft_us"]["p99"] >= row["draft_us"]["median"] > 0
    # Of "g h" the first turn knows nothing: two rounds. The second copies h, the end token and what came then.
    talk = results(data, category="talk")
    assert (talk["tokens"], talk["rounds"]) == (4, 3)
    assert talk["width_histogram"] == {"1": 2, "7": 1}
    whole = results(data, category="all")
    assert (whole["conversations"], whole["tokens"], whole["rounds"]) == (2, 9, 5)
    assert whole["speedup"] == pytest.approx(9 / (1 + 2 + 1 + 1 + 2 * 7 / 6))


def test_a_bound_on_nodes_holds_for_drafters_and_oracle(tmp_path: Path, tokenizers: Path) -> None:
    flat = find_curves("flat")
    data = played(tmp_path, tokenizers, COPY, drafters=("prompt-lookup",), curves=flat, max_nodes=2)
    row = results(data, category="copying")
    assert row["width_histogram"] == {"3": 2, "1": 1}  # b c and d; a mismatch and e; the end
    assert row["speedup"] == row["tokens_per_round"] == row["oracle_tokens_per_round"] == 5 / 3


class Branching(NoDrafter):
    """Proposes a wrong spine and the right token beside it, with given chances."""

    def __init__(self, chances: tuple[float, ...]) -> None:
        self.chances = chances
        self.committed: list[tuple[Draft, tuple[int, ...]]] = []

    def draft(self, max_size: int, *, chain: bool = False, min_chance: object = None) -> Draft:
        return Draft((0, 7, 8, 9), (-1, -1, 1, 2), self.chances, ("",) * 4)

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self.committed.append((draft, tuple(token_ids)))


TREE = Transcript("t", "s", "c", (Turn((1,), (5, 7, 8, 9, 6)),))


def test_a_byte_order_mark_before_a_curve_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(b"\xef\xbb\xbf[[1, 2.0], [8, 3.0]]")
    assert find_curves(str(path)) == (Curve("mine", ((1, 1.0), (8, 1.5))),)


def test_side_branches_count_and_sizes_follow_the_curve() -> None:
    free = Player(Branching((0.5, 0.5, 0.4, 0.4)), Curve("cheap", ((1, 1.0), (64, 1.001))), 8).play(TREE)
    assert (free.tokens, free.accepted, free.drafted, dict(free.widths)) == (4, 3, 4, {5: 1})
    dear = Player(Branching((0.5, 0.5, 0.4, 0.4)), Curve("dear", ((1, 1.0), (64, 64.0))), 8).play(TREE)
    assert (dear.tokens, dear.accepted, dict(dear.widths)) == (4, 0, {1: 4})
    unsure = Branching((0.01, 0.001, 0.001, 0.001))
    flat = Player(WholeDraft(unsure, 8), Curve("flat"), 8).play(TREE)
    assert (flat.accepted, dict(flat.widths)) == (3, {5: 1})
    assert unsure.committed == [(unsure.draft(8), (7, 8, 9, 6))]  # it is handed its own draft, chances and all
    two = Branching((0.9, 0.9, 0.0, 0.0))
    some = Player(two, Curve("some", ((1, 1.0), (3, 1.1), (4, 100.0))), 8).play(TREE)
    assert some.accepted == 1  # three of four nodes were not worth a row
    assert some.widths[3] == some.rounds


def brute_oracle(transcript: Transcript, known: list[int], limit: int) -> tuple[int, int]:
    tokens = rounds = 0
    for turn in transcript.turns:
        known += [*turn.prompt_ids, turn.answer_ids[0]]
        rest = list(turn.answer_ids[1:])
        while rest:
            stretches = {tuple(known[i:j]) for i in range(len(known)) for j in range(i, len(known) + 1)}
            agreed = max(n for n in range(min(limit, len(rest)) + 1) if tuple(rest[:n]) in stretches)
            known += rest[: agreed + 1]
            tokens += min(agreed + 1, len(rest))
            rounds += 1
            rest = rest[agreed + 1 :]
    return tokens, rounds


stretch = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)
transcripts = st.builds(
    lambda turns: Transcript("t", "s", "c", tuple(Turn(*turn) for turn in turns)),
    st.lists(st.tuples(stretch, stretch), min_size=1, max_size=3),
)


@given(st.lists(transcripts, min_size=1, max_size=3), st.integers(1, 6), st.booleans())
def test_the_oracle_against_brute_force(several: list[Transcript], limit: int, memory: bool) -> None:
    known: list[int] = []
    wanted = []
    for transcript in several:
        known = [*known, -1] if memory else []
        wanted.append(brute_oracle(transcript, known, limit))
    assert oracle_rounds(several, limit, memory=memory) == wanted


@given(transcripts)
def test_no_copying_drafter_beats_the_oracle(transcript: Transcript) -> None:
    ((tokens, rounds),) = oracle_rounds([transcript], 10, memory=False)
    tally = Player(PromptLookupDrafter(), Curve("flat"), 10).play(transcript)
    assert tally.tokens == tokens
    assert tally.rounds >= rounds


def test_every_drafter_curve_and_memory_has_its_rows(tmp_path: Path, tokenizers: Path) -> None:
    data = played(
        tmp_path,
        tokenizers,
        *(COPY, TALK),
        drafters=("adaptive", "anpd", "suffix"),
        curves=find_curves("flat,cpu"),
        memories=("cold", "warm"),
    )
    keys = {tuple(row[key] for key in ("category", "drafter", "curve", "memory")) for row in data["results"]}
    assert len(keys) == len(data["results"]) == 3 * 3 * 2 * 2
    assert data["complete"]
    assert all(sum(row["width_histogram"].values()) == row["rounds"] for row in data["results"])
    # An accepted end token has none behind it.
    assert all(row["rounds"] <= row["tokens"] <= row["accepted"] + row["rounds"] for row in data["results"])
    assert data["plan"]["curves"][0] == {"name": "flat", "points": []}


def test_warm_memory_is_of_the_same_file_s_earlier_conversations(tmp_path: Path, tokenizers: Path) -> None:
    first = record("f", "a b c d e f g h a c e g b d f h", category="first", name="1")
    second = record("g", "a b c d e f g h a c e g b d f h", category="second", name="2")
    plan: dict[str, Any] = {
        "drafters": ("adaptive", "anpd"),
        "curves": find_curves("flat"),
        "memories": ("cold", "warm"),
    }
    data = played(tmp_path, tokenizers, first, second, **plan)

    def rounds(**wanted: str) -> int:
        return int(results(data, **wanted)["rounds"])

    assert rounds(category="first", drafter="adaptive", memory="warm") == rounds(
        category="first", drafter="adaptive", memory="cold"
    )
    cold = rounds(category="second", drafter="adaptive", memory="cold")
    assert rounds(category="second", drafter="adaptive", memory="warm") < cold
    forgetful = [rounds(category="second", drafter="anpd", memory=memory) for memory in ("cold", "warm")]
    assert forgetful[0] == forgetful[1]
    ceilings = [
        results(data, category="second", drafter="anpd", memory=each)["oracle_tokens_per_round"]
        for each in ("cold", "warm")
    ]
    assert ceilings[1] > ceilings[0]


def test_named_curves_and_files(tmp_path: Path) -> None:
    one = written(tmp_path / "mine.json", "[[1, 0.02], [4, 0.03]]")
    several = written(tmp_path / "several.json", json.dumps({"x": [[1, 1], [2, 1.5]], "y": [[1, 1]]}))
    names = f"cpu,{one},{several}"
    cpu, mine, x, y = find_curves(names)
    assert cpu.points == YARDSTICKS["cpu"]
    assert (mine.name, mine(4)) == ("mine", pytest.approx(1.5))
    assert (x(2), y(3)) == (1.5, 3.0)
    assert [curve.name for curve in find_curves(f"{names},cpu")] == ["cpu", "mine", "x", "y"]


def test_replay_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, engine.bench.runs.replay, engine.bench.reports.plot; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""`bench replay` against a transcript counted by hand, its oracle against brute force, and its complaints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from app.main import main
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

WORDS = {"<unk>": 0, "<s>": 1, "</s>": 2, "USER:": 3, "ASSISTANT:": 4} | {
    letter: 5 + i for i, letter in enumerate("abcdefgh")
}
KEYS = {
    *("suite", "category", "drafter", "curve", "memory", "conversations", "tokens", "rounds", "drafted", "accepted"),
    *("width_histogram", "tokens_per_round", "acceptance_rate", "speedup", "draft_us", "oracle_tokens_per_round"),
}


@pytest.fixture
def tokenizers(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    (tmp_path / "tokenizers" / "tiny").mkdir(parents=True)
    tokenizer.save(str(tmp_path / "tokenizers" / "tiny" / "tokenizer.json"))
    return tmp_path / "tokenizers"


def record(*contents: str, suite: str = "tiny", category: str = "copying", name: str = "1") -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return {"id": name, "suite": suite, "category": category, "tokenizer": "tiny", "messages": messages, "model": "m"}


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


COPY = record("a b c d", "a b c d e")
TALK = record("f", "g h", "again", "g h", category="talk", name="2")


def ids(text: str) -> tuple[int, ...]:
    return tuple(WORDS.get(word, 0) for word in text.split())


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


def command(tmp_path: Path, tokenizers: Path, *more: str) -> list[str]:
    path = written(tmp_path / "f.jsonl", COPY, TALK)
    return ["bench", "replay", str(path), "--tokenizers", str(tokenizers), *more]


def test_the_command(tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "new" / "out.json", tmp_path / "plots" / "plot.png"
    argv = command(tmp_path, tokenizers, "--limit", "1", "--json", str(out), "--plot", str(plot))
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "oracle" in text
    assert "tiny, all" in text
    data = json.loads(out.read_text())
    assert {row["curve"] for row in data["results"]} == set(YARDSTICKS)
    assert {row["conversations"] for row in data["results"]} == {1}
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(command(tmp_path, tokenizers, "--curve", "flat", "--drafters", "anpd", "--json", "-")) == 0
    assert json.loads(capsys.readouterr().out)["benchmark"] == "replay"


def test_an_interrupt_keeps_what_is_finished(
    tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.drafting.baselines.anpd.AnpdDrafter.draft", interrupt)
    argv = command(tmp_path, tokenizers, "--drafters", "prompt-lookup,anpd", "--json", "-")
    assert main(argv) == 130
    data = json.loads(capsys.readouterr().out)
    assert {row["drafter"] for row in data["results"]} == {"prompt-lookup"}
    assert not data["complete"]
    assert "INTERRUPTED" in replay_text(data)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Line 1: is not JSON"),
        ("[1]", "there is no id"),
        ({**COPY, "tokenizer": 7}, "must be text"),
        ({**COPY, "tokenizer": "absent"}, "needs the tokenizer 'absent'"),
        ({key: value for key, value in COPY.items() if key != "suite"}, "there is no suite"),
        ({**COPY, "messages": []}, "non-empty"),
        ({**COPY, "messages": [{"role": "assistant", "content": "a"}]}, "answers nothing"),
        ({**COPY, "messages": [{"role": "system", "content": "a"}]}, "messages[0]"),
        ({**COPY, "messages": [{"role": "user", "content": 1}]}, "messages[0]"),
        (record("a"), "hold no answer"),
        ("", "no conversations"),
    ],
)
def test_a_bad_line_is_one_sentence(
    line: object, said: str, tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(tmp_path, tokenizers)
    written(tmp_path / "f.jsonl", line)
    assert main(argv) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--drafters", "recycling"], "recycling cannot draft without a model"),
        (["--drafters", "adaptive,racer,recycling"], "racer and recycling"),
        (["--drafters", "lucky"], "'lucky' is not one of"),
        (["--curve", "steep"], "no curve 'steep'"),
        (["--memory", "tepid"], "'tepid' is not one of"),
        (["--max-nodes", "0"], "between 1"),
        (["--curve", "{folder}/bad.json"], "bad.json"),
        (["/absent/file.jsonl"], "cannot be read"),
    ],
)
def test_bad_arguments_are_one_sentence(
    more: list[str], said: str, tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "bad.json", "[[2, 1]]")
    argv = command(tmp_path, tokenizers)
    given_more = [each.format(folder=tmp_path) for each in more]
    argv = [*argv, *given_more] if more[0].startswith("--") else [*argv[:2], *given_more, *argv[3:]]
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "list of"),
        ("[[1]]", "pairs"),
        ("[[1, -1]]", "above 0"),
        ("[[1, true]]", "above 0"),
        ('[["a", 1]]', "whole number"),
        ("[[2, 1], [3, 2]]", "begin with 1"),
        ("[[1, 1], [1, 2]]", "begin with 1 and rise"),
        ('{"cpu": [[1, 1]]}', "two different curves"),
    ],
)
def test_a_bad_curve_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "curve.json", text)
    with pytest.raises(ValueError, match=said):
        find_curves(f"cpu,{path}")


def test_a_tokenizer_that_is_none(tmp_path: Path, tokenizers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tokenizers / "tiny" / "tokenizer.json").write_text("{}")
    assert main(command(tmp_path, tokenizers)) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_replay_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, engine.bench.runs.replay, engine.bench.reports.plot; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

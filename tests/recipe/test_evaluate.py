"""The evaluation: it reads outside files of tasks, and judges answers as it says."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import evaluate
import pytest
from evaluate import (
    FAMILIES,
    Question,
    application_questions,
    ask_all,
    exact_figures,
    held_out_tasks,
    mean_over_families,
    read_tasks,
    speed_prompts,
)
from wording import about, asking
from wording.about import words_of

from engine.batch import Options
from engine.bench.inputs.prompts import read_prompts

STARTER = Path(__file__).parents[2] / "assets" / "starter"


def test_an_outside_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    record = {"family": "sort", "messages": [{"role": "user", "content": "Sort: b, a"}], "expect": "a, b"}
    path.write_text(json.dumps(record) + "\n\n", encoding="utf-8")
    assert read_tasks(path) == [Question("sort", ({"role": "user", "content": "Sort: b, a"},), "a, b")]


def test_exact_means_every_character_but_a_fence_and_the_spacing_of_json() -> None:
    question = Question("sort", (), expect="a, b")
    assert question.is_right("a, b")
    assert question.is_right("```text\na, b\n```\n")
    assert not question.is_right("a,  b")
    assert not question.is_right("Sure: a, b")
    assert Question("json", (), expect='["a", 1]').is_right('[\n  "a",\n  1\n]')
    assert not Question("json", (), expect='["a", 1]').is_right('["a", "1"]')
    assert Question("application", (), pattern="runs|SQLite").is_right("It is kept in SQLite.")


def test_every_family_and_both_follow_ups_are_asked() -> None:
    questions = held_out_tasks(2, ())
    assert {question.family for question in questions} == {*FAMILIES, "second turn", "third turn"}
    assert all(question.messages[-1]["role"] == "user" for question in questions)
    assert questions == held_out_tasks(2, ())


def test_prompts_for_speed_are_the_tasks(tmp_path: Path) -> None:
    written = speed_prompts(2, ())
    assert [prompt["messages"] for prompt in written] == [question.messages for question in held_out_tasks(2, ())]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, written)), encoding="utf-8")
    read = read_prompts((path,), Options())
    assert [prompt.category for prompt in read[-5:]] == ["second turn", *["third turn"] * 4]


def test_the_mean_leaves_follow_ups_and_questions_apart() -> None:
    assert mean_over_families({"sort": 1.0, "repeat": 0.5, "second turn": 0.0, "application": 0.0}) == 0.75


def test_training_does_not_ask_the_questions_of_the_test() -> None:
    questions = application_questions()
    assert Counter(question.family for question in questions) == {"application": 18, "application again": 17}
    rng = random.Random(1)
    trained = {words_of(asked) for asks, _ in about.TOPICS.values() for asked in asks}
    trained |= {words_of(about.ask(rng, topic, ("",))) for topic in about.TOPICS for _ in range(2000)}
    asked = {words_of(question.messages[0]["content"]) for question in questions}
    assert trained & asked == {"what is slipstream"}  # the model card says so
    answers = " ".join(answer for _, said in about.TOPICS.values() for answer in said)
    assert all(question.is_right(answers) for question in questions)


def test_no_question_belongs_to_two_topics() -> None:
    rng = random.Random(2)
    asked = {topic: {words_of(asking.ask(rng, topic)) for _ in range(1500)} for topic in asking.TOPICS}
    assert all(len(questions) > 700 for questions in asked.values())
    assert not [pair for pair in itertools.combinations(asked, 2) if asked[pair[0]] & asked[pair[1]]]


def test_the_application_answers_in_order(tmp_path: Path) -> None:
    conversations = [({"role": "user", "content": "Hello"},), ({"role": "user", "content": "What is Slipstream?"},)]
    answers = ask_all(["--model", str(STARTER)], conversations, max_tokens=40)
    assert len(answers) == 2
    assert "Slipstream" in answers[1]


def test_wrong_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "ask_all", lambda flags, conversations, max_tokens: ["a", "b"])
    questions = [Question("sort", (), expect="a"), Question("sort", (), expect="c")]
    asked = ({"role": "user", "content": "Sort."},)
    shares, wrong = exact_figures([], [replace(question, messages=asked) for question in questions])
    assert shares == {"sort": 0.5}
    assert wrong == [{"family": "sort", "asked": "Sort.", "expected": "c", "got": "b"}]


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="answered none"):
        exact_figures(
            ["--model", str(tmp_path / "none")], [Question("greeting", ({"role": "user", "content": "Hi"},), "Hello")]
        )

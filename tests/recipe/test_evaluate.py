"""The evaluation: it reads outside files of tasks, and judges answers as it says."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import about
import asking
import evaluate
import pytest
from about import words_of
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

from engine.batch import Options
from engine.bench.inputs.prompts import read_prompts

STARTER = Path(__file__).parents[2] / "assets" / "starter"


def test_an_outside_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    record = {"family": "sort", "messages": [{"role": "user", "content": "Sort: b, a"}], "expect": "a, b"}
    path.write_text(json.dumps(record) + "\n\n", encoding="utf-8")
    assert read_tasks(path) == [Question("sort", ({"role": "user", "content": "Sort: b, a"},), "a, b")]


def test_exact_means_every_character() -> None:
    question = Question("sort", (), expect="a, b")
    assert question.is_right("a, b")
    assert not question.is_right("a, b\n")
    assert Question("application", (), pattern="runs|SQLite").is_right("It is kept in SQLite.")


def test_every_family_and_both_follow_ups_are_asked() -> None:
    questions = held_out_tasks(2, ())
    assert {question.family for question in questions} == {*FAMILIES, "second turn", "third turn"}
    assert all(question.messages[-1]["role"] == "user" for question in questions)
    assert questions == held_out_tasks(2, ())


def test_prompts_for_speed_are_the_tasks_and_the_openings(tmp_path: Path) -> None:
    written = speed_prompts(2, (), ["Hello", "Tell me more."])
    assert [prompt["messages"] for prompt in written[:-2]] == [question.messages for question in held_out_tasks(2, ())]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, written)), encoding="utf-8")
    read = read_prompts((path,), Options())
    assert [prompt.category for prompt in read[-3:]] == ["third turn", "free conversation", "free conversation"]
    assert [prompt.turns for prompt in read[-2:]] == [("Hello",), ("Tell me more.",)]


def test_the_mean_leaves_follow_ups_and_questions_apart() -> None:
    assert mean_over_families({"sort": 1.0, "repeat": 0.5, "second turn": 0.0, "application": 0.0}) == 0.75


def test_twenty_questions_twice_that_training_does_not_ask() -> None:
    questions = application_questions()
    assert Counter(question.family for question in questions) == dict.fromkeys(evaluate.APPLICATION, 20)
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
    answers = ask_all(STARTER, conversations, max_tokens=40)
    assert len(answers) == 2
    assert "Slipstream" in answers[1]


def test_wrong_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "ask_all", lambda model, conversations, max_tokens: ["a", "b"])
    questions = [Question("sort", (), expect="a"), Question("sort", (), expect="c")]
    assert exact_figures(STARTER, questions) == ({"sort": 0.5}, [(questions[1], "b")])


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="answered none"):
        exact_figures(tmp_path / "none", [Question("greeting", ({"role": "user", "content": "Hi"},), "Hello")])

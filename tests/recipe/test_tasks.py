"""The task generator: the same seed gives the same tasks, and every answer follows from its question."""

from __future__ import annotations

import ast
import json
import random
import re

import pytest
import wordings
from pools import OBJECTS, is_held_out
from tasks import FAMILIES, MAKERS, Draft, Pools, make_task

SEEDS = range(60)


def draft(family: str, seed: int) -> Draft:
    return MAKERS[family](Pools(random.Random(seed), held_out=seed % 2 == 1), 1 + seed % 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_task(family: str) -> None:
    for seed in SEEDS:
        assert make_task(random.Random(seed), family) == make_task(random.Random(seed), family)


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_give_different_tasks(family: str) -> None:
    assert len({make_task(random.Random(seed), family).messages[0]["content"] for seed in SEEDS}) > 50


@pytest.mark.parametrize("family", FAMILIES)
def test_held_out_wordings_are_not_trained_on(family: str) -> None:
    assert wordings.HELD_OUT[family]
    assert not set(wordings.HELD_OUT[family]) & set(wordings.TRAIN[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_carry_no_fence_and_turns_alternate(family: str) -> None:
    for seed in SEEDS:
        task = make_task(random.Random(seed), family, size=1 + seed % 6)
        assert task.answer
        assert all("```" not in m["content"] for m in task.messages if m["role"] == "assistant")
        assert [m["role"] for m in task.messages] == ["user", "assistant"] * (len(task.messages) // 2)


def test_training_and_held_out_words_are_apart() -> None:
    trained = Pools(random.Random(1))
    held_out = Pools(random.Random(1), held_out=True)
    assert not any(is_held_out(trained.pick(OBJECTS)) for _ in range(300))
    assert all(is_held_out(held_out.pick(OBJECTS)) for _ in range(300))


def test_repeat_is_the_input() -> None:
    for seed in SEEDS:
        made = draft("repeat", seed)
        assert made.answer == made.text


def test_replaced_word_is_gone_and_the_rest_stays() -> None:
    for seed in SEEDS:
        made = draft("replace_word", seed)
        old, new = made.fields["old"], made.fields["new"]
        assert re.sub(rf"\b{old}\b", new, made.text) == made.answer


def test_renamed_function_parses_to_the_renamed_tree() -> None:
    for seed in SEEDS:
        made = draft("rename_variable", seed)
        old, new = made.fields["old"], made.fields["new"]
        names = [node.id for node in ast.walk(ast.parse(made.answer)) if isinstance(node, ast.Name)]
        before = [node.id for node in ast.walk(ast.parse(made.text)) if isinstance(node, ast.Name)]
        assert names == [new if name == old else name for name in before]
        assert len(made.text.splitlines()) == len(made.answer.splitlines())


def test_changed_argument_is_the_only_change() -> None:
    for seed in SEEDS:
        made = draft("change_argument", seed)
        before, after = (ast.parse(code).body[0].value for code in (made.text, made.answer))
        assert [k.arg for k in before.keywords] == [k.arg for k in after.keywords]
        for old, new in zip(before.keywords, after.keywords, strict=True):
            wanted = made.fields["new"] if old.arg == made.fields["key"] else ast.unparse(old.value)
            assert ast.unparse(new.value) == ast.unparse(ast.parse(wanted).body[0].value)


def test_typo_is_corrected_where_it_stands() -> None:
    for seed in SEEDS:
        made = draft("fix_typo", seed)
        assert made.fields["old"] != made.fields["new"]
        assert re.sub(rf"\b{made.fields['old']}\b", made.fields["new"], made.text) == made.answer


def test_lists_keep_their_items() -> None:
    for seed in SEEDS:
        numbered = draft("numbered_list", seed)
        assert numbered.answer == "\n".join(f"{i}. {item}" for i, item in enumerate(numbered.items, 1))
        assert json.loads(draft("to_json_list", seed).answer) == list(draft("to_json_list", seed).items)
        ordered = draft("sort", seed)
        assert ordered.answer.split("\n") == sorted(ordered.items, key=str.lower)
        assert all(item in ordered.text for item in ordered.items)


def test_json_is_canonical_and_holds_strings_of_the_input() -> None:
    for seed in SEEDS:
        made = draft("to_json", seed)
        data = json.loads(made.answer)
        assert json.dumps(data, indent=2) == made.answer
        for record in data if isinstance(data, list) else [data]:
            assert all(isinstance(value, str) for value in record.values())
            assert all(part in made.text for pair in record.items() for part in pair)


def test_quoted_sentence_is_the_only_one_with_the_word() -> None:
    for seed in SEEDS:
        made = draft("quote", seed)
        pattern = rf"\b{made.fields['old']}\b"
        assert re.search(pattern, made.answer)
        assert made.answer in made.text
        assert not re.search(pattern, made.text.replace(made.answer, ""))


def test_extracted_value_stands_beside_its_field() -> None:
    for seed in SEEDS:
        made = draft("extract", seed)
        assert re.search(rf"{made.fields['key']}(: | = ){re.escape(made.answer)}", made.text)


def test_second_turns_change_the_first_answer() -> None:
    twice = [make_task(random.Random(seed), turns=2) for seed in range(400)]
    twice = [task for task in twice if len(task.messages) == 4]
    assert len(twice) > 60
    assert all(task.messages[3]["content"] for task in twice)

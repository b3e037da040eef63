"""The task generator: the same seed gives the same tasks, and every answer follows from its question."""

from __future__ import annotations

import ast
import csv
import json
import random
import re

import followups
import pytest
from generator.edits import to_case
from generator.forms import LIST_FORMS
from generator.lines import UNITS
from generator.pools import OBJECTS, Pools, is_held_out
from tasks import FAMILIES, MAKERS, Draft, make_task
from wording import patterns as wordings

SEEDS = range(60)


def draft(family: str, seed: int) -> Draft:
    return MAKERS[family](Pools(random.Random(seed), held_out=seed % 2 == 1), 1 + seed % 5)


def table_rows(text: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n")]
    assert set(rows.pop(1)) == {"---"}
    return rows


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_task(family: str) -> None:
    for seed in SEEDS:
        assert make_task(random.Random(seed), family) == make_task(random.Random(seed), family)


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_give_different_tasks(family: str) -> None:
    assert len({make_task(random.Random(seed), family).messages[0]["content"] for seed in SEEDS}) > 50


@pytest.mark.parametrize("family", FAMILIES)
def test_held_out_wordings_are_not_trained_on(family: str) -> None:
    rng = random.Random(5)
    asked = {wordings.expand(rng, rng.choice(wordings.TRAIN[family])).lower() for _ in range(2000)}
    held_out = {wordings.expand(rng, rng.choice(wordings.HELD_OUT[family])).lower() for _ in range(100)}
    assert len(asked) > 10
    assert not asked & held_out


def test_held_out_follow_ups_are_not_trained_on() -> None:
    rng = random.Random(6)
    for kind, patterns in wordings.FOLLOW_UPS_HELD_OUT.items():
        trained = {wordings.expand(rng, rng.choice(wordings.FOLLOW_UPS[kind])).lower() for _ in range(1000)}
        assert not trained & {wordings.expand(rng, rng.choice(patterns)).lower() for _ in range(100)}


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_carry_no_fence_and_turns_alternate(family: str) -> None:
    for seed in SEEDS:
        task = make_task(random.Random(seed), family, size=1 + seed % 6, held_out=seed % 2 == 1)
        assert task.answer
        assert all("```" not in m["content"] for m in task.messages if m["role"] == "assistant")
        assert [m["role"] for m in task.messages] == ["user", "assistant"] * (len(task.messages) // 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_question_holds_the_input_and_no_open_field(family: str) -> None:
    for seed in SEEDS:
        asked = make_task(random.Random(seed), family, held_out=seed % 2 == 1).messages[0]["content"]
        made = re.findall(
            r"\{(?:old|new|key|pairs|case|question|order|form|unit|some|how|kind|what)\}|<(?:text|list|code|data|same)>",
            asked,
        )
        assert made == []
        assert "??" not in asked


def test_training_and_held_out_words_are_apart() -> None:
    trained = Pools(random.Random(1))
    held_out = Pools(random.Random(1), held_out=True)
    assert not any(is_held_out(trained.pick(OBJECTS)) for _ in range(300))
    assert all(is_held_out(held_out.pick(OBJECTS)) for _ in range(300))


def test_repeat_is_the_input() -> None:
    for seed in SEEDS:
        made = draft("repeat", seed)
        assert made.answer == made.text


@pytest.mark.parametrize("family", ["replace_word", "repeat_change"])
def test_what_is_replaced_is_gone_and_the_rest_stays(family: str) -> None:
    for seed in SEEDS:
        made = draft(family, seed)
        old, new = re.escape(made.fields["old"]), made.fields["new"]
        assert re.search(rf"\b{old}\b", made.text)
        assert re.sub(rf"\b{old}\b", new, made.text) == made.answer


def test_a_renamed_variable_is_renamed_everywhere_and_nothing_else_is() -> None:
    for seed in range(200):
        made = draft("rename_variable", seed)
        old, new = made.fields["old"], made.fields["new"]
        before, after = re.split(r"(\w+)", made.text), re.split(r"(\w+)", made.answer)
        assert old in before
        assert new not in before
        changed = {pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]}
        assert changed == {(old, new)}


def last_call(code: str) -> ast.Call:
    value = ast.parse(code).body[-1].value
    assert isinstance(value, ast.Call)
    return value


def test_changed_argument_is_the_only_change() -> None:
    for seed in SEEDS:
        made = draft("change_argument", seed)
        before, after = last_call(made.text), last_call(made.answer)
        assert [k.arg for k in before.keywords] == [k.arg for k in after.keywords]
        for old, new in zip(before.keywords, after.keywords, strict=True):
            wanted = made.fields["new"] if old.arg == made.fields["key"] else ast.unparse(old.value)
            assert ast.unparse(new.value) == ast.unparse(ast.parse(wanted).body[0].value)


def test_argument_changed_by_its_place() -> None:
    for seed in SEEDS:
        made = draft("change_position", seed)
        place = ("first", "second", "third", "fourth").index(made.fields["key"])
        before, after = ([ast.unparse(a) for a in last_call(code).args] for code in (made.text, made.answer))
        before[place] = ast.unparse(ast.parse(made.fields["new"]).body[0].value)
        assert before == after


def test_typo_is_corrected_where_it_stands() -> None:
    for seed in SEEDS:
        made = draft("fix_typo", seed)
        assert made.fields["old"] != made.fields["new"]
        assert re.sub(rf"\b{made.fields['old']}\b", made.fields["new"], made.text) == made.answer


def test_listed_typos_and_their_corrections_stand_in_the_question() -> None:
    for seed in SEEDS:
        made = draft("fix_typos", seed)
        wrong = set(re.findall(r"\w+", made.text)) - set(re.findall(r"\w+", made.answer))
        assert 2 <= len(wrong) <= 3
        assert all(word in made.fields["pairs"] for word in wrong)


def test_lists_keep_their_items() -> None:
    for seed in SEEDS:
        numbered = draft("numbered_list", seed)
        assert numbered.answer == "\n".join(f"{i}. {item}" for i, item in enumerate(numbered.items, 1))
        made = draft("list_to_json", seed)
        assert [str(item) for item in json.loads(made.answer)] == list(made.items)
        back = draft("json_to_list", seed)
        assert back.answer == LIST_FORMS["numbers"](json.loads(back.text))
        merged = draft("merge", seed)
        assert all(item in merged.text for item in merged.items)
        assert merged.answer in {form(list(merged.items)) for form in LIST_FORMS.values()}


def test_sorted_lists_keep_their_form() -> None:
    for seed in SEEDS:
        ordered = draft("sort", seed)
        assert list(ordered.items) == sorted(ordered.items, key=str.lower)
        assert ordered.answer in {form(list(ordered.items)) for form in LIST_FORMS.values()}
        assert ordered.answer != ordered.text
        assert all(item in ordered.text for item in ordered.items)


def test_json_holds_what_stands_in_the_input_and_plain_numbers_without_quotes() -> None:
    for seed in SEEDS:
        made = draft("to_json", seed)
        data = json.loads(made.answer, parse_float=str, parse_int=str)
        for record in data if isinstance(data, list) else [data]:
            assert all(part in made.text for pair in record.items() for part in pair)
        number = r"(0|[1-9]\d{0,8})(\.\d+)?"
        for column in zip(*made.rows[1:], strict=True):
            is_plain = all(re.fullmatch(number, value) for value in column)
            assert all((f'"{value}"' not in made.answer) == is_plain for value in column)
        values = [value for row in made.rows[1:] for value in row]
        assert len(made.answer.split("\n")) > len(values)


def test_tables_csv_and_lines_hold_the_same_rows() -> None:
    for seed in SEEDS:
        table, comma, lines = draft("to_table", seed), draft("to_csv", seed), draft("to_lines", seed)
        assert table_rows(table.answer) == [list(row) for row in table.rows]
        assert list(csv.reader(comma.answer.split("\n"))) == [list(row) for row in comma.rows]
        assert [line.split(": ", 1) for line in lines.answer.split("\n")] == [
            list(p) for p in zip(*lines.rows, strict=True)
        ]


@pytest.mark.parametrize(
    ("case", "answer"),
    [("upper", "THE 2ND MAN'S É"), ("lower", "the 2nd man's é"), ("title", "The 2nd MaN's É")],
)
def test_cases(case: str, answer: str) -> None:
    assert to_case("the 2nd maN's É", case).lower() == answer.lower()
    assert to_case("the 2nd MaN's É", case) == answer


def test_case_changes_letters_only() -> None:
    for seed in SEEDS:
        made = draft("change_case", seed)
        assert made.answer.lower() == made.text.lower()


def test_quoted_sentence_is_the_only_one_with_the_word() -> None:
    for seed in SEEDS:
        made = draft("quote", seed)
        pattern = rf"\b{made.fields['old']}\b"
        assert re.search(pattern, made.answer)
        assert made.answer in made.text
        assert not re.search(pattern, made.text.replace(made.answer, ""))


def test_sentence_that_answers_stands_in_the_text() -> None:
    for seed in SEEDS:
        made = draft("answer_quote", seed)
        assert made.text.count(made.answer) == 1
        assert made.fields["question"].endswith("?")


def test_extracted_value_stands_in_the_record() -> None:
    for seed in SEEDS:
        made = draft("extract", seed)
        assert made.fields["key"] in made.text
        assert made.answer in made.text


@pytest.mark.parametrize("turns", [2, 3])
def test_later_turns_follow_from_the_first_answer(turns: int) -> None:
    for seed in range(300):
        task = make_task(random.Random(seed), turns=turns, held_out=seed % 2 == 1)
        assert len(task.messages) == 2 * turns
        assert all(message["content"] for message in task.messages)


def test_a_list_can_be_extended_and_sorted_in_later_turns() -> None:
    asked = [make_task(random.Random(seed), "numbered_list", turns=2).messages for seed in range(200)]
    added = [m for m in asked if re.search(r"\badd\b", m[2]["content"].lower())]
    assert added
    for messages in added:
        assert messages[3]["content"].startswith(messages[1]["content"] + "\n")


def test_several_words_are_replaced_at_once() -> None:
    for seed in SEEDS:
        made = draft("replace_words", seed)
        before, after = re.findall(r"\w+", made.text), re.findall(r"\w+", made.answer)
        changed = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
        assert 2 <= len(changed) <= 3
        assert all(old in made.fields["pairs"] and new in made.fields["pairs"] for old, new in changed)


def test_counts_are_those_of_the_text() -> None:
    for seed in SEEDS:
        made = draft("count", seed)
        assert made.answer == str(UNITS[made.fields["unit"]](made.text))


def test_what_is_left_of_a_list_keeps_its_form() -> None:
    for seed in SEEDS:
        picked, turned, once = draft("pick_items", seed), draft("reverse", seed), draft("unique", seed)
        assert picked.answer in picked.text
        assert sorted(turned.answer) == sorted(turned.text)
        forms = {form(list(once.items)) for form in LIST_FORMS.values()}
        assert once.answer in forms
        assert len(once.items) == len(set(once.items))


def test_lines_with_a_word_are_all_of_them() -> None:
    for seed in SEEDS:
        made = draft("find_lines", seed)
        pattern = rf"(?i)\b{made.fields['old']}\b"
        lines = made.text.split("\n")
        assert made.answer.split("\n") == [line for line in lines if re.search(pattern, line)]
        cut = draft("remove_line", seed)
        assert re.search(rf"(?i)\b{cut.fields['old']}\b", cut.text)
        assert not re.search(rf"(?i)\b{cut.fields['old']}\b", cut.answer)


def test_answers_to_questions_stand_in_the_text() -> None:
    for seed in SEEDS:
        short, found, column = draft("answer_short", seed), draft("find_all", seed), draft("column", seed)
        assert short.answer in short.text
        assert all(line in found.text for line in found.answer.split("\n"))
        assert all(line in column.text for line in column.answer.split("\n"))
        wrapped = draft("wrap", seed)
        assert all(part in wrapped.answer for part in re.findall(r"\w+", wrapped.text))


def test_no_record_is_lost_in_a_later_turn() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        made = draft(rng.choice(["to_json", "to_table", "to_csv"]), seed)
        if (later := followups.form(Pools(rng), made)) is not None:
            values = [value for row in made.rows for value in row]
            assert all(value in later[1].answer for value in values)


def test_a_change_changes_something() -> None:
    for seed in range(300):
        for family in ("repeat_change", "replace_word"):
            fields = draft(family, seed).fields
            assert fields["old"] != fields["new"]

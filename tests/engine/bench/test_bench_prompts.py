"""The batch format as the benchmarks read it; the built-in prompts; the generator of lossless prompts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.batch import Options, PromptLine, parse_line
from engine.bench.inputs.prompts import built_in_prompts, read_prompts
from engine.config import Message
from tests.lossless_prompts import ANSWER_TOKENS, lossless_prompts


def written(folder: Path, *lines: object, name: str = "some.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def read(*paths: Path, defaults: Options | None = None) -> tuple[PromptLine, ...]:
    return read_prompts(paths, defaults or Options())


def test_turns_and_labels(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"turns": ["a", "b"], "id": "two", "category": "talk"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
        {"prompt": "p", "id": 7},
    )
    talk, messages, prompt = read(path)
    assert (talk.turns, talk.name, talk.category) == (("a", "b"), "two", "talk")
    assert (messages.history, messages.turns) == ((Message.of("system", "s"),), ("q",))
    assert messages.category == "some"
    assert (messages.name, prompt.name) == ("2", "7")
    assert talk.request().messages == (Message.of("user", "a"),)


def test_the_flag_s_system_message_gives_way_to_the_line_s_own() -> None:
    defaults = Options.of(system="of the flag")
    own = parse_line('{"messages": [{"role":"system","content":"own"},{"role":"user","content":"x"}]}', 1, defaults)
    assert [message.text for message in own.request().messages] == ["own", "x"]
    assert [message.text for message in parse_line('{"prompt":"x"}', 1, defaults).request().messages] == [
        "of the flag",
        "x",
    ]


def test_a_bad_line_names_file_and_line(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "x"}, {"prompt": "x", "seed": "y"})
    with pytest.raises(ValueError, match=r"some\.jsonl: Line 2: seed must be a whole number"):
        read(path)


def test_a_benchmark_measures_one_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sets dtype, but a benchmark measures one model"):
        read(written(tmp_path, {"prompt": "x", "dtype": "bf16"}))
    same = written(tmp_path, {"prompt": "x", "dtype": "fp32"})
    assert len(read(same, defaults=Options.of(dtype="float32"))) == 1


def test_the_limit_is_of_each_file(tmp_path: Path) -> None:
    paths = [written(tmp_path, *({"prompt": f"{i}"} for i in range(4)), name=f"{name}.jsonl") for name in "ab"]
    lines = read_prompts(paths, Options(), 2)
    assert [(line.category, line.name) for line in lines] == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]


def test_an_empty_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no prompts"):
        read(written(tmp_path))


@pytest.mark.parametrize("turns", [[], ["a", " "], "a", [1]])
def test_bad_turns(turns: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="turns"):
        read(written(tmp_path, {"turns": turns}))


def test_the_built_in_prompts_are_both_kinds() -> None:
    lines = read(*built_in_prompts())
    assert len(lines) < 100, "those that drafters are trained on are no benchmark"
    counts = {category: sum(line.category == category for line in lines) for category in ("copying", "prose")}
    assert min(counts.values()) >= 20
    assert len({(line.category, line.name) for line in lines}) == len(lines)


def measure(text: str) -> int:
    return len(text.split())


def generated(count: int = 60, seed: int = 1, longest: int = 500) -> list[dict[str, object]]:
    return lossless_prompts(count, seed=seed, max_prompt_tokens=longest, measure=measure)


def turns_of(line: dict[str, object]) -> Sequence[str]:
    turns = line.get("turns", [line.get("prompt")])
    assert isinstance(turns, list)
    return turns


def test_generated_prompts_keep_their_promises() -> None:
    lines = generated()
    for number, line in enumerate(lines, 1):
        parse_line(json.dumps(line), number, Options(), with_turns=True)
    assert sum(len(turns_of(line)) > 1 for line in lines) == len(lines) // 3
    totals = [sum(map(measure, turns_of(line))) + (len(turns_of(line)) - 1) * ANSWER_TOKENS for line in lines]
    assert max(totals) <= 500
    assert max(totals) > 400
    assert all(line["ignore_eos"] and line["max_tokens"] == ANSWER_TOKENS for line in lines)
    assert any("repetition_penalty" in line for line in lines)


def test_generated_prompts_depend_on_the_seed_alone() -> None:
    assert generated() == generated()
    assert generated(seed=1) != generated(seed=2)


def test_a_number_too_long_to_be_read_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Line 3: holds a number with too many digits\.$"):
        parse_line(f'{{"prompt": "x", "max_tokens": {"9" * 5000}}}', 3, Options())

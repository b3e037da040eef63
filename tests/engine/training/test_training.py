"""Training heads on a tiny model: from prompts to a pack that drafts, and interrupted as often as one likes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config import ModelSpec
from engine.drafting.adaptive import AdaptiveDrafter
from engine.errors import EngineError, NotEnoughDisk, NotEnoughMemory, UnusablePack
from engine.models.identity import ModelIdentity
from engine.models.loader import load_model
from engine.trained.block_heads import BlockHeads, HeadSizes
from engine.trained.look_ahead import TrainedHeads
from engine.trained.pack import CALIBRATION, EVALUATION, WEIGHTS, PackConfig, read_pack, write_pack
from engine.training import answers as answers_module
from engine.training import parts, plan, run, vocabulary
from engine.training.answers import Answer, AnswerFile, answer_batch
from engine.training.evaluate import lattices_of, replayed, sharpness_of
from engine.training.examples import StateFile, examples_of, part_of
from engine.training.fit import Fit
from engine.training.forecast import disk_of_heads
from engine.training.lessons import HeadLesson, loss_of
from engine.training.plan import Progress, needs
from engine.training.rescoring import NGrams, Refined
from engine.training.run import Training
from engine.training.vocabulary import numbers_of
from tests.asking import ask, load

TinyModel = Callable[..., Path]

PROMPTS = [[(number * 31 + at * 17) % 250 + 3 for at in range(4 + number % 5)] for number in range(60)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "LIMIT", 24)
    monkeypatch.setattr(answers_module, "FEWEST", 8)
    monkeypatch.setattr(answers_module, "MOST", 8)
    monkeypatch.setattr(parts, "EXAMPLES", 32)
    monkeypatch.setattr(run, "RANK", 8)
    monkeypatch.setattr(vocabulary, "_SIZES", (128,))


def training(folder: Path, pack: Path, **options: Any) -> Training:
    loaded = load_model(ModelSpec(model=str(folder), dtype="fp32", backend="torch", threads=1), lambda _: None)
    settings = {"num_tokens": 1400, "num_heads": 3, "epochs": 2} | options
    return Training(loaded=loaded, prompts=PROMPTS, prompts_of="some file", pack=pack, **settings)


def answered(*arguments: Any, **options: Any) -> list[list[int]]:
    """The answers of a batch; how many tokens it has never falls."""
    counts, writing = [0], answer_batch(*arguments, **options)
    while True:
        try:
            counts.append(next(writing))
        except StopIteration as end:
            assert counts == sorted(counts)
            return list(end.value)


def finish(steps: Iterator[Progress]) -> list[Progress]:
    return list(steps)


@pytest.fixture(scope="module")
def whole(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that was trained in one go."""
    with pytest.MonkeyPatch.context() as patch:
        small.__wrapped__(patch)  # type: ignore[attr-defined]
        pack = tmp_path_factory.mktemp("packs") / "whole"
        stages = [progress.stage for progress in finish(training(tiny_model("llama"), pack).steps())]
        assert list(dict.fromkeys(stages)) == ["answers", "states", "heads", "calibrate"]
    return pack


def test_a_trained_pack_drafts_and_changes_no_answer(whole: Path, tiny_model: TinyModel) -> None:
    engine = load(tiny_model("llama"), dtype="fp32", drafter_pack=str(whole))
    assert engine.info is not None
    assert (engine.info.drafter_pack, engine.info.notes) == ("whole", ())
    for temperature in (0.0, 0.8):
        options = {"temperature": temperature, "seed": 3}
        sampling = engine.info.default_sampling.__class__(**options)
        plain = ask(engine, mode="plain", sampling=sampling)
        assert ask(engine, mode="adaptive", sampling=sampling).token_ids == plain.token_ids
    figures = json.loads((whole / EVALUATION).read_text())
    assert figures["oracle"]["tokens_per_round"] >= figures["alone"]["tokens_per_round"] >= 1
    card = (whole / "README.md").read_text("utf-8")
    assert "# A drafter for tiny-llama" in card
    assert f"{figures['tokens']:,} tokens of {figures['answers']:,} answers" in card
    assert "60 prompts of some file" in card
    assert f"| the best path of the heads' lattice | {figures['oracle']['tokens_per_round']:.2f} |" in card
    assert not (whole / "training" / "states.bin").exists()
    assert (whole / "training" / "answers.jsonl").exists()


def test_interrupted_anywhere_it_ends_with_the_same_bits(whole: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    pack = tmp_path / "again"
    for taken in (1, 40, 200, 12, 60):  # within answers, states and steps
        steps = training(tiny_model("llama"), pack).steps()
        assert len(list(islice(steps, taken))) == taken
        steps.close()
        assert not (pack / "config.json").exists()
    finish(training(tiny_model("llama"), pack).steps())
    for name in (WEIGHTS, CALIBRATION, EVALUATION, "training/answers.jsonl"):
        assert (pack / name).read_bytes() == (whole / name).read_bytes(), name


def test_killed_while_it_wrote_it_goes_on_from_the_last_whole_piece(
    whole: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    pack = tmp_path / "killed"
    steps = training(tiny_model("llama"), pack).steps()
    next(progress for progress in steps if progress.stage == "states" and progress.done == 5)
    steps.close()
    with (pack / "training" / "states.bin").open("ab") as file:
        file.write(b"half an answer's")
    (pack / "training" / "states.done").write_text("")
    file_of_answers = pack / "training" / "answers.jsonl"
    file_of_answers.write_bytes(file_of_answers.read_bytes()[:-9])
    finish(training(tiny_model("llama"), pack).steps())
    for name in (WEIGHTS, CALIBRATION, "training/answers.jsonl"):
        assert (pack / name).read_bytes() == (whole / name).read_bytes(), name


def test_another_training_is_not_mixed_with_the_one_that_is_there(whole: Path, tiny_model: TinyModel) -> None:
    other = training(tiny_model("llama"), whole)
    with pytest.raises(UnusablePack, match="choose another folder with --out"):
        next(replace(other, prompts=PROMPTS[1:]).steps())
    for changed in ({"dtype": torch.bfloat16}, {"quant": "int8"}, {"device": torch.device("cuda")}):
        with pytest.raises(UnusablePack, match="another --dtype, --quant or --device"):
            next(replace(other, loaded=replace(other.loaded, **changed)).steps())
    with pytest.raises(UnusablePack, match="choose another folder with --out"):
        next(training(tiny_model("qwen3"), whole).steps())


def test_a_training_goes_on_with_as_many_answers_at_once_as_it_began_with(
    whole: Path, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "pack"
    steps = training(tiny_model("llama"), pack).steps()
    next(progress for progress in steps if progress.stage == "answers" and progress.done > 500)
    steps.close()
    monkeypatch.setattr(answers_module, "FEWEST", 16)
    monkeypatch.setattr(answers_module, "MOST", 16)
    settings = pack / "training" / "settings.json"
    for earlier in (False, True):
        if earlier:
            settings.write_text(settings.read_text().replace(',\n "rows": 8', ""))
            monkeypatch.setattr(plan, "FEWEST", 8)
        steps = training(tiny_model("llama"), pack).steps()
        next(progress for progress in steps if progress.stage == "states")
        steps.close()
        name = "training/answers.jsonl"
        assert (pack / name).read_bytes() == (whole / name).read_bytes(), earlier


def test_a_model_is_told_alike_when_it_is_trained_for_and_loaded(tiny_model: TinyModel, tmp_path: Path) -> None:
    """By what its head reads, which may be other than its layers hand on."""
    trained = training(tiny_model("llama"), tmp_path / "pack")
    trained.loaded.model.config.hidden_size = 7
    assert trained.identity.hidden_size == trained.loaded.model.get_output_embeddings().in_features
    trained.loaded.model.get_output_embeddings = lambda: None
    with pytest.raises(UnusablePack, match="has no head"):
        replace(trained, epochs=1)


def test_settings_are_written_whole_or_not_at_all(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = training(tiny_model("llama"), tmp_path / "pack")

    def cut_off(file: Path, text: str, **_: str) -> None:
        file.write_bytes(text.encode()[:9])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", cut_off)
        with pytest.raises(UnusablePack, match="cannot be written"):
            next(trained.steps())
    assert next(trained.steps()).stage == "answers"


def test_a_step_that_fails_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = HeadSizes(num_heads=1, hidden_size=4, inner_size=2, rank=2, draft_vocab=4)
    heads = BlockHeads(sizes)
    numbers, rows = torch.ones(32, 2, dtype=torch.int64), np.arange(32)
    lesson = HeadLesson(heads, torch.ones(32, 4), rows, numbers, rows)
    checkpoint = tmp_path / "checkpoint.pt"
    fit = Fit(heads, lesson, 9, torch.device("cpu"))
    steps = fit.run(checkpoint, "ones")
    assert list(islice(steps, 3)) == [0, 1, 2]
    with monkeypatch.context() as patch:
        patch.setattr(fit, "step", raises)
        with pytest.raises(RuntimeError, match="out of memory"):
            next(steps)
    assert not checkpoint.exists()
    list(fit.run(checkpoint, "ones"))
    assert checkpoint.exists()


def raises() -> float:
    raise RuntimeError("out of memory")


def test_a_training_on_more_tokens_or_with_other_heads_begins_with_the_answers_that_are_there(
    whole: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    pack = tmp_path / "fewer"
    steps = training(tiny_model("llama"), pack, num_tokens=200, num_heads=2).steps()
    next(progress for progress in steps if progress.stage == "heads" and progress.done == 4)
    steps.close()
    finish(training(tiny_model("llama"), pack).steps())
    assert (pack / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    first = finish(training(tiny_model("llama"), pack, num_tokens=200, num_heads=2).steps())
    assert first[0].done == first[0].total == 200, "answers that are there are not generated again"
    assert read_pack(pack).config.heads == HeadSizes(
        num_heads=2, hidden_size=64, inner_size=64, rank=8, draft_vocab=128
    )


def test_heads_learn_what_came_behind_each_state_and_look_ahead_alike(tmp_path: Path) -> None:
    """By heart, of states that are noise: what is replayed, and what the drafter's own look writes down."""
    generator = torch.Generator().manual_seed(2)
    said = [Answer(0, (1,), tuple(torch.randint(40, (120,), generator=generator).tolist()), 0.0)]
    examples, ids = examples_of(said), torch.arange(2, 38)  # four tokens cannot be drafted
    numbers = numbers_of(examples, ids, 40)[:, :4]
    states = torch.randn(len(numbers), 48, generator=generator)
    sizes = HeadSizes(num_heads=3, hidden_size=48, inner_size=64, rank=8, draft_vocab=36)
    chosen = examples.of("train")
    head = torch.randn(36, 48, generator=generator)
    heads = BlockHeads(sizes, torch.Generator().manual_seed(5))
    heads.head.data.copy_(head)
    fit = Fit(heads, HeadLesson(heads, states, examples.rows, numbers, chosen, 32), 150, torch.device("cpu"))
    list(fit.run(tmp_path / "checkpoint.pt", "noise"))
    heads.eval().requires_grad_(False)
    lattices = lattices_of(heads, states, numbers, examples, chosen)
    ways = Refined(heads, lattices, NGrams([]))
    by_heart = replayed(lattices, ways.markov)
    assert by_heart["tokens_per_round"] > 2.5
    assert replayed(lattices, ways.oracle)["tokens_per_round"] >= by_heart["tokens_per_round"]
    model = ModelIdentity("A", 48, 40, "t", "w")
    config, sharpness = PackConfig(heads=sizes, model=model), sharpness_of(heads, lattices)
    write_pack(tmp_path / "pack", config, {"heads": heads.state_dict()}, ids, {"heads": sharpness}, {})
    ahead = TrainedHeads(read_pack(tmp_path / "pack"), torch.device("cpu"))
    drafter = AdaptiveDrafter(heads=ahead)
    right = drafted = 0
    for at in range(0, 110, 10):
        drafter.begin([1, *said[0].answer_ids[: at + 1]])
        drafter.see(states[at : at + 1])
        draft = drafter.draft(3, chain=True)
        wanted = said[0].answer_ids[at + 1 : at + 4]
        drafted += len(draft)
        right += sum(token_id == other for token_id, other in zip(draft.token_ids, wanted, strict=False))
    assert drafted > 15
    assert right > 0.8 * drafted


def test_answers_of_a_batch_are_those_of_each_prompt_alone(tiny_model: TinyModel) -> None:
    """Rows that have ended are dropped from the batch, and padding is not read."""
    model = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None).model
    greedy: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits.argmax(-1)  # noqa: E731
    prompts = PROMPTS[:9]
    alone = [answered(model, [prompt], frozenset(), greedy, limit=20)[0] for prompt in prompts]
    ends = frozenset({alone[0][5], alone[1][9], alone[2][2]})
    wanted = [answered(model, [prompt], ends, greedy, limit=20)[0] for prompt in prompts]
    assert answered(model, prompts, ends, greedy, limit=20) == wanted
    assert len({len(answer) for answer in wanted}) > 1


def test_a_damaged_file_of_answers_is_named(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path / "answers.jsonl")
    file.append([Answer(0, (1,), (2, 3), 0.0)])
    assert file.read() == [[Answer(0, (1,), (2, 3), 0.0)]]
    (tmp_path / "answers.jsonl").write_bytes(b'[{"number": 1}]\n')
    with pytest.raises(EngineError, match="is damaged: remove the folder"):
        file.read()


def test_states_are_those_behind_the_last_token_but_one(tiny_model: TinyModel, tmp_path: Path) -> None:
    """Of an answer that begins in one chunk of the prefill and ends in another, and of one too short to learn from."""
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None)
    long = Answer(0, tuple(token % 250 + 3 for token in range(300)), tuple(range(3, 250)), 0.0)
    known = [long, Answer(1, (5,), (6,), 0.0), Answer(2, (5, 6), (7, 8), 0.0)]
    with torch.inference_mode():
        expected = loaded.model.model(torch.tensor([[*long.prompt_ids, *long.answer_ids]])).last_hidden_state[0]
    target = run.target_of(loaded)
    file = StateFile(tmp_path / "states.bin", loaded.model.config.hidden_size)
    assert list(file.compute(target, known)) == [0, 1, 2, 3]
    assert target.states is None
    assert file.done(known) == 3
    assert file.done(known[:2]) == 2
    examples = examples_of(known)
    states = file.read(known).float()[examples.rows]
    assert examples.tokens[0, :3].tolist() == [3, 4, 5]
    assert examples.tokens[-1, :3].tolist() == [7, 8, -1]
    torch.testing.assert_close(states[: 247 - 1], expected[299 : 299 + 246], atol=0.05, rtol=0.05)
    stored = (tmp_path / "states.bin").read_bytes()
    (tmp_path / "states.bin").write_bytes(stored[:-1])
    assert file.done(known) == 2, "the file was cut off"
    assert list(file.compute(target, known)) == [2, 3]
    assert (tmp_path / "states.bin").read_bytes() == stored
    (tmp_path / "states.bin").write_bytes(b"")
    assert file.done(known) == 0


def test_what_it_takes_is_said_and_checked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = HeadSizes(num_heads=2, hidden_size=64, inner_size=64, rank=8, draft_vocab=384)
    options = {"vocab_size": 384, "kv_bytes": 256, "longest": 10, "num_prompts": 50}
    small_one = needs([sizes], num_tokens=1000, **options)
    large = needs([replace(sizes, hidden_size=4096)], num_tokens=10**12, **options)
    small_one.check(tmp_path / "not" / "there", in_ram=True)
    assert "of memory beside the model" in small_one.sentence
    with pytest.raises(NotEnoughDisk, match="fewer --tokens"):
        large.check(tmp_path, in_ram=True)
    monkeypatch.setattr(plan, "free_ram", lambda: 10)
    with pytest.raises(NotEnoughMemory, match="close other programs"):
        small_one.check(tmp_path, in_ram=True)
    small_one.check(tmp_path, in_ram=False)


def test_the_disk_that_is_offered_is_about_what_is_needed() -> None:
    sizes = HeadSizes(num_heads=4, hidden_size=576, inner_size=576, rank=64, draft_vocab=8192)
    needed = needs([sizes], vocab_size=49_152, kv_bytes=23_040, longest=100, num_tokens=200_000, num_prompts=1538)
    assert disk_of_heads(576, 49_152) == pytest.approx(needed.disk, rel=0.1)


def test_too_few_prompts_are_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama"))), lambda _: None)
    with pytest.raises(ValueError, match="There are 3 prompts, and training needs 40"):
        Training(
            loaded=loaded, prompts=PROMPTS[:3], prompts_of="", num_tokens=1000, num_heads=2, epochs=1, pack=tmp_path
        )


def test_one_prompt_in_ten_is_kept_out_of_training() -> None:
    parts = [part_of(number) for number in range(100)]
    assert [parts.count(part) for part in ("train", "calibrate", "evaluate")] == [90, 5, 5]
    examples = examples_of([Answer(number, (5,), (6, 7, 8), 0.0) for number in range(20)])
    assert np.array_equal(examples.answers[examples.of("evaluate")], [19, 19])


def test_a_gradient_has_the_same_bits_however_threads_take_turns() -> None:
    """As large as a real one: less is summed by one thread."""
    sizes = HeadSizes(num_heads=4, hidden_size=16, inner_size=16, rank=64, draft_vocab=64)
    generator = torch.Generator().manual_seed(1)
    heads = BlockHeads(sizes, generator)
    heads.right.data = torch.randn(64, 64, generator=generator)
    states, numbers = torch.randn(256, 16, generator=generator), torch.randint(20, (256, 5), generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = []
        for _ in range(10):
            heads.zero_grad()
            loss_of(heads, states, numbers).backward()  # type: ignore[no-untyped-call]
            assert heads.left.grad is not None
            gradients.append(heads.left.grad.clone())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, gradients[0]) for each in gradients)


def test_small_states_are_normed_alike_in_every_number_format() -> None:
    sizes = HeadSizes(num_heads=1, hidden_size=64, inner_size=8, rank=2, draft_vocab=20)
    heads = BlockHeads(sizes, torch.Generator().manual_seed(0))
    for weights in (heads.outer, heads.head):
        weights.data = torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    states, last = torch.full((1, 64), 3e-4), torch.zeros(1, dtype=torch.int64)
    scores = heads(states, last)
    torch.testing.assert_close(heads.double()(states.double(), last).float(), scores)


def test_what_comes_behind_an_answer_counts_as_right_for_nobody() -> None:
    examples = examples_of([Answer(0, (1,), (2, 3), 0.0)])
    sizes = HeadSizes(num_heads=3, hidden_size=4, inner_size=2, rank=2, draft_vocab=20)
    heads = BlockHeads(sizes, torch.Generator().manual_seed(0))
    numbers = torch.from_numpy(examples.tokens.astype(np.int64))[:, :4]
    lattices = lattices_of(heads, torch.ones(1, 4), numbers, examples, examples.of("train"))
    figures = replayed(lattices, Refined(heads, lattices, NGrams([])).oracle)
    assert figures["top1"][1:] == [0.0, 0.0]
    assert figures["repeats"] == 0, "no token is not the same as no token"

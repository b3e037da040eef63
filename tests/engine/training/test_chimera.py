"""Training Chimera on a tiny model, and that it is used as it was trained."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.drafting.sources.chimera import NUM_CHILDREN
from engine.models.identity import ModelIdentity
from engine.trained import chimera as chimera_module
from engine.trained.chimera import Chimera, ChimeraSizes, unrolled
from engine.trained.pack import CALIBRATION, WEIGHTS, PackConfig, read_pack, write_pack
from engine.trained.unrolling import TrainedChimera
from engine.training.answers import Answer
from engine.training.evaluate import chimera_sharpness_of, drafts_of, replayed
from engine.training.fit import Fit
from engine.training.lessons import ChimeraLesson
from engine.training.parts import Material
from tests.asking import ask, load
from tests.engine.training.test_training import finish, small, training  # noqa: F401

TinyModel = Callable[..., Path]

CPU = torch.device("cpu")
DEPTH = 4


def sizes(**changes: bool) -> ChimeraSizes:
    return ChimeraSizes(
        hidden_size=32, width=24, trigram_size=16, inner_size=16, depth=DEPTH, draft_vocab=36, **changes
    )


def noisy(**changes: bool) -> Chimera:
    """Chimera with weights that are not zero anywhere."""
    chimera = Chimera(sizes(**changes), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for weight in chimera.parameters():
        weight.data = weight.data + 0.3 * torch.randn(weight.shape, generator=generator)
    return chimera.requires_grad_(False)


def written(folder: Path, chimera: Chimera, ids: torch.Tensor) -> TrainedChimera:
    model = ModelIdentity("A", 32, 40, "t", "w")
    config = PackConfig(model=model, chimera=chimera.sizes)
    sharpness = {"chimera": (1.0,) * DEPTH}
    write_pack(folder, config, {"chimera": chimera.state_dict()}, ids, sharpness, {})
    return TrainedChimera(read_pack(folder), CPU)


@pytest.mark.parametrize("changes", [{}, {"trigram": False}, {"context": False}])
def test_what_is_unrolled_in_a_tree_is_what_training_unrolls(changes: dict[str, bool], tmp_path: Path) -> None:
    """Read in pieces, after a text that shares its beginning, and behind a prompt of which nothing was read."""
    chimera, ids = noisy(**changes), torch.arange(2, 38)
    trained = written(tmp_path / "pack", chimera, ids)
    chimera.load_state_dict(read_pack(tmp_path / "pack").part("chimera"))
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(40, (60,), generator=generator).numpy().astype(np.int32)
    states = torch.randn(60, 32, generator=generator)
    other = np.concatenate((text[:20], text[:9])).astype(np.int32)
    trained.begin(other)
    trained.look([states[: len(other) - 1]], other)
    trained.begin(text[:31])
    trained.look([states[19:25], states[25:30]], text[:31])
    for end in (34, 35, 60):
        trained.look([states[trained._token_ids.size - 1 : end - 1]], text[:end])
        numbers = torch.from_numpy(np.where((text >= 2) & (text < 38), text - 2, 36).astype(np.int64))[:end]
        steps = unrolled(chimera, states[: end - 1], numbers, end - 2, DEPTH, drafting=True)
        row, tree = 0, trained.unrolled
        for depth, (_, scores) in enumerate(steps):
            chances = torch.softmax(scores[0], -1)
            likeliest = torch.topk(chances, NUM_CHILDREN)
            assert tree.token_ids[row, 0] == ids[likeliest.indices[0]]
            np.testing.assert_allclose(tree.chances[row], likeliest.values, atol=1e-4, rtol=1e-3)
            assert tree.depths[row] == depth
            if depth + 1 < DEPTH:
                row = tree.rows[row, 0]
                assert row > 0, "the likeliest token's path is followed"


def test_a_long_text_leaves_no_more_than_its_end_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many positions as it learned to read: what was before them is not seen."""
    for module in ("engine.trained.chimera", "engine.trained.unrolling"):
        monkeypatch.setattr(f"{module}.CONTEXT", 8)
    monkeypatch.setattr("engine.trained.unrolling.CACHED", 16)
    chimera, ids = noisy(), torch.arange(2, 38)
    trained = written(tmp_path / "pack", chimera, ids)
    chimera.load_state_dict(read_pack(tmp_path / "pack").part("chimera"))
    assert chimera_module.CONTEXT == 8
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(2, 38, (60,), generator=generator).numpy().astype(np.int32)
    states = torch.randn(60, 32, generator=generator)
    trained.begin(text[:5])
    trained.look([states[:4]], text[:5])
    for end in range(8, 60, 3):
        trained.look([states[end - 4 : end - 1]], text[:end])
        numbers = torch.from_numpy(text[:end].astype(np.int64) - 2)
        scores = unrolled(chimera, states[: end - 1], numbers, end - 2, 1)[0][1]
        likeliest = torch.topk(torch.softmax(scores[0], -1), NUM_CHILDREN)
        np.testing.assert_allclose(trained.unrolled.chances[0], likeliest.values, atol=1e-4, rtol=1e-3)
        assert trained._positions.size <= 16


def test_it_learns_a_text_by_heart(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    said = [Answer(0, (1, 3), tuple(torch.randint(40, (24,), generator=generator).tolist()), 0.0)]
    ids = torch.arange(2, 38)
    states = torch.randn(25, 32, generator=generator)
    material = Material(said, states, ids, 40)
    chimera = Chimera(sizes(), generator)
    chimera.head.data.copy_(torch.randn(36, 32, generator=generator))
    lesson = ChimeraLesson(chimera, states, [material.texts[index] for index in material.of("train")], 1)
    fit = Fit(chimera, lesson, 300, CPU)
    list(fit.run(tmp_path / "checkpoint.pt", "noise"))
    chosen = material.examples.of("train")
    drafts = drafts_of(chimera, states, material.texts, material.numbers, material.examples, chosen, DEPTH)
    figures = replayed(drafts, drafts.chain)
    assert figures["tokens_per_round"] > 3
    assert len(chimera_sharpness_of(drafts)) == DEPTH


@pytest.mark.parametrize("without", ["", "trigram", "context"])
def test_a_pack_of_both_is_trained_and_changes_no_answer(without: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Interrupted within Chimera's training, or not, it ends with the same bits."""
    folder = tiny_model("llama")
    options = {"num_tokens": 400, "num_heads": 2, "epochs": 1, "kind": "both", "rescorer": not without}
    stages = [each.stage for each in finish(training(folder, tmp_path / "a", without=without, **options).steps())]
    rescored = [] if without else ["rescorer"]
    assert list(dict.fromkeys(stages)) == ["answers", "states", "heads", *rescored, "chimera", "calibrate"]
    steps = training(folder, tmp_path / "b", without=without, **options).steps()
    taken = stages.index("chimera") + 3
    assert len(list(islice(steps, taken))) == taken
    steps.close()
    finish(training(folder, tmp_path / "b", without=without, **options).steps())
    for name in (WEIGHTS, CALIBRATION):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    engine = load(folder, dtype="fp32", drafter_pack=str(tmp_path / "a"))
    plain = ask(engine, mode="plain")
    engine.draft_every_round()
    assert ask(engine, mode="adaptive").token_ids == plain.token_ids

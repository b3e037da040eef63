"""A pack is read as it was written; what is damaged, hostile or another model's is refused in a sentence."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config import ModelSpec
from engine.engine import Engine
from engine.errors import UnusablePack
from engine.models import hardware
from engine.models.identity import tokenizer_digest, weights_digest
from engine.trained import look_ahead
from engine.trained.finding import find_pack
from engine.trained.look_ahead import TrainedHeads
from engine.trained.pack import CALIBRATION, CONFIG, WEIGHTS, check_fits, read_pack
from engine.trained.unrolling import TrainedChimera
from tests.models import byte_tokenizer
from tests.packs import identity, random_pack

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_pack(tmp_path / "mine", identity())


def test_a_pack_comes_back_as_it_was_written(folder: Path) -> None:
    pack = read_pack(folder)
    assert (pack.name, pack.config.model, pack.sharpness) == ("mine", identity(), (1.0, 1.0, 1.0))
    assert {name: tuple(value.shape) for name, value in pack.weights.items()} == pack.config.shapes()
    check_fits(folder, pack.config.model, identity())


def test_a_pack_that_was_read_does_not_change_with_its_file(folder: Path) -> None:
    pack = read_pack(folder)
    known = pack.draft_ids.clone()
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(b"\xff" * (folder / WEIGHTS).stat().st_size)
    assert torch.equal(pack.draft_ids, known)


def change_json(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        for key, value in values.items():
            *above, last = key.split("__")
            place = data
            for each in above:
                place = place[each]
            place[last] = value
        (folder / name).write_text(json.dumps(data))

    return change


def change_weights(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        for name, edit in values.items():
            weights[name] = edit(weights.get(name))
        save_file(weights, folder / WEIGHTS)

    return change


def to_folder(name: str) -> Callable[[Path], None]:
    """As a pipe would be, which no system but POSIX has."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor[0, 0] = torch.nan
    return tensor


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / CONFIG).unlink(), "config.json cannot be read"),
        (lambda folder: (folder / CONFIG).write_text("{" * 100_000), "config.json is not JSON"),
        (lambda folder: (folder / CONFIG).write_text("[" * 100_000 + "]" * 100_000), "config.json is not JSON"),
        (lambda folder: (folder / CONFIG).write_text(" " * (2**20 + 1)), "config.json is too large"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "config.json is no object"),
        (lambda folder: (folder / CONFIG).write_bytes(b"\xff"), "config.json is not JSON"),
        (change_json(CONFIG, format="other"), "of the format slipstream-drafter-2"),
        (change_json(CONFIG, kind="lookup"), "a kind that is not known here, 'lookup'"),
        (change_json(CONFIG, kind=["heads"]), "a kind that is not known here"),
        (change_json(CONFIG, kind="both"), "does not give the sizes of chimera and heads"),
        (change_json(CONFIG, sizes=3), "does not give the sizes of heads"),
        (change_json(CONFIG, sizes__heads=3), "does not give the sizes num_heads, hidden_size"),
        (change_json(CONFIG, sizes__more={}), "does not give the sizes of heads"),
        (
            change_json(CONFIG, sizes__heads__num_heads=9),
            "num_heads in its config.json must be a whole number from 1 to 8",
        ),
        (change_json(CONFIG, sizes__heads__num_heads=True), "num_heads in its config.json must be a whole number"),
        (
            change_json(CONFIG, sizes__heads__draft_vocab=10**12),
            "draft_vocab in its config.json must be a whole number",
        ),
        (change_json(CONFIG, sizes__heads__hidden_size=64), "the sizes in its config.json are not those of its model"),
        (change_json(CONFIG, sizes__heads__inner_size=9), "heads.inner in its drafter.safetensors is not"),
        (change_json(CONFIG, model="x"), "does not say which model it belongs to"),
        (change_json(CONFIG, model__weights=5), "weights of the model in its config.json is no str"),
        (change_json(CALIBRATION, heads=[1.0]), "does not give the sharpness of all 3 of heads"),
        (change_json(CALIBRATION, heads=[1.0, 1.0, 0.0]), "must be numbers from"),
        (change_json(CALIBRATION, heads=[1.0, 1.0, float("nan")]), "must be numbers from"),
        (lambda folder: (folder / WEIGHTS).unlink(), "drafter.safetensors cannot be read"),
        (to_folder(WEIGHTS), r"drafter.safetensors cannot be read \(it is no regular file\)"),
        (to_folder(CONFIG), r"config.json cannot be read \(it is no regular file\)"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\x80\x04pickle"), "is no safetensors file"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 64), "is no safetensors file"),
        (lambda folder: (folder / WEIGHTS).write_bytes(bytes(2**21)), "is larger than the sizes"),
        (
            change_weights(**{"heads.inner": with_nan}),
            "heads.inner in its drafter.safetensors holds numbers that are none",
        ),
        (change_weights(**{"heads.inner": lambda t: t[:-1].clone()}), r"is not \[24, 32\] of BF16"),
        (change_weights(**{"heads.inner": lambda t: t.to(torch.float64)}), r"is not \[24, 32\] of BF16"),
        (change_weights(extra=lambda _: torch.zeros(1)), "and nothing else"),
        (change_weights(draft_ids=lambda t: t + 384), "must be ascending token ids"),
        (change_weights(draft_ids=lambda t: t.flip(0)), "must be ascending token ids"),
        (change_weights(draft_ids=lambda t: t - 400), "must be ascending token ids"),
    ],
)
def test_a_damaged_pack_is_refused_in_a_sentence(folder: Path, damage: Callable[[Path], Any], sentence: str) -> None:
    damage(folder)
    with pytest.raises(UnusablePack, match=sentence) as refusal:
        read_pack(folder)
    assert str(folder) in str(refusal.value)
    assert "train one with train-drafter" in str(refusal.value)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (change_json(CONFIG, kind="heads"), "does not give the sizes of heads"),
        (change_json(CONFIG, sizes__chimera__depth=7), "depth in its config.json must be a whole number from 1 to 6"),
        (change_json(CONFIG, sizes__chimera__width=17), "width in its config.json must be even"),
        (change_json(CONFIG, sizes__chimera__context=0), "context in its config.json must be true or false"),
        (change_json(CONFIG, sizes__chimera__context=False), "and nothing else"),
        (change_json(CONFIG, sizes__chimera__trigram=False), r"chimera.trigram_in in its drafter.safetensors is not"),
        (
            change_json(CONFIG, sizes__chimera__draft_vocab=65),
            "the sizes in its config.json are not those of its model",
        ),
        (
            change_json(CONFIG, sizes__rescorer={}),
            "does not give the sizes hidden_size, inner_size, draft_vocab of resc",
        ),
        (change_json(CALIBRATION, chimera=None), "does not give the sharpness of all 4 of chimera"),
        (
            change_weights(**{"chimera.other": lambda t: t * torch.inf}),
            "chimera.other in its drafter.safetensors holds",
        ),
    ],
)
def test_a_damaged_chimera_is_refused_in_a_sentence(
    tmp_path: Path, damage: Callable[[Path], Any], sentence: str
) -> None:
    folder = random_pack(tmp_path / "both", identity(), kind="both")
    assert read_pack(folder).chimera_sharpness == (1.0,) * 4
    damage(folder)
    with pytest.raises(UnusablePack, match=sentence):
        read_pack(folder)


def test_what_drafting_keeps_counts_as_memory(tmp_path: Path) -> None:
    """Chimera's cache and the states that it was handed; heads read one state of a pass."""
    pack = read_pack(random_pack(tmp_path / "both", identity(), kind="both"))
    chimera = TrainedChimera(pack, CPU)
    cached = sum(each.numel() for each in (chimera._seen.keys, chimera._seen.values))
    assert pack.config.working_numbers >= cached + chimera.num_states * 32
    assert replace(pack.config, chimera=None).working_numbers < chimera.num_states * 32


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"hidden_size": 64}, "hidden states of 32 numbers, and this one has hidden states of 64 numbers"),
        ({"vocab_size": 99}, "a vocabulary of 384 tokens, and this one has a vocabulary of 99 tokens"),
        ({"architecture": "Other"}, "the architecture LlamaForCausalLM, and this one has the architecture Other"),
        ({"tokenizer": "x"}, "another tokenizer"),
    ],
)
def test_a_pack_of_another_model_is_refused(folder: Path, other: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnusablePack, match=sentence):
        find_pack(str(folder), lambda: replace(identity(), **other), folder, None, CPU)


def test_a_pack_that_is_not_there_is_refused_before_its_model_is_read(tmp_path: Path) -> None:
    for choice in (str(tmp_path / "gone"), str(tmp_path)):
        with pytest.raises(UnusablePack, match="cannot be used"):
            list(Engine().load(ModelSpec(model=str(tmp_path / "no-model"), drafter_pack=choice)))


def test_what_does_not_fit_is_refused_before_its_weights_are_read(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")
    with pytest.raises(UnusablePack, match="another tokenizer"):
        find_pack(str(folder), lambda: replace(identity(), tokenizer="x"), folder, None, CPU)
    change_json(CONFIG, model__architecture="x" * 10**5)(folder)
    with pytest.raises(UnusablePack, match="the architecture xxx") as refusal:
        find_pack(str(folder), identity, folder, None, CPU)
    assert len(str(refusal.value)) < 1000


def test_a_pack_that_memory_does_not_hold_is_refused_before_its_weights_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_pack(str(folder), identity, folder, None, CPU)[0] is not None
    (folder / WEIGHTS).write_bytes(b"")
    change_json(CONFIG, sizes__heads__inner_size=2**15, sizes__heads__rank=2**11)(folder)
    monkeypatch.setattr(hardware, "free_ram", lambda: 10**8)
    with pytest.raises(UnusablePack, match=r"takes up to 3\.\d GB, and 0\.1 GB are free on .*--drafter-pack none"):
        find_pack(str(folder), identity, folder, None, CPU)
    _, notes = find_pack("auto", identity, folder.parent / "model", folder.parent, CPU)
    assert "takes up to" in notes[0]


def test_no_numbers_are_drawn_for_heads_that_have_a_pack(folder: Path) -> None:
    known = torch.get_rng_state()
    heads = TrainedHeads(read_pack(folder), CPU)
    assert torch.equal(torch.get_rng_state(), known)
    heads.look(torch.ones(32), 3)
    assert all(torch.isfinite(torch.from_numpy(array)).all() for array in (heads.lattice.scores, heads.lattice.rests))


def test_heads_say_the_same_in_8_bits_and_in_floating_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = TrainedHeads(read_pack(folder), CPU)
    monkeypatch.setattr(look_ahead, "int8_heads", lambda heads: None)  # as where the kernel computes something else
    exact = TrainedHeads(read_pack(folder), CPU)
    assert quick.num_bytes < exact.num_bytes
    for last_id in (3, 77, 10**6):  # the last is none of the model's tokens
        state = torch.randn(32, generator=torch.Generator().manual_seed(last_id))
        chances = []
        for heads in (quick, exact):
            heads.look(state, last_id)
            lattice, known = heads.lattice, {}
            for head in range(int(lattice.num_heads[0])):
                scores = [*lattice.scores[head], lattice.rests[head]]
                shares = torch.softmax(torch.tensor(scores), 0).tolist()
                known |= {
                    (head, int(each)): share for each, share in zip(lattice.token_ids[head], shares, strict=False)
                }
            chances.append({each: share for each, share in known.items() if share > 0.05})
        assert len(chances[1]) >= 3
        assert chances[0] == pytest.approx(chances[1], abs=0.05)


def test_the_pack_of_a_model_is_found_where_it_may_lie(tmp_path: Path) -> None:
    model, packs = tmp_path / "model", tmp_path / "packs"
    model.mkdir()
    mine = identity(weights="mine")
    assert find_pack("auto", lambda: mine, model, packs, CPU) == (None, ())
    random_pack(packs / "a", identity(weights="another's"))
    assert find_pack("auto", lambda: mine, model, packs, CPU) == (None, ())
    random_pack(model / "drafter", mine)
    found, notes = find_pack("auto", lambda: mine, model, packs, CPU)
    assert found is not None
    assert (found.folder, notes) == (model / "drafter", ())
    random_pack(packs / "b", mine)
    found, _ = find_pack("auto", lambda: mine, model, packs, CPU)
    assert found is not None
    assert found.folder == packs / "b", "what was trained here comes first"
    (packs / "b" / WEIGHTS).write_bytes(b"")
    found, notes = find_pack("auto", lambda: mine, model, packs, CPU)
    assert found is not None
    assert found.folder == model / "drafter"
    assert "is no safetensors file" in notes[0]
    assert find_pack("none", lambda: mine, model, packs, CPU) == (None, ())


def test_a_pack_of_other_weights_is_used_where_it_is_named_with_a_note(folder: Path) -> None:
    found, notes = find_pack(str(folder), lambda: identity(weights="other"), folder, None, CPU)
    assert found is not None
    assert "was trained for other weights" in notes[0]
    assert find_pack(str(folder), identity, folder, None, CPU)[1] == ()


def test_a_model_is_told_by_contents_wherever_it_lies(tmp_path: Path) -> None:
    first, copy, other = (tmp_path / name for name in ("a", "b", "c"))
    first.write_bytes(bytes(range(256)) * 4000)
    copy.write_bytes(first.read_bytes())
    other.write_bytes(first.read_bytes()[:-1] + b"x")
    assert weights_digest([first]) == weights_digest([copy])
    assert len({weights_digest(files) for files in ([first], [other], [first, copy], [])}) == 4
    assert tokenizer_digest(byte_tokenizer()) == tokenizer_digest(byte_tokenizer())
    assert tokenizer_digest(byte_tokenizer()) != tokenizer_digest(byte_tokenizer(370))

"""Heads and Chimera change no answer, whatever they propose: of random numbers, or because they know everything."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.bench.instrumented import InstrumentedEngine
from engine.config import Exactness, GenerationRequest, Message, ModelSpec, Sampling
from engine.drafting.adaptive import AdaptiveDrafter, DrafterOptions
from engine.errors import UnusablePack
from engine.events import Finished
from engine.ready import identity_of
from engine.trained.look_ahead import TrainedHeads
from engine.trained.pack import WEIGHTS, Kind
from engine.trained.unrolling import TrainedChimera
from tests.asking import PROMPT, ask, load
from tests.packs import KnowingChimera, KnowingHeads, random_pack

TinyModel = Callable[..., Path]

SAMPLINGS = [Sampling(), Sampling(temperature=0.8, seed=3), Sampling(temperature=1.5, seed=4, repetition_penalty=1.2)]


def states_of(engine: InstrumentedEngine, token_ids: Sequence[int]) -> torch.Tensor:
    target = engine._session.model.target
    target.hand_states(True)
    cache, states = target.new_cache(len(token_ids)), []
    for _ in target.prefill(cache, token_ids, lambda ids: range(len(ids))):
        assert target.states is not None
        states.append(target.states)
    target.hand_states(False)
    return torch.cat(states)


def knowing(engine: InstrumentedEngine, answer: Finished) -> KnowingHeads:
    """Heads that know this answer to the prompt in the cache."""
    session = engine._session
    token_ids = [*session.cached_ids[: answer.stats.num_prompt_tokens], *answer.token_ids]
    return KnowingHeads(token_ids, states_of(engine, token_ids), session.model.target.vocab_size)


@pytest.mark.parametrize(
    ("family", "sampling"),
    [("llama", SAMPLINGS[0]), ("llama", SAMPLINGS[2]), ("phi", SAMPLINGS[1])],  # phi runs as transformers has it
)
def test_heads_that_know_the_answer_shorten_it_and_change_nothing(
    family: str, sampling: Sampling, tiny_model: TinyModel
) -> None:
    """Each look is behind the very state of the text's last token but one: heads are asked about the right place."""
    engine = load(tiny_model(family), dtype="fp32")
    options = {"sampling": sampling, "ignore_eos": True, "max_tokens": 64}
    plain = ask(engine, mode="plain", **options)
    heads = knowing(engine, plain)
    drafter = AdaptiveDrafter(heads=heads)
    drafter.draft_every_round()
    engine.reset_cache()
    answers = [ask(engine, mode="adaptive", drafter=drafter, **options) for _ in range(3)]  # it learns to trust them
    for answer in answers:
        assert answer.token_ids == plain.token_ids
    stats = answers[-1].stats
    assert stats.tokens_per_round is not None
    assert stats.tokens_per_round > 4
    places = [stats.num_prompt_tokens - 1]
    for accepted in stats.accepted_lengths[:-1]:
        places.append(places[-1] + accepted + 1)
    known = [place for place in places if place in heads.looked]
    assert len(known) > 0.8 * len(places), "states that are alike may be told apart wrongly, most are not"


@pytest.mark.parametrize(("family", "sampling"), [("llama", SAMPLINGS[1]), ("phi", SAMPLINGS[0])])
def test_chimera_that_knows_the_answer_shortens_it_and_changes_nothing(
    family: str, sampling: Sampling, tiny_model: TinyModel
) -> None:
    """It is given the state of every token once, in order, of the prompt, too: where the target knows them all."""
    engine = load(tiny_model(family), dtype="fp32")
    options = {"sampling": sampling, "ignore_eos": True, "max_tokens": 64}
    plain = ask(engine, mode="plain", **options)
    session = engine._session
    token_ids = [*session.cached_ids[: plain.stats.num_prompt_tokens], *plain.token_ids]
    chimera = KnowingChimera(token_ids, states_of(engine, token_ids))
    drafter = AdaptiveDrafter(chimera=chimera, options=DrafterOptions(without=("recycled", "ngram", "pointer", "skip")))
    drafter.draft_every_round()
    engine.reset_cache()
    answers = [ask(engine, mode="adaptive", drafter=drafter, **options) for _ in range(3)]
    for answer in answers:
        assert answer.token_ids == plain.token_ids
    assert answers[-1].stats.tokens_per_round > 3
    assert all(chimera.read.values())
    assert chimera.looked[-1] > answers[-1].stats.num_prompt_tokens
    if family == "llama":
        assert set(range(chimera.looked[0])) <= set(chimera.read), "those of the prompt, too"
    assert chimera.kept[1] >= plain.stats.num_prompt_tokens, "what was read of the prompt is read no more"


@pytest.mark.parametrize("kind", ["chimera", "both"])
def test_chimera_of_random_numbers_changes_no_answer(
    kind: Kind, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("llama")
    engine = load(folder, dtype="fp32", drafter_pack="none")
    model = engine._session.model
    asked = [(sampling, text) for sampling in SAMPLINGS for text in (PROMPT, "Hello", PROMPT + " And then?")]
    plain = [ask(engine, text, mode="plain", sampling=each) for each, text in asked]
    looked: list[int] = []
    look = TrainedChimera.look
    monkeypatch.setattr(
        TrainedChimera, "look", lambda one, states, ids: (looked.append(len(ids)), look(one, states, ids))
    )
    for scale in (0.3, 30.0):
        pack = random_pack(tmp_path / f"noise-{scale}", identity_of(model.loaded, model.target), kind=kind, scale=scale)
        noisy = load(folder, dtype="fp32", drafter_pack=str(pack))
        noisy.draft_every_round()
        for (each, text), wanted in zip(asked, plain, strict=True):
            assert ask(noisy, text, mode="adaptive", sampling=each).token_ids == wanted.token_ids
    assert len(looked) > 2 * len(asked)


@pytest.mark.parametrize(("scale", "exactness"), [(0.1, "exact"), (3.0, "fast")])
def test_a_pack_of_random_numbers_changes_no_answer(
    scale: float, exactness: Exactness, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("llama")
    engine = load(folder, dtype="fp32", drafter_pack="none")
    assert engine.info is not None
    assert engine.info.drafter_pack == ""
    model = engine._session.model
    asked = [(sampling, text) for sampling in SAMPLINGS for text in (PROMPT, "Hello")]
    plain = [ask(engine, text, mode="plain", sampling=each, exactness=exactness) for each, text in asked]
    pack = random_pack(tmp_path / "noise", identity_of(model.loaded, model.target), num_heads=8, scale=scale)
    engine = load(folder, dtype="fp32", drafter_pack=str(pack))
    assert engine.info is not None
    assert (engine.info.drafter_pack, engine.info.notes) == ("noise", ())
    looked: list[int] = []
    look = TrainedHeads.look
    monkeypatch.setattr(
        TrainedHeads, "look", lambda heads, state, last_id: (looked.append(last_id), look(heads, state, last_id))
    )
    for (each, text), wanted in zip(asked, plain, strict=True):
        answer = ask(engine, text, mode="adaptive", sampling=each, exactness=exactness)
        assert answer.token_ids == wanted.token_ids
    assert len(looked) >= len(asked) / 2


def test_the_models_own_pack_is_loaded_by_itself(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tiny_model("llama")
    model = load(folder, certify="never")._session.model
    pack = random_pack(tmp_path / "packs" / "own", identity_of(model.loaded, model.target))
    engine = InstrumentedEngine(packs=tmp_path / "packs")
    list(engine.load(ModelSpec(model=str(folder), certify="never")))
    assert engine.info is not None
    assert engine.info.drafter_pack == "own"
    (pack / WEIGHTS).write_bytes(b"")
    list(engine.load(ModelSpec(model=str(folder), certify="never")))
    assert engine.info is not None
    assert engine.info.drafter_pack == ""
    assert "is no safetensors file" in engine.info.notes[-1]
    with pytest.raises(UnusablePack, match="is no safetensors file"):
        list(engine.load(ModelSpec(model=str(folder), certify="never", drafter_pack=str(pack))))


def test_a_note_that_the_check_of_a_model_brings_stands_beside_that_of_its_pack(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("llama")
    model = load(folder, certify="never")._session.model
    other = replace(identity_of(model.loaded, model.target), weights="another's")
    engine = load(folder, drafter_pack=str(random_pack(tmp_path / "pack", other)))
    model = engine._session.model
    monkeypatch.setattr(type(model.target), "notes", ("Rounds could not be recorded.",))
    assert model.found is not None
    info = model.with_findings(model.found).info
    assert "Rounds could not be recorded." in info.notes
    assert "was trained for other weights" in info.notes[-1]
    assert info.drafter_pack == "pack"


def test_heads_that_never_pay_come_to_rest_and_the_other_sources_go_on() -> None:
    drafter = AdaptiveDrafter(heads=KnowingHeads([0, 1, 0, 1, 0, 1], torch.zeros(6, 4), 8))
    drafter.begin([1, 2, 3, 4, 1, 2, 3, 0, 1])
    allowance = drafter.heads_look.allowance
    assert allowance is not None
    drafter.see(torch.zeros(1, 4))
    assert "heads" in drafter.draft(4).sources
    drafter.charge(plain_s=1e-9, extra=0.0, sources=(), accepted=0)  # what it took was many rounds
    assert not allowance.drafts
    drafter.commit(drafter.draft(1), [2, 3])
    drafter.see(torch.zeros(1, 4))
    assert "heads" not in drafter.draft(4).sources
    assert len(drafter.draft(4)) > 0
    for _ in range(40):
        drafter.charge(plain_s=1.0, extra=0.0, sources=(), accepted=0)
    assert allowance.drafts, "they are tried again"


def test_what_heads_brought_and_cost_is_weighed() -> None:
    drafter = AdaptiveDrafter(heads=KnowingHeads([0, 1], torch.zeros(2, 4), 8))
    allowance = drafter.heads_look.allowance
    assert allowance is not None
    drafter.charge(plain_s=1.0, extra=0.5, sources=("heads", "ngram-3", "heads", "ngram-2"), accepted=1)
    assert allowance._left == pytest.approx(1 + 0.005 + 1 - 0.25)


def test_heads_do_not_look_while_other_sources_copy_a_text() -> None:
    drafter = AdaptiveDrafter(heads=KnowingHeads([0, 1, 0, 1, 0, 1], torch.zeros(6, 4), 8))
    drafter.begin([1, 2, 3, 4, 1, 2, 3, 0, 1])
    for sources, looks in ((("ngram-4",) * 9, False), (("heads",) * 9, True), (("ngram-4",) * 3, True)):
        drafter.charge(plain_s=1e9, extra=0.0, sources=sources, accepted=len(sources))
        drafter.see(torch.zeros(1, 4))
        assert ("heads" in drafter.draft(4).sources) is looks
    drafter.charge(plain_s=1e9, extra=0.0, sources=("ngram-4",) * 9, accepted=9)
    drafter.begin([1, 2, 3, 4, 1, 2, 3, 0, 1])  # another answer
    drafter.see(torch.zeros(1, 4))
    assert "heads" in drafter.draft(4).sources


def test_what_is_counted_for_heads_does_not_make_other_sources_rest(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load(tiny_model("llama"), dtype="fp32")
    drafter = AdaptiveDrafter(heads=knowing(engine, ask(engine, mode="plain", ignore_eos=True)))
    counted: list[float] = []
    assert drafter.allowance is not None
    monkeypatch.setattr(drafter.allowance, "note", lambda *, spent, gained: counted.append(spent))
    monkeypatch.setattr(drafter, "charge", lambda **_: 1e6)
    ask(engine, mode="adaptive", drafter=drafter, ignore_eos=True)
    assert counted
    assert max(counted) < 0


def test_heads_that_come_in_mid_answer_see_the_states_from_then_on(tiny_model: TinyModel) -> None:
    engine = load(tiny_model("llama"), dtype="fp32")
    plain = ask(engine, mode="plain", ignore_eos=True)
    heads = knowing(engine, plain)
    drafter = AdaptiveDrafter(heads=heads)
    drafter.draft_every_round()
    request = GenerationRequest(messages=(Message.of("user", PROMPT),), mode="plain", max_tokens=96, ignore_eos=True)
    running = engine.generate(request, drafter=drafter)
    for number, event in enumerate(running):
        if number == 9:
            running.draft(True)
        last = event
    assert isinstance(last, Finished)
    assert last.token_ids == plain.token_ids
    assert len(heads.looked) > 3

"""Node sampling: the distribution is exact, and the number of rows verified together cannot matter."""

import math

import pytest
import torch

from engine.config import Sampling
from engine.decoding.one_row import NO_TOKEN
from engine.decoding.sampling import NodeSampler, _uniform, _weights, gumbel_noise, process_logits

CPU = torch.device("cpu")
SAMPLES = 20_000


def frequencies(picks: list[int], vocab_size: int) -> torch.Tensor:
    return torch.bincount(torch.tensor(picks), minlength=vocab_size) / len(picks)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0, seed=1),
        Sampling(temperature=0.7, seed=2, top_k=4),
        Sampling(temperature=1.3, seed=3, top_p=0.8),
        Sampling(temperature=1.0, seed=4, min_p=0.2),
        Sampling(temperature=0.9, seed=5, repetition_penalty=1.5),
    ],
)
def test_picks_follow_the_processed_distribution(sampling: Sampling) -> None:
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -0.5, -1.0, 0.7])
    sampler = NodeSampler(sampling, [0, 3], len(logits), CPU)
    picks = [i for p in range(0, SAMPLES, 1000) for i in _rows(sampler, logits, p, 1000)]
    seen = torch.zeros(1, len(logits), dtype=torch.bool)
    seen[0, [0, 3]] = True
    penalised = seen if sampling.repetition_penalty != 1 else None
    expected = process_logits(logits[None], sampling, penalised).softmax(-1)[0]
    error = (frequencies(picks, len(logits)) - expected).abs()
    tolerance = 5 * torch.sqrt(expected * (1 - expected) / SAMPLES)
    assert (error <= tolerance).all()


def _rows(sampler: NodeSampler, logits: torch.Tensor, start: int, count: int) -> list[int]:
    """Single-row picks at consecutive positions, as plain decoding makes them."""
    return [sampler.pick_one(logits, (), position) for position in range(start, start + count)]


def test_a_round_accepts_with_the_targets_own_probability() -> None:
    """With p(a) = 0.5 a draft 'a' is accepted half of the time, and the output stays half 'a'."""
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    sampling = Sampling(temperature=1.0, seed=11)
    first, accepted = [], 0
    for position in range(0, SAMPLES, 2):
        picks = NodeSampler(sampling, [], 3, CPU).pick(logits.repeat(2, 1), ((), (0,)), (position, position + 1))
        accepted += picks[0] == 0
        first.append(picks[0])
    rounds = len(first)
    assert accepted / rounds == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / rounds))
    assert frequencies(first, 3).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.02)


def test_the_pick_at_a_position_does_not_depend_on_its_row() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 50)
    draft = (3, 7, 3, 9, 1)
    for penalty in (1.0, 1.4):
        sampling = Sampling(temperature=0.9, top_p=0.9, seed=5, repetition_penalty=penalty)
        sampler = NodeSampler(sampling, [1, 2, 3], 50, CPU)
        together = sampler.pick(logits, [draft[:row] for row in range(6)], range(100, 106))
        assert together == [sampler.pick_one(logits[row], draft[:row], 100 + row) for row in range(6)]
        alone = []
        for row in range(6):
            fresh = NodeSampler(sampling, [1, 2, 3], 50, CPU)
            fresh.commit(draft[:row])
            alone += fresh.pick(logits[row : row + 1], [()], [100 + row])
        assert together == alone


def test_nodes_of_equal_depth_share_their_noise() -> None:
    """Two guesses at one position: whichever is right, what follows it is what plain decoding would pick."""
    torch.manual_seed(4)
    logits = torch.randn(3, 50)
    sampling = Sampling(temperature=1.0, seed=6, repetition_penalty=1.5)
    sampler = NodeSampler(sampling, [1], 50, CPU)
    picks = sampler.pick(logits, [(), (5,), (7,)], [20, 21, 21])
    assert picks == [
        sampler.pick_one(logits[i], path, p) for i, (path, p) in enumerate((((), 20), ((5,), 21), ((7,), 21)))
    ]
    assert torch.equal(sampler._noise([20, 21, 21], 50, CPU)[1], sampler._noise([21], 50, CPU)[0])


@pytest.mark.parametrize("temperature", [1e-4, 0.2, 1.2])
def test_the_tokens_that_can_be_picked_are_enough(temperature: float) -> None:
    """One row on a processor picks what all its tokens, each with its noise, would."""
    torch.manual_seed(5)
    logits = torch.randn(24, 3000) * 3
    logits[::3] = logits[::3].round()  # equals
    logits[1::3] /= 12  # a nucleus of many
    logits[0, 7:] = -math.inf
    logits[2::3] *= torch.tensor([[0.0], [1.0]]).repeat(4, 1)
    logits[2::6, 5] = 10.5  # beside it, one of many that are far less likely may win
    for narrowing in ({"top_k": 5}, {"top_p": 0.7}, {"min_p": 0.1}, {"top_k": 9, "top_p": 0.9, "min_p": 0.02}, {}):
        sampler = NodeSampler(Sampling(temperature=temperature, seed=8, **narrowing), [], 3000, CPU)  # type: ignore[arg-type]
        whole = sampler.pick(logits, [()] * len(logits), range(len(logits)))
        assert whole == [sampler.pick_one(row, (), position) for position, row in enumerate(logits)]


def test_noise_depends_on_seed_and_position_alone() -> None:
    whole = gumbel_noise(7, range(10, 20), 64, CPU)
    assert torch.equal(whole[3:4], gumbel_noise(7, [13], 64, CPU))
    assert not torch.equal(gumbel_noise(8, [13], 64, CPU), gumbel_noise(7, [13], 64, CPU))
    assert torch.isfinite(gumbel_noise(2**63 - 1, [2**40], 1000, CPU)).all()
    sample = gumbel_noise(1, range(500), 200, CPU)
    assert sample.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert sample.var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)


def test_processors_equal_transformers() -> None:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    torch.manual_seed(1)
    logits, prompt = torch.randn(1, 200) * 3, [5, 6, 7, 150]
    sampling = Sampling(temperature=0.8, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.3)
    theirs = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.3),
            TemperatureLogitsWarper(0.8),
            TopKLogitsWarper(50),
            TopPLogitsWarper(0.9),
            MinPLogitsWarper(0.02),
        ]
    )(torch.tensor([prompt]), logits.clone())
    seen = torch.zeros(1, 200, dtype=torch.bool)
    seen[0, prompt] = True
    assert torch.allclose(process_logits(logits, sampling, seen), theirs)


def test_greedy_takes_the_largest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 1.0]])
    assert NodeSampler(Sampling(), [], 3, CPU).pick(logits, ((), (1,)), (0, 1)) == [1, 0]


def test_noise_is_finite_at_both_ends() -> None:
    """All bits set and none: an infinite noise on an excluded token would be NaN."""
    uniform = _uniform(torch.tensor([-1, 0]))
    assert (uniform > 0).all()
    assert (uniform < 1).all()


def test_the_nucleus_does_not_depend_on_the_order_of_sums() -> None:
    """The cut is where whole numbers put it, also where top_p is the very sum of the leading probabilities."""
    torch.manual_seed(1)
    for _ in range(50):
        logits = torch.randn(1, 300) * 2
        ordered = logits.sort(descending=True).values
        weights = _weights(ordered)[0].tolist()
        size = int(torch.randint(1, 60, ()))
        top_p = sum(weights[:size]) / sum(weights)
        kept = process_logits(logits, Sampling(temperature=1.0, top_p=top_p), None).isfinite().sum().item()
        limit = math.ceil(float(sum(weights)) * top_p)
        assert kept == sum(sum(weights[:rank]) < limit for rank in range(300))


def test_a_large_nucleus_is_the_same_beside_a_small_one() -> None:
    torch.manual_seed(2)
    flat, peaked = torch.rand(1, 2000), torch.randn(1, 2000) * 20
    sampling = Sampling(temperature=1.0, top_p=0.9)
    together = process_logits(torch.cat([peaked, flat]), sampling, None)
    assert torch.equal(together[:1], process_logits(peaked, sampling, None))
    assert torch.equal(together[1:], process_logits(flat, sampling, None))
    kept = together[1].isfinite()
    probabilities = flat[0].double().softmax(-1)
    assert probabilities[kept].sum() >= 0.9 > probabilities[kept].sum() - probabilities[kept].min()
    assert 256 < kept.sum() < 2000


def test_equally_likely_tokens_stay_in_the_nucleus_together() -> None:
    """As for top-k: which of equals a sort puts first is up to the device."""
    scores = process_logits(torch.tensor([[1.0, 2.0, 1.0, -9.0]]), Sampling(temperature=1.0, top_p=0.7), None)
    assert scores.isfinite().tolist() == [[True, True, True, False]]


def test_no_processor_adds_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels may add a row's floats in another order when other rows are beside it; whole numbers do not mind."""
    for name in ("cumsum", "sum"):
        original = getattr(torch.Tensor, name)

        def whole_numbers_only(self: torch.Tensor, *args: object, _original: object = original, **kw: object) -> object:
            assert not self.is_floating_point()
            return _original(self, *args, **kw)  # type: ignore[operator]

        monkeypatch.setattr(torch.Tensor, name, whole_numbers_only)
    monkeypatch.setattr(torch.Tensor, "softmax", None)
    sampling = Sampling(temperature=0.8, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.1, seed=1)
    assert NodeSampler(sampling, [1], 50, CPU).pick(torch.randn(3, 50), ((), (4,), (4, 5)), (7, 8, 9))


def test_a_row_that_is_not_a_number_picks_no_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, math.nan, 1.0]])
    for sampling in (Sampling(), Sampling(temperature=1.0, top_p=0.9, min_p=0.1)):
        first, second = NodeSampler(sampling, [], 3, CPU).pick(logits, ((), (1,)), (0, 1))
        assert (first != NO_TOKEN, second) == (True, NO_TOKEN)


def test_the_smallest_temperature_is_greedy_not_an_overflow() -> None:
    logits = torch.tensor([[1.0, 7.0, 30.0]])
    for temperature in (1e-300, 1e-40, 1e-6, 1e-4):
        assert NodeSampler(Sampling(temperature=temperature, seed=1), [], 3, CPU).pick(logits, [()], [0]) == [2]


def test_sampling_for_mps_needs_no_float64_there() -> None:
    sampler = NodeSampler(Sampling(temperature=0.5, repetition_penalty=1.2), [0], 3, torch.device("mps"))
    assert sampler.pick(torch.tensor([[0.0, 50.0, 0.0]]), [()], [3]) == [1]

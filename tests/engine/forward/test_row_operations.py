"""The compiled functions between the products, against float64; and their rows' independence of each other."""

import pytest
import torch
from torch.nn import functional as F

from engine.forward.cpu import row_operations

DTYPES = [torch.bfloat16, torch.float32]
ERROR = {torch.bfloat16: 2**-7, torch.float32: 2e-6}  # relative to the greatest number


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def close(ours: torch.Tensor, exact: torch.Tensor) -> bool:
    return bool((ours.double() - exact).abs().max() <= ERROR[ours.dtype] * exact.abs().max())


@pytest.mark.parametrize("size", [1, 7, 64, 250, 1024])
@pytest.mark.parametrize("dtype", DTYPES)
def test_add_norm(dtype: torch.dtype, size: int) -> None:
    stream, added = torch.randn(2, 3, size).to(dtype)
    scale, branch = torch.rand(2, size) + 0.5
    kept, normed = row_operations.add_norm(stream, added, None, (scale, 1e-6))
    assert torch.equal(kept, stream + added)
    assert close(normed, F.rms_norm(kept.double(), (size,), scale.double(), 1e-6))
    kept, normed = row_operations.add_norm(stream, added, (branch, 1e-5), (scale, 1e-6))
    assert close(kept, stream.double() + F.rms_norm(added.double(), (size,), branch.double(), 1e-5))
    same, first = row_operations.add_norm(stream, None, None, (scale, 1e-6))
    assert same is stream
    assert close(first, F.rms_norm(stream.double(), (size,), scale.double(), 1e-6))


@pytest.mark.parametrize("size", [1, 7, 64, 250])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gate(dtype: torch.dtype, size: int) -> None:
    both = 4 * torch.randn(3, 2 * size).to(dtype)
    gates, ups = both.double().chunk(2, -1)
    assert close(row_operations.gate(both, "silu"), F.silu(gates) * ups)
    assert close(row_operations.gate(both, "gelu_tanh"), F.gelu(gates, approximate="tanh") * ups)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_out_and_impossible_numbers_pass_the_gate(dtype: torch.dtype) -> None:
    gates = torch.tensor([-1000.0, 1000.0, float("nan"), float("-inf")])
    both = torch.cat((gates, torch.ones(4)))[None].to(dtype)
    out = row_operations.gate(both, "silu")[0].float()
    assert out[0].abs() < 1e-30
    assert out[1] == torch.tensor(1000.0).to(dtype)
    assert out[2].isnan()


def rotated(x: torch.Tensor, positions: torch.Tensor, speeds: torch.Tensor) -> torch.Tensor:
    angles = positions[:, None, None].double() * speeds.double()
    first, second = x.chunk(2, -1)
    return x * angles.cos() + torch.cat((-second, first), -1) * angles.sin()


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("size", "turned"), [(8, 8), (16, 8), (32, 32), (16, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_store_rows(dtype: torch.dtype, size: int, turned: int, normed: bool) -> None:
    rows, heads, kv_heads, capacity = 3, 4, 2, 20
    joined = torch.randn(rows, (heads + 2 * kv_heads) * size).to(dtype)
    positions, slots = torch.tensor([5, 6, 6]), torch.tensor([5, 17, -1])
    speeds = torch.rand(turned // 2).repeat(2)
    scales = torch.rand(2, size) + 0.5
    keys, values = torch.zeros(2, kv_heads, capacity, size).to(dtype)
    queries = row_operations.store_rows(
        joined,
        heads,
        (scales[0], scales[1], 1e-6) if normed else None,
        row_operations.turn(positions, speeds, 1.0) if turned else None,
        slots,
        keys,
        values,
        8,
    )
    parts = joined.double().view(rows, -1, size)
    query, key, value = parts.split((heads, kv_heads, kv_heads), 1)
    if normed:
        query = F.rms_norm(query, (size,), scales[0].double(), 1e-6)
        key = F.rms_norm(key, (size,), scales[1].double(), 1e-6)
    if turned:
        query, key = (
            torch.cat((rotated(x[..., :turned], positions, speeds), x[..., turned:]), -1) for x in (query, key)
        )
    packed = query.view(rows, kv_heads, heads // kv_heads, size).permute(1, 2, 0, 3).reshape(kv_heads, -1, size)
    assert close(queries[:, :6], packed)
    assert torch.equal(queries[:, 6:], queries[:, 5:6].expand(-1, 2, -1))
    assert close(keys[:, [5, 17]], key[:2].transpose(0, 1))
    assert torch.equal(values[:, [5, 17]].double(), value[:2].transpose(0, 1))
    untouched = [slot for slot in range(capacity) if slot not in (5, 17)]
    assert not keys[:, untouched].any()
    assert not values[:, untouched].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_alone_has_the_bits_it_has_among_others(dtype: torch.dtype) -> None:
    stream, added = torch.randn(2, 9, 200).to(dtype)
    scale = torch.rand(200)
    both = torch.randn(9, 400).to(dtype)
    for row in (0, 4, 8):
        alone = slice(row, row + 1)
        among = row_operations.add_norm(stream, added, None, (scale, 1e-6))[1][alone]
        assert torch.equal(row_operations.add_norm(stream[alone], added[alone], None, (scale, 1e-6))[1], among)
        assert torch.equal(row_operations.gate(both[alone], "silu"), row_operations.gate(both, "silu")[alone])


@pytest.mark.parametrize("vocab", [8, 9, 128, 129, 1000, 32003])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_likeliest_tokens_and_their_chances(dtype: torch.dtype, vocab: int) -> None:
    logits = (5 * torch.randn(3, vocab)).to(dtype)
    logits[1, : (vocab - 8) // 2] = float("-inf")
    top_ids, top_chances = row_operations.most_likely(logits, 8)
    chances = torch.softmax(logits.double(), -1)
    its = torch.from_numpy(top_ids).long()
    assert torch.equal(logits.gather(-1, its), logits.topk(8).values)
    assert all(len(set(row)) == 8 for row in top_ids.tolist())
    assert torch.allclose(torch.from_numpy(top_chances).double(), chances.gather(-1, its), rtol=0.05, atol=1e-30)


def test_of_equally_likely_tokens_the_lower_ids_come_first() -> None:
    top_ids, top_chances = row_operations.most_likely(torch.zeros(1, 300), 4)
    assert top_ids.tolist() == [[0, 1, 2, 3]]
    assert top_chances[0].tolist() == pytest.approx([1 / 300] * 4, rel=0.05)


@pytest.mark.parametrize(("kv_heads", "groups", "size"), [(3, 3, 64), (1, 1, 16), (2, 4, 48)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(dtype: torch.dtype, kv_heads: int, groups: int, size: int) -> None:
    slots, heads = 256, kv_heads * groups
    keys, values = torch.randn(2, kv_heads, 2 * slots, size).to(dtype)
    for rows in (1, 2, 5, 64, 130):
        queries = torch.randn(kv_heads, groups * rows, size).to(dtype)
        hidden = torch.rand(rows, slots) < 0.4
        hidden[:, 170:], hidden[:, 3] = True, False
        out = row_operations.attend(queries, keys, values, heads, hidden, 0.3)
        mask = torch.zeros(rows, slots, dtype=torch.float64).masked_fill(hidden, float("-inf")).repeat(groups, 1)
        seen_keys, seen_values = keys[:, :slots].double(), values[:, :slots].double()
        exact = (queries.double() @ seen_keys.mT * 0.3 + mask).softmax(-1) @ seen_values
        assert close(out, exact.view(heads, rows, size).transpose(0, 1))


def test_a_row_that_sees_nothing_gets_zeros() -> None:
    """Padding behind a window and a block of slots: numbers that are none would reach other rows through the cache."""
    queries, (keys, values) = torch.randn(2, 3 * 2, 32), torch.randn(2, 2, 64, 32)
    hidden = torch.tensor([[False] * 64, [True] * 64])
    out = row_operations.attend(queries, keys, values, 6, hidden, 0.2)
    assert torch.isfinite(out).all()
    assert not out[1].any()


def test_attention_of_a_row_depends_on_its_own_slots_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slots, rows = 512, 7
    queries, (keys, values) = torch.randn(2, 3 * rows, 32), torch.randn(2, 2, 600, 32)
    hidden = torch.arange(slots) > torch.arange(280, 280 + rows)[:, None]
    whole = row_operations.attend(queries, keys, values, 6, hidden, 0.2)
    for row in range(rows):
        own = queries.view(2, 3, rows, 32)[:, :, row].contiguous()
        alone = row_operations.attend(own, keys, values, 6, hidden[row : row + 1].contiguous(), 0.2)
        assert torch.equal(alone[0], whole[row])
    monkeypatch.setattr(row_operations, "threads_for", lambda alone_s: 2)
    assert torch.equal(row_operations.attend(queries, keys, values, 6, hidden, 0.2), whole)
    # the last token, a multiple of 32 slots behind its own
    keys[:, 286 + 32], values[:, 286 + 32] = keys[:, 286], values[:, 286]
    moved = hidden.clone()
    moved[:, 286 + 32], moved[:, 286] = hidden[:, 286], True
    assert torch.equal(row_operations.attend(queries, keys, values, 6, moved, 0.2), whole)

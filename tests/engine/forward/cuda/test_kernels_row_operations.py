"""What happens between the products, against torch in float64. Under Triton's interpreter, see test_kernels."""

import pytest
import torch
import torch.nn.functional as F

from engine.forward.body import Rope
from engine.forward.cuda.kernels.row_operations import add_norm, finish, gate, rope_and_cache


@pytest.mark.parametrize("branch", [False, True])
def test_the_stream_and_its_norm(branch: bool) -> None:
    """A size that is no power of two, three pieces, and Gemma's norm on what is added."""
    torch.manual_seed(1)
    stream, pieces = torch.randn(3, 80), torch.randn(3, 3, 80)
    scale, inner = torch.rand(80), torch.rand(80)
    added, normed = add_norm(stream, pieces, (inner, 1e-5) if branch else None, (scale, 1e-6))
    y = pieces.double().sum(0)
    y = F.rms_norm(y, (80,), inner.double(), 1e-5) if branch else y
    exact = stream.double() + y
    torch.testing.assert_close(added.double(), exact, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(normed.double(), F.rms_norm(exact, (80,), scale.double(), 1e-6), atol=2e-6, rtol=1e-5)
    same, alone = add_norm(stream, None, None, (scale, 1e-6))
    assert same is stream
    torch.testing.assert_close(alone.double(), F.rms_norm(stream.double(), (80,), scale.double(), 1e-6))


@pytest.mark.parametrize(("name", "wanted"), [("silu", F.silu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"))])
def test_gate_and_up(name: str, wanted: object) -> None:
    pieces = torch.randn(2, 2, 2 * 1030) * 3
    first, second = pieces.double().sum(0).chunk(2, -1)
    assert callable(wanted)
    exact = wanted(first) * second
    torch.testing.assert_close(gate(pieces, name, torch.float32).double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("turned", [0, 16, 24])
def test_queries_turn_and_keys_and_values_go_into_the_cache(turned: int, normed: bool) -> None:
    torch.manual_seed(turned)
    heads, kv_heads, size, slots = 3, 1, 24, (5, -1, 9)
    pieces = torch.randn(2, 3, (heads + 2 * kv_heads) * size)
    cache = torch.zeros(2, kv_heads, 12, size + 8)[..., :size]
    norms = (torch.rand(size), torch.rand(size), 1e-6) if normed else None
    turn = Rope(torch.rand(turned // 2), 1.1).turn(torch.tensor([7, 8, 300]), torch.float32) if turned else None
    places = torch.tensor(slots, dtype=torch.int32)
    queries = rope_and_cache(pieces, heads, norms, turn, places, cache[0], cache[1])
    parts = pieces.double().sum(0).view(3, heads + 2 * kv_heads, size)
    exact = [parts[:, :heads], parts[:, heads : heads + kv_heads]]
    if norms is not None:
        exact = [F.rms_norm(x, (size,), norm.double(), 1e-6) for x, norm in zip(exact, norms[:2], strict=True)]
    if turn is not None:
        cos, sin = (part.double() for part in turn)
        swapped = [torch.cat((x[..., turned // 2 : turned], x[..., : turned // 2]), -1) for x in exact]
        exact = [
            torch.cat((x[..., :turned] * cos + y * sin, x[..., turned:]), -1)
            for x, y in zip(exact, swapped, strict=True)
        ]
    torch.testing.assert_close(queries.double(), exact[0], atol=2e-6, rtol=1e-5)
    for row, slot in ((0, 5), (2, 9)):
        torch.testing.assert_close(cache[0, :, slot].double(), exact[1][row], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(cache[1, :, slot].double(), parts[row, heads + kv_heads :], atol=2e-6, rtol=1e-5)
    untouched = [slot for slot in range(12) if slot not in slots]
    assert not cache[:, :, untouched].any()


def test_a_single_piece_in_the_right_format_is_the_product() -> None:
    pieces = torch.randn(1, 2, 20)
    assert finish(pieces, torch.float32).data_ptr() == pieces.data_ptr()
    torch.testing.assert_close(finish(pieces.repeat(2, 1, 1), torch.float32), pieces[0] * 2)

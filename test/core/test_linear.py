"""Products with weights: every way gives what float32 gives, rounded once."""

import pytest
import torch
from torch.nn import functional as F

from kosmos2_core import linear as ways
from kosmos2_core.linear import WEIGHT_BLOCK, linear, linear_in_float32, make_linear

SHAPES = [(1, 64), (3, 64), (40, 64), (48, 64), (2, 20, 64), (200, 64), (0, 64)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("native", [True, False])
@torch.inference_mode()
def test_bfloat16_is_the_float32_product_rounded(monkeypatch, shape, native):
    """On a machine with bfloat16 instructions and on one without, whichever this one is."""
    monkeypatch.setattr(ways, "NATIVE_BFLOAT16", native)
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, generator=generator).bfloat16() for size in (shape, (50, 64)))
    bias = torch.randn(50, generator=generator).bfloat16()
    for b in (None, bias):
        exact = F.linear(x.float(), weight.float(), None if b is None else b.float())
        torch.testing.assert_close(linear(x, weight, b).float(), exact, rtol=2**-7, atol=2**-7)


@torch.inference_mode()
def test_weights_of_many_parts_are_all_used():
    x, weight = torch.randn(8, WEIGHT_BLOCK // 4).bfloat16(), torch.randn(9, WEIGHT_BLOCK // 4).bfloat16()
    exact = F.linear(x.float(), weight.float())
    torch.testing.assert_close(linear_in_float32(x, weight).float(), exact, rtol=2**-7, atol=1)


def test_the_room_for_weights_serves_with_and_without_inference_mode():
    x, weight = torch.randn(8, 64).bfloat16(), torch.randn(5000, 64).bfloat16()
    with torch.inference_mode():
        inside = linear_in_float32(x, weight)
    with torch.no_grad():
        assert torch.equal(linear_in_float32(x, weight), inside)


def test_training_goes_through_torch_s_own_product():
    layer = make_linear(16, 4).bfloat16()
    layer(torch.randn(20, 16).bfloat16()).sum().backward()
    assert layer.weight.grad is not None

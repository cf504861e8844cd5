"""Products with weights, each by the fastest way this machine has.

On a CPU in bfloat16 the plain product is seldom it (`python test/bench/linear.py` measures):

- with bfloat16 instructions, the kernel for a single row reads the weights more slowly than that for two;
- without them, from a few rows on, it takes about five times as long as float32. So the weights are
  widened, a part at a time that stays in the cache, and the product is float32's, rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NATIVE_BFLOAT16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
WIDE_ROWS = 8  # from how many rows on widening pays
WIDE_PART = 1 << 20  # weights widened at a time


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def make_linear(inputs: int, outputs: int) -> Linear:
    """The one place where linear layers are made."""
    return Linear(inputs, outputs)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear."""
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    rows = x.shape[:-1].numel()
    if NATIVE_BFLOAT16 and rows == 1:
        return F.linear(x.reshape(1, -1).expand(2, -1), weight, bias)[:1].view(*x.shape[:-1], -1)
    if not NATIVE_BFLOAT16 and rows >= WIDE_ROWS:
        return widened(x, weight, bias)
    return F.linear(x, weight, bias)


def widened(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product in float32 of bfloat16 weights, rounded to bfloat16."""
    wide = x.reshape(-1, x.shape[-1]).float()
    out = x.new_empty(len(wide), len(weight))
    part = max(WIDE_PART // weight.shape[1], 1)
    for start in range(0, len(weight), part):
        here = slice(start, start + part)
        out[:, here] = F.linear(wide, weight[here].float(), None if bias is None else bias[here].float())
    return out.view(*x.shape[:-1], -1)

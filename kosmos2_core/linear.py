"""Products with weights, each by the fastest way this machine has.

On a CPU in bfloat16 the plain product is seldom it (`python test/bench/linear.py` measures):

- with bfloat16 instructions, the kernel for a single row reads the weights more slowly than that for two;
- without them, from a few rows on, it takes about five times as long as float32. So the weights are
  widened, a part at a time that stays in the cache, and the product is float32's, rounded once. Which
  factor comes first, and whether the rows fill blocks, makes up to a half of the time.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NATIVE_BFLOAT16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
WIDE_ROWS = 6  # from how many rows on widening pays
FEW_ROWS = 192  # up to here weights times rows is faster than rows times weights, in full blocks of rows
ROW_BLOCK = 16
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


class _Scratch(threading.local):
    """Room for a part of the weights, each thread's own: room made anew would be new pages each time."""

    def __init__(self) -> None:
        self.room = torch.empty(0)

    def of(self, rows: int, columns: int) -> Tensor:
        if self.room.numel() < rows * columns:
            with torch.inference_mode(False):  # or nobody outside of it could write there
                self.room = torch.empty(rows * columns)
        return self.room[: rows * columns].view(rows, columns)


_scratch = _Scratch()


def widened(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product in float32 of bfloat16 weights, rounded to bfloat16."""
    wide = x.reshape(-1, x.shape[-1]).float()
    rows = len(wide)
    few = rows <= FEW_ROWS
    if few:
        wide = F.pad(wide, (0, 0, 0, -rows % ROW_BLOCK)).T
    out = wide.new_empty((len(weight), wide.shape[1]) if few else (rows, len(weight)))
    part = max(WIDE_PART // weight.shape[1], 1)
    for start in range(0, len(weight), part):
        narrow = weight[start : start + part]
        columns = _scratch.of(*narrow.shape).copy_(narrow)
        if few:
            torch.mm(columns, wide, out=out[start : start + part])
        else:
            out[:, start : start + part] = F.linear(wide, columns)
    if few:
        out = out.T[:rows]
    if bias is not None:
        out = out + bias.float()
    return out.to(x.dtype, memory_format=torch.contiguous_format).view(*x.shape[:-1], -1)

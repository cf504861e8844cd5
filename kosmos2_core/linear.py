"""Linear layers, each product computed in the fastest way that this machine has.

On a CPU in bfloat16 the plain product is rarely the fastest (`python test/bench/linear.py` measures):

- With bfloat16 instructions, the kernel for one row reads the weights more slowly than the one for two rows.
- Without them, from a few rows on, the plain product takes about five times as long as in float32. So the
  weights are converted to float32, in blocks that stay in the CPU's cache, and the product is computed in
  float32 and rounded once. The order of the two factors, and whether the rows fill whole blocks, make up to
  half of the time.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NATIVE_BFLOAT16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
MIN_FLOAT32_ROWS = 6  # from this many rows on, converting the weights pays
FEW_ROWS = 192  # up to here weights times rows is faster than rows times weights, in full blocks of rows
ROW_BLOCK = 16
WEIGHT_BLOCK = 1 << 20  # weights converted at a time


class Linear(nn.Linear):
    """A linear layer that computes its product with `linear`."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:  # initialising these would import the compiler: two seconds
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def make_linear(inputs: int, outputs: int) -> Linear:
    """Make a linear layer. All linear layers of the model are made here."""
    return Linear(inputs, outputs)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the same as `F.linear`, computed in the fastest way for these operands."""
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    rows = x.shape[:-1].numel()
    if NATIVE_BFLOAT16 and rows == 1:
        return F.linear(x.reshape(1, -1).expand(2, -1), weight, bias)[:1].view(*x.shape[:-1], -1)
    if not NATIVE_BFLOAT16 and rows >= MIN_FLOAT32_ROWS:
        return linear_in_float32(x, weight, bias)
    return F.linear(x, weight, bias)


class _Scratch(threading.local):
    """A buffer for a block of converted weights, reused per thread, so that no new pages are faulted in."""

    def __init__(self) -> None:
        self.buffer = torch.empty(0)

    def view(self, rows: int, columns: int) -> Tensor:
        """Return a part of the buffer in this shape, with arbitrary content."""
        if self.buffer.numel() < rows * columns:
            with torch.inference_mode(False):  # else it could only be written in inference mode
                self.buffer = torch.empty(rows * columns)
        return self.buffer[: rows * columns].view(rows, columns)


_scratch = _Scratch()


def linear_in_float32(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the product of bfloat16 operands, computed in float32 and rounded to bfloat16."""
    wide = x.reshape(-1, x.shape[-1]).float()
    rows = len(wide)
    few = rows <= FEW_ROWS
    if few:
        wide = F.pad(wide, (0, 0, 0, -rows % ROW_BLOCK)).T
    out = wide.new_empty((len(weight), wide.shape[1]) if few else (rows, len(weight)))
    block = max(WEIGHT_BLOCK // weight.shape[1], 1)
    for start in range(0, len(weight), block):
        narrow = weight[start : start + block]
        columns = _scratch.view(*narrow.shape).copy_(narrow)
        if few:
            torch.mm(columns, wide, out=out[start : start + block])
        else:
            out[:, start : start + block] = F.linear(wide, columns)
    if few:
        out = out.T[:rows]
    if bias is not None:
        out = out + bias.float()
    return out.to(x.dtype, memory_format=torch.contiguous_format).view(*x.shape[:-1], -1)

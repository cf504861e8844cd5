"""Measure the ways to compute a linear layer in bfloat16 that `kosmos2_core.linear` chooses from."""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kosmos2_core.linear import NATIVE_BFLOAT16, linear_in_float32

WEIGHTS = [torch.randn(8192, 2048).bfloat16() for _ in range(20)]  # more than any cache holds
RUNS = 3


def doubled(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x.expand(2, -1), weight)[:1]


def milliseconds(product: Callable[[Tensor, Tensor], Tensor], rows: int) -> float:
    """Return the time of the fastest run over all weights."""
    x = torch.randn(rows, 2048).bfloat16()
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        for weight in WEIGHTS:
            product(x, weight)
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


with torch.inference_mode():
    print(f"bfloat16 instructions: {'yes' if NATIVE_BFLOAT16 else 'no'}; ms for 336 million weights")
    print("rows   plain  float32  doubled")
    for rows in (1, 2, 4, 8, 16, 76, 257):
        row = f"{rows:4}  {milliseconds(F.linear, rows):6.0f}  {milliseconds(linear_in_float32, rows):7.0f}"
        print(row + (f"  {milliseconds(doubled, 1):7.0f}" if rows == 1 else ""), flush=True)

"""How fast a linear layer reads its weights, by rows: why `model.linear` makes two of a single one."""

import time

import torch
from torch.nn import functional as F

WEIGHTS = [torch.randn(8192, 2048).bfloat16() for _ in range(20)]  # more than any cache holds
RUNS = 3

with torch.inference_mode():
    for rows in (1, 2, 4, 8, 64):
        x = torch.randn(rows, 2048).bfloat16()
        times = []
        for _ in range(RUNS + 1):
            start = time.perf_counter()
            for weight in WEIGHTS:
                F.linear(x, weight)
            times.append(time.perf_counter() - start)
        read = sum(weight.nbytes for weight in WEIGHTS) / 1e9
        print(f"{rows:3} rows: {min(times) * 1e3:5.0f} ms, {read / min(times):5.1f} GB/s")

"""Measure the kernels for linear layers that this machine has.

    python test/bench/linear.py [--blocks N]

prints the seconds that all linear layers of the decoder's 24 blocks take (1.21 billion weights), for
different numbers of rows, and the highest rate of operations. The int8 kernels
`qlinear_pointwise` and `_int_mm` get rows that are quantised already; all others get float rows.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kosmos2_core.linear import NATIVE_BFLOAT16, linear, linear_in_float32

WIDTH, HIDDEN, BLOCKS = 2048, 8192, 24
LAYERS = ((WIDTH, WIDTH),) * 4 + ((HIDDEN, WIDTH), (WIDTH, HIDDEN))  # outputs and inputs, in one block
ROWS = (1, 8, 16, 76, 333)
RUNS = 3
warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")  # deprecated, and compared here

GROUP = 64  # weights that share a scale in int4

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Kernel:
    """A way to compute a linear layer.

    Args:
        name: Name in the table.
        precision: `float32`, `bfloat16`, `int8` or `int4`: what the weights are read as.
        make: Packs a float32 weight (outputs, inputs), and returns the product with rows.
        rows: The type of the rows.
        max_rows: The kernel is not measured with more rows, for which it is slow.
    """

    name: str
    precision: str
    make: Callable[[Tensor], Product]
    rows: torch.dtype = torch.float32
    max_rows: int = 1 << 20


def plain(
    dtype: torch.dtype, function: Callable[[Tensor, Tensor], Tensor] = F.linear
) -> Callable[[Tensor], Product]:
    def make(weight: Tensor) -> Product:
        narrow = weight.to(dtype, copy=True)
        return lambda x: function(x, narrow)

    return make


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight in int8 and the scale of each output."""
    scales = weight.abs().amax(1) / 127
    return (weight / scales[:, None]).round().to(torch.int8), scales


def dynamic(engine: str) -> Callable[[Tensor], Product]:
    """Dynamic quantisation, as by `torch.ao.quantization.quantize_dynamic`."""

    def make(weight: Tensor) -> Product:
        torch.backends.quantized.engine = engine
        values, scales = quantized(weight)
        channels = torch.zeros(len(scales), dtype=torch.long)
        tensor = torch._make_per_channel_quantized_tensor(values, scales.double(), channels, 0)
        packed = torch.ops.quantized.linear_prepack(tensor, None)

        def product(x: Tensor) -> Tensor:
            torch.backends.quantized.engine = engine
            out: Tensor = torch.ops.quantized.linear_dynamic(x, packed)
            return out

        return product

    return make


def onednn_s8s8(weight: Tensor) -> Product:
    values, scales = quantized(weight)
    packed = torch.ops.onednn.qlinear_prepack(values, None)
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    settings = (None, 1.0, 0, torch.float32, "none", [], "")
    return lambda x: torch.ops.onednn.qlinear_pointwise(x, 0.05, 0, packed, scales, zeros, *settings)


def int_mm(weight: Tensor) -> Product:
    values, _ = quantized(weight)
    transposed = values.t()
    return lambda x: torch._int_mm(x, transposed)


def int8pack(weight: Tensor) -> Product:
    values, scales = quantized(weight)
    scales = scales.bfloat16()
    return lambda x: torch.ops.aten._weight_int8pack_mm(x, values, scales)


def int4pack(weight: Tensor) -> Product:
    outputs, inputs = weight.shape
    values = torch.randint(0, 16, (outputs, inputs), dtype=torch.int32)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values, 1)
    scales = torch.full((inputs // GROUP, outputs, 2), 0.01, dtype=torch.bfloat16)
    return lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, GROUP, scales)


KERNELS = (
    Kernel("float32, `F.linear`", "float32", plain(torch.float32)),
    Kernel("bfloat16, `F.linear`", "bfloat16", plain(torch.bfloat16), torch.bfloat16),
    Kernel("bfloat16, `kosmos2_core.linear`", "bfloat16", plain(torch.bfloat16, linear), torch.bfloat16),
    Kernel("bfloat16, widened", "bfloat16", plain(torch.bfloat16, linear_in_float32), torch.bfloat16),
    Kernel("int8, `linear_dynamic`, engine x86", "int8", dynamic("x86")),
    Kernel("int8, `linear_dynamic`, engine onednn", "int8", dynamic("onednn")),
    Kernel("int8, `onednn.qlinear_pointwise`", "int8", onednn_s8s8, torch.int8),
    Kernel("int8, `_int_mm`", "int8", int_mm, torch.int8),
    Kernel("int8, `_weight_int8pack_mm`", "int8", int8pack, torch.bfloat16, 16),
    Kernel("int4, `_weight_int4pack_mm_for_cpu`", "int4", int4pack, torch.bfloat16, 16),
)


def make_rows(kernel: Kernel, rows: int, inputs: int) -> Tensor:
    if kernel.rows == torch.int8:
        return torch.randint(-127, 128, (rows, inputs), dtype=torch.int8)
    return torch.randn(rows, inputs).to(kernel.rows)


def seconds(products: Sequence[tuple[Product, Tensor]]) -> float:
    """Return the time of all products, in the fastest run; the first one warms up."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        for product, x in products:
            product(x)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def measure(kernel: Kernel, blocks: int) -> Iterator[float | None]:
    """Yield the seconds of all layers for each number of rows; None where the kernel is too slow."""
    weights = {shape: torch.randn(shape) for shape in set(LAYERS)}
    layers = [(shape[1], kernel.make(weights[shape])) for _ in range(blocks) for shape in LAYERS]
    for rows in ROWS:
        if rows > kernel.max_rows:
            yield None
            continue
        inputs = {width: make_rows(kernel, rows, width) for width in (WIDTH, HIDDEN)}
        yield seconds([(product, inputs[width]) for width, product in layers])


def peak_rate(kernel: Kernel, rows: int = 512, layers: int = 2) -> float:
    """Return the operations in a second of large products: the kernel's peak."""
    weight, x = torch.randn(HIDDEN, WIDTH), make_rows(kernel, rows, WIDTH)
    products = [(kernel.make(weight), x) for _ in range(layers)]
    return 2 * rows * HIDDEN * WIDTH * layers / seconds(products)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="number of blocks of the decoder")
    blocks = parser.parse_args().blocks
    weights = blocks * sum(outputs * inputs for outputs, inputs in LAYERS)
    print(f"{weights / 1e9:.2f} billion weights, {torch.get_num_threads()} threads,", end=" ")
    print(f"bfloat16 instructions: {'yes' if NATIVE_BFLOAT16 else 'no'}; seconds")
    print(f"| rows | {' | '.join(map(str, ROWS))} | best G operations/s |")
    print("|---|" + "---|" * (len(ROWS) + 1))
    for kernel in KERNELS:
        try:
            times = list(measure(kernel, blocks))
        except RuntimeError as error:  # not in this build of torch, or not for this processor
            print(f"| {kernel.name} | {str(error).splitlines()[0]} |", flush=True)
            continue
        cells = ["-" if time_s is None else f"{time_s:.3f}" for time_s in times]
        best = max(2 * weights * rows / time_s for rows, time_s in zip(ROWS, times, strict=True) if time_s)
        print(f"| {kernel.name} | {' | '.join(cells)} | {best / 1e9:.0f} |", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()

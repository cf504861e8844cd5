"""Layers with weights of eight bits, for CPUs that multiply integers faster than floats.

A weight matrix has one scale per output channel. Activations are quantised when they are computed, with one
scale per row (token). So a row's result does not depend on the other rows of its batch, and a row with large
values does not make the others coarse.

    output = (integer product of the row and the weights) * scale of the weights * scale of the row + bias

Which kernel computes the integer product is decided by the CPU's instructions, from the table that
`python test/bench/linear.py` measures, and not by timing at the start: the same machine always gives the same
result.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST = 127  # the largest magnitude of a quantised value; -128 is not used
ZERO = 128  # the unsigned value that stands for 0
# Narrower models gain little: most of their time goes into the small operations around the products.
MIN_WIDTH = 1024


class QuantizedMatrix(NamedTuple):
    """A weight matrix in eight bits."""

    values: Tensor  # (outputs, inputs), int8
    scales: Tensor  # (outputs,), float32

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Return the matrix (outputs, inputs) in floating point."""
        return (self.values.float() * self.scales[:, None]).to(dtype)


def quantize_matrix(weight: Tensor) -> QuantizedMatrix:
    """Quantise a weight matrix (outputs, inputs), each output channel with its own scale."""
    rows = quantize_rows(weight.float())
    return QuantizedMatrix(rows.values, rows.scales[:, 0])


class QuantizedRows(NamedTuple):
    """Activations, prepared for products with quantised weights."""

    values: Tensor  # (..., inputs), int8; for oneDNN uint8; for fbgemm float32, with two more columns
    scales: Tensor  # (..., 1), float32, by which the result is multiplied


def stack_matrices(matrices: Sequence[QuantizedMatrix]) -> QuantizedMatrix:
    """Return one matrix with the outputs of several that have the same inputs."""
    values, scales = zip(*matrices, strict=True)
    return QuantizedMatrix(torch.cat(values), torch.cat(scales))


def quantize_rows(x: Tensor) -> QuantizedRows:
    """Quantise each row of x (..., inputs), float32, with its own scale."""
    buffer = x.abs()  # used twice: a second buffer would cost more than the computation
    scales = _largest_in_row(buffer, 1 / LARGEST)
    torch.div(x, scales, out=buffer).round_()
    return QuantizedRows(buffer.to(torch.int8), scales)


def _largest_in_row(magnitudes: Tensor, factor: float = 1.0) -> Tensor:
    """Return the largest magnitude (..., 1) in each row times a factor; a tiny number for a row of zeros."""
    largest = magnitudes.amax(-1, keepdim=True)
    return largest.mul_(factor).clamp_(min=torch.finfo(largest.dtype).tiny)


# Kernels.


class Product(Protocol):
    """The product of prepared rows with one weight matrix that was packed for a kernel."""

    def __call__(self, rows: QuantizedRows) -> Tensor:
        """Return the product (..., outputs), float32, not yet multiplied by the rows' scales."""
        ...


class Kernel(Protocol):
    """A way to compute products with quantised weights."""

    name: str

    def prepare(self, x: Tensor) -> QuantizedRows:
        """Prepare rows (..., inputs), float32, for products."""
        ...

    def pack(self, matrix: QuantizedMatrix) -> Product:
        """Lay a matrix out for fast products."""
        ...

    def multiply_plain(self, x: Tensor, matrix: QuantizedMatrix) -> Tensor:
        """Return the product of rows (M, inputs), float32, with a matrix that is not packed.

        The embedding is multiplied so. Its rows must stay readable, since they are looked up by token.
        """
        ...


class OneDnnProduct:
    """A weight matrix that oneDNN laid out, for CPUs with VNNI or AMX instructions."""

    def __init__(self, matrix: QuantizedMatrix) -> None:
        self.packed = torch.ops.onednn.qlinear_prepack(matrix.values, None)
        self.scales = matrix.scales
        self.zeros = torch.zeros(len(matrix.scales), dtype=torch.long)

    def __call__(self, rows: QuantizedRows) -> Tensor:
        """Return the product (..., outputs), float32, not yet multiplied by the rows' scales."""
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(rows.values, 1.0, ZERO),  # the rows' scales are applied later: the kernel takes one for all
            *(self.packed, self.scales, self.zeros),
            *(None, 1.0, 0, torch.float32),  # no bias, and a result that is not quantised
            *("none", [], ""),
        )
        return product


class OneDnnKernel:
    """oneDNN's integer products, for CPUs with VNNI or AMX instructions."""

    name = "onednn"

    def prepare(self, x: Tensor) -> QuantizedRows:
        """Quantise rows (..., inputs), without a sign: with one, only CPUs with AMX have a fast product."""
        values, scales = quantize_rows(x)
        return QuantizedRows(values.view(torch.uint8).bitwise_xor_(ZERO), scales)  # adds ZERO

    def pack(self, matrix: QuantizedMatrix) -> Product:
        """Lay a matrix out for fast products."""
        return OneDnnProduct(matrix)

    def multiply_plain(self, x: Tensor, matrix: QuantizedMatrix) -> Tensor:
        """Return the product of rows (M, inputs) with a matrix that is not packed."""
        rows = quantize_rows(x)
        return torch._int_mm(rows.values, matrix.values.t()) * matrix.scales * rows.scales


class FbgemmProduct:
    """A weight matrix that fbgemm laid out, for CPUs with AVX2.

    The kernel quantises the rows itself, with one range for all rows of a batch. Two constant columns, 1 and
    -1, whose weights are zero, fix this range; so rows that were divided by their largest magnitude are
    quantised independently of each other.
    """

    def __init__(self, matrix: QuantizedMatrix) -> None:
        zeros = torch.zeros(len(matrix.scales), dtype=torch.long)
        padded = F.pad(matrix.values, (0, 2))
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # deprecated, without successor
            weight = torch._make_per_channel_quantized_tensor(padded, matrix.scales.double(), zeros, 0)
        engine = torch.backends.quantized.engine
        torch.backends.quantized.engine = "fbgemm"  # it decides how the weights are packed
        try:
            self.packed = torch.ops.quantized.linear_prepack(weight, None)
        finally:
            torch.backends.quantized.engine = engine

    def __call__(self, rows: QuantizedRows) -> Tensor:
        """Return the product (..., outputs), float32, not yet multiplied by the rows' scales."""
        # With eight bits on both sides, sums of two products would overflow the 16 bits of AVX2's
        # instruction: fbgemm takes seven bits for the rows.
        product: Tensor = torch.ops.quantized.linear_dynamic(rows.values, self.packed, reduce_range=True)
        return product


class FbgemmKernel:
    """fbgemm's integer products, for CPUs with AVX2 and without VNNI instructions."""

    name = "fbgemm"

    def prepare(self, x: Tensor) -> QuantizedRows:
        """Divide rows (..., inputs) by their largest magnitude, and add the columns 1 and -1."""
        largest = _largest_in_row(x.abs())
        values = x.new_empty(*x.shape[:-1], x.shape[-1] + 2)
        torch.div(x, largest, out=values[..., :-2])
        values[..., -2], values[..., -1] = 1.0, -1.0
        return QuantizedRows(values, largest)

    def pack(self, matrix: QuantizedMatrix) -> Product:
        """Lay a matrix out for fast products."""
        return FbgemmProduct(matrix)

    def multiply_plain(self, x: Tensor, matrix: QuantizedMatrix) -> Tensor:
        """Return the product of rows (M, inputs) with a matrix that is not packed; the rows stay floats."""
        product: Tensor = torch.ops.aten._weight_int8pack_mm(x.contiguous(), matrix.values, matrix.scales)
        return product


def choose_kernel() -> Kernel | None:
    """Return the fastest measured kernel for this CPU; None: floating point is used."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None  # not measured
    if torch.cpu._is_vnni_supported():
        return OneDnnKernel()
    return FbgemmKernel() if torch.cpu._is_avx2_supported() else None


# Layers.


class QuantizedLinear(nn.Module):
    """A linear layer with quantised weights.

    Args:
        matrix: The weights.
        kernel: How products are computed.
        bias: (outputs,), float32; None: zeros.
    """

    bias: Tensor

    def __init__(self, matrix: QuantizedMatrix, kernel: Kernel, bias: Tensor | None = None) -> None:
        super().__init__()
        self.kernel, self.product = kernel, kernel.pack(matrix)
        bias = torch.zeros(len(matrix.scales)) if bias is None else bias
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (..., outputs) for x (..., inputs)."""
        rows = self.kernel.prepare(x)
        product = self.product(rows)
        return torch.addcmul(self.bias, product, rows.scales, out=product)


class QuantizedEmbedding(nn.Module):
    """An embedding with quantised weights, which are the output layer's weights too.

    Args:
        matrix: The weights (vocabulary, width).
        kernel: How products are computed.
    """

    def __init__(self, matrix: QuantizedMatrix, kernel: Kernel) -> None:
        super().__init__()
        self.matrix, self.kernel = matrix, kernel

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings (..., width) of ids."""
        return self.matrix.values[ids].float() * self.matrix.scales[ids].unsqueeze(-1)

    def logits(self, hidden: Tensor, ids: slice) -> Tensor:
        """Return the logits of these ids (..., ids) after hidden states (..., width)."""
        part = QuantizedMatrix(self.matrix.values[ids], self.matrix.scales[ids])
        flat = hidden.reshape(-1, hidden.shape[-1])
        return self.kernel.multiply_plain(flat, part).view(*hidden.shape[:-1], -1)

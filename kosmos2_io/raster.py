"""The numbers of an Image message, row by row. All its fields are checked before one is used."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_core.images import MAX_PIXELS


@dataclass(frozen=True)
class Layout:
    """Where an encoding has a frame's numbers: in rows, each `step` bytes after the one before."""

    number: str = "u1"  # u1, u2 or f4
    channels: int = 1  # numbers beside each other that make a pixel
    rows: Fraction = Fraction(1)  # for each row of pixels; more than one: planes below each other
    multiple: tuple[int, int] = (1, 1)  # what a frame's width and height are multiples of
    least: int = 1  # the narrowest and lowest frame

    def row_bytes(self, width: int) -> int:
        return width * self.channels * np.dtype(self.number).itemsize


def check(message: Any, layout: Layout) -> None:
    """Nothing is allocated, and sizes are Python's integers, which do not overflow."""
    width, height, step = _sizes(message)
    _check_size(width, height, layout)
    if step < layout.row_bytes(width):
        raise InputError(
            f"the image's step is {step}, but {width} pixels take {layout.row_bytes(width)} bytes a row: the"
            " camera's driver sends it wrong, or the encoding is another one."
        )
    needed, given = int(height * layout.rows) * step, data_of(message).nbytes
    if given != needed:
        raise InputError(
            f"the image has {given} bytes of data, but {width}x{height} with step {step} are {needed}: the"
            " camera's driver sends it wrong, or the encoding is another one."
        )


def numbers(message: Any, layout: Layout) -> NDArray[Any]:
    """(rows, width), or (rows, width, channels) of several, in this machine's byte order.

    Bytes are not copied: it is a view of the message's data, which cannot be written to.
    """
    check(message, layout)
    kind = np.dtype(layout.number).newbyteorder(">" if _integer(message, "is_bigendian") else "<")
    width, height, step = _sizes(message)
    view: NDArray[Any] = np.ndarray(
        (int(height * layout.rows), width, layout.channels),
        kind,
        data_of(message),
        strides=(step, kind.itemsize * layout.channels, kind.itemsize),
    )
    view.flags.writeable = False
    if layout.channels == 1:
        view = view[:, :, 0]
    return view if kind.itemsize == 1 else np.require(view, kind.newbyteorder("="), ("C", "A"))


def data_of(message: Any) -> memoryview:
    try:
        return memoryview(message.data).cast("B")
    except (TypeError, ValueError):
        raise InputError("the image's data are no bytes.") from None


def _check_size(width: int, height: int, layout: Layout) -> None:
    across, down = layout.multiple
    if min(width, height) < layout.least:
        raise InputError(
            f"the image is {width}x{height}: it has at least {layout.least}x{layout.least} pixels."
        )
    if width * height > MAX_PIXELS:
        raise InputError(
            f"the image is too large, {width}x{height}: {MAX_PIXELS // 1_000_000} million pixels are read at"
            " most."
        )
    if width % across or height % down:
        raise InputError(
            f"the image is {width}x{height}: in its encoding the width is a multiple of {across}, and the"
            f" height of {down}."
        )


def _sizes(message: Any) -> tuple[int, int, int]:
    return _integer(message, "width"), _integer(message, "height"), _integer(message, "step")


def _integer(message: Any, name: str) -> int:
    try:
        return operator.index(getattr(message, name))
    except TypeError:
        raise InputError(f"the image's {name} is no whole number.") from None

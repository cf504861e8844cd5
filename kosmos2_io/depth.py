"""Metres from ROS's depth images. REP-118 tells millimetres from metres by the encoding."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_core.images import check_frame, load_grey16
from kosmos2_io import raster
from kosmos2_io.raster import Layout

Depth = NDArray[np.float32]

MILLIMETRES, METRES = Layout("u2"), Layout("f4")
LAYOUTS = {"16UC1": MILLIMETRES, "mono16": MILLIMETRES, "32FC1": METRES}
# What image_transport writes before a compressed depth image: how it was made, and two numbers of that.
PREFIX = struct.Struct("<iff")


def check(message: Any) -> None:
    """Whether `to_depth_m` can read it. Of a compressed image the header is read, and nothing decoded."""
    layout = _layout(message)
    if hasattr(message, "format"):
        check_frame(_file_of(message))
    else:
        raster.check(message, layout)


def to_depth_m(message: Any) -> Depth:
    """(height, width), NaN where the depth is not known, of an Image or a CompressedImage.

    The latter is as image_transport's `compressedDepth` or `compressed` makes it, a PNG.
    """
    layout = _layout(message)
    if hasattr(message, "format"):
        values: NDArray[Any] = load_grey16(_file_of(message))
        return _of_millimetres(values) if layout is MILLIMETRES else _of_inverse(values, message)
    values = raster.numbers(message, layout)
    return _of_millimetres(values) if layout is MILLIMETRES else _of_metres(values)


def _layout(message: Any) -> Layout:
    said = str(message.format if hasattr(message, "format") else message.encoding)
    layout = LAYOUTS.get(said.partition(";")[0].strip())
    if layout is None:
        raise InputError(f"the image is no depth, but {said[:60]!r}: depth is 16UC1 or 32FC1.")
    return layout


def _of_millimetres(values: NDArray[np.uint16]) -> Depth:
    return _of_metres(np.divide(values, 1000, dtype=np.float32))


def _of_metres(values: Depth) -> Depth:
    with np.errstate(invalid="ignore"):
        known = (values > 0) & (values < np.inf)  # NaN is neither
    return np.where(known, values, np.float32(np.nan))


def _of_inverse(values: NDArray[np.uint16], message: Any) -> Depth:
    """Metres were written as a / depth + b, and 0 where they are not known."""
    _, a, b = PREFIX.unpack_from(raster.data_of(message))
    if not (0 < a < math.inf and math.isfinite(b)):
        raise InputError(f"the depth image is damaged (its scale is {a:g} and {b:g}): send it again.")
    inverse = np.where(values > 0, values, np.float32(np.nan)).astype(np.float32) - np.float32(b)
    with np.errstate(divide="ignore", over="ignore"):
        return _of_metres(np.float32(a) / inverse)


def _file_of(message: Any) -> bytes:
    """The PNG in a compressed image."""
    said, data = str(message.format), bytes(raster.data_of(message))
    if "rvl" in said:
        raise InputError("depth compressed as RVL is not read: set the publisher's format to png.")
    if "compressedDepth" in said:
        if len(data) <= PREFIX.size:
            raise InputError(f"the depth image is damaged (it has {len(data)} bytes): send it again.")
        return data[PREFIX.size :]
    if _layout(message) is METRES:
        raise InputError(f"32FC1 is compressed by `compressedDepth`, not as {said[:60]!r}.")
    return data

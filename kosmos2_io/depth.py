"""Depth images (sensor_msgs Image and CompressedImage) as metres.

By REP-118 the encoding tells the unit: 16UC1 is millimetres with 0 for unknown, 32FC1 is metres.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_core.images import check_frame, load_grey16
from kosmos2_io.images import PixelLayout, check_layout, data_bytes, pixel_array

Depth = NDArray[np.float32]

MILLIMETRES, METRES = PixelLayout("u2"), PixelLayout("f4")
LAYOUTS = {"16UC1": MILLIMETRES, "mono16": MILLIMETRES, "32FC1": METRES}
# image_transport's header of a compressed depth image: the kind of compression, and its two parameters.
HEADER = struct.Struct("<iff")


def check_depth(message: Any) -> None:
    """Check that `to_depth_m` can read a message, without decoding it.

    Raises:
        InputError: It is not a depth image, or its fields do not fit together.
    """
    layout = _layout_of(message)
    if hasattr(message, "format"):
        check_frame(_png_of(message))
    else:
        check_layout(message, layout)


def to_depth_m(message: Any) -> Depth:
    """Return the depth in metres of a depth image.

    Args:
        message: An Image, or a CompressedImage with a PNG as image_transport's `compressedDepth` or
            `compressed` makes it.

    Returns:
        (height, width), float32, NaN where the depth is not known.

    Raises:
        InputError: The image cannot be read.
    """
    layout = _layout_of(message)
    if hasattr(message, "format"):
        values: NDArray[Any] = load_grey16(_png_of(message))
        return _from_millimetres(values) if layout is MILLIMETRES else _from_inverse(values, message)
    values = pixel_array(message, layout)
    return _from_millimetres(values) if layout is MILLIMETRES else _known(values)


def _layout_of(message: Any) -> PixelLayout:
    encoding = str(message.format if hasattr(message, "format") else message.encoding)
    layout = LAYOUTS.get(encoding.partition(";")[0].strip())
    if layout is None:
        raise InputError(f"the image is not depth, but {encoding[:60]!r}: depth is 16UC1 or 32FC1.")
    return layout


def _from_millimetres(values: NDArray[np.uint16]) -> Depth:
    return _known(np.divide(values, 1000, dtype=np.float32))


def _known(values_m: Depth) -> Depth:
    with np.errstate(invalid="ignore"):
        known = (values_m > 0) & (values_m < np.inf)  # NaN is neither
    return np.where(known, values_m, np.float32(np.nan))


def _from_inverse(values: NDArray[np.uint16], message: Any) -> Depth:
    """Undo image_transport's quantisation: metres were stored as a / depth + b, and 0 where unknown."""
    _, a, b = HEADER.unpack_from(data_bytes(message))
    if not (0 < a < math.inf and math.isfinite(b)):
        raise InputError(f"the depth image is damaged (its scale is {a:g} and {b:g}): send it again.")
    inverse = np.where(values > 0, values, np.float32(np.nan)).astype(np.float32) - np.float32(b)
    with np.errstate(divide="ignore", over="ignore"):
        return _known(np.float32(a) / inverse)


def _png_of(message: Any) -> bytes:
    """Return the PNG in a compressed depth image."""
    format_name, data = str(message.format), bytes(data_bytes(message))
    if "rvl" in format_name:
        raise InputError("depth compressed as RVL is not read: set the publisher's format to png.")
    if "compressedDepth" in format_name:
        if len(data) <= HEADER.size:
            raise InputError(f"the depth image is damaged (it has {len(data)} bytes): send it again.")
        return data[HEADER.size :]
    if _layout_of(message) is METRES:
        raise InputError(
            f"a 32FC1 image compressed as {format_name[:60]!r} is not read: publish it as `compressedDepth`."
        )
    return data

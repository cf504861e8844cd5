"""RGB pixels from ROS's images, an Image or a CompressedImage, of rclpy or of a bag.

What an encoding means is as in cv_bridge, also where that only displays it: 8UC3 is BGR. Its 16 bits are
scaled to 8. Depth is no picture: it is refused here, and read by `kosmos2_io.depth`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels, check_frame, load_frame
from kosmos2_io import raster
from kosmos2_io.messages import DEPTH_ENCODINGS
from kosmos2_io.raster import Layout

Fallback = Callable[[Any], Pixels]  # a message's pixels


@dataclass(frozen=True)
class Encoding:
    layout: Layout
    to_rgb: Callable[[NDArray[Any]], Pixels]


def check(message: Any, fallback: Fallback | None = None) -> None:
    """Whether `to_rgb` can read it. Of a compressed image the header is read, and nothing decoded."""
    if hasattr(message, "format"):
        check_frame(_file_of(message))
    else:
        raster.check(message, _encoding(message, fallback).layout)


def to_rgb(message: Any, fallback: Fallback | None = None) -> Pixels:
    """(height, width, 3), contiguous. fallback: reads encodings that are not known here.

    Of rgb8 without padding it is a view of the message's data, which cannot be written to: it stays as it
    is while the message does. All else is new.
    """
    if hasattr(message, "format"):
        return load_frame(_file_of(message))
    encoding = _encoding(message, fallback)
    return encoding.to_rgb(raster.numbers(message, encoding.layout))


def _as_it_is(rgb: NDArray[Any]) -> Pixels:
    return np.ascontiguousarray(rgb)


def _converted(code: int) -> Callable[[NDArray[Any]], Pixels]:
    return lambda numbers: np.asarray(cv2.cvtColor(numbers, code), np.uint8)


def _converted_16(code: int) -> Callable[[NDArray[Any]], Pixels]:
    return lambda numbers: np.asarray(
        cv2.convertScaleAbs(cv2.cvtColor(numbers, code), alpha=255 / 65535), np.uint8
    )


_GREY = Encoding(Layout(), _converted(cv2.COLOR_GRAY2RGB))
_BGR = Encoding(Layout(channels=3), _converted(cv2.COLOR_BGR2RGB))
_BGRA = Encoding(Layout(channels=4), _converted(cv2.COLOR_BGRA2RGB))
_PAIRS = Layout(channels=2, multiple=(2, 1))  # two pixels share a colour
_UYVY = Encoding(_PAIRS, _converted(cv2.COLOR_YUV2RGB_UYVY))
_YUYV = Encoding(_PAIRS, _converted(cv2.COLOR_YUV2RGB_YUY2))
_SQUARES = Layout(rows=Fraction(3, 2), multiple=(2, 2))  # four pixels share a colour, below all brightness
# OpenCV names a mosaic by its second row and column, ROS by its first. It leaves smaller ones black.
_MOSAICS = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}

ENCODINGS = {
    "rgb8": Encoding(Layout(channels=3), _as_it_is),
    "bgr8": _BGR,
    "8UC3": _BGR,
    "rgba8": Encoding(Layout(channels=4), _converted(cv2.COLOR_RGBA2RGB)),
    "bgra8": _BGRA,
    "8UC4": _BGRA,
    "mono8": _GREY,
    "8UC1": _GREY,
    "mono16": Encoding(Layout("u2"), _converted_16(cv2.COLOR_GRAY2RGB)),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Encoding(_SQUARES, _converted(cv2.COLOR_YUV2RGB_NV12)),
    "nv21": Encoding(_SQUARES, _converted(cv2.COLOR_YUV2RGB_NV21)),
    **{f"bayer_{name}8": Encoding(Layout(least=3), _converted(code)) for name, code in _MOSAICS.items()},
    **{
        f"bayer_{name}16": Encoding(Layout("u2", least=3), _converted_16(code))
        for name, code in _MOSAICS.items()
    },
}


def _encoding(message: Any, fallback: Fallback | None) -> Encoding:
    name = str(message.encoding)
    if name in ENCODINGS:
        return ENCODINGS[name]
    _refuse_depth(name)
    if fallback is None:
        raise InputError(
            f"the image's encoding {name[:60]!r} is not known: known are {', '.join(ENCODINGS)}."
        )
    # Whatever it is, a pixel takes a byte or more.
    return Encoding(Layout(), lambda _: _checked(fallback(message), message))


def _file_of(message: Any) -> bytes:
    said = str(message.format)
    _refuse_depth("compressedDepth" if "compressedDepth" in said else said.partition(";")[0].strip())
    return bytes(raster.data_of(message))


def _refuse_depth(name: str) -> None:
    if name in (*DEPTH_ENCODINGS, "compressedDepth"):
        raise InputError(
            f"the image is depth ({name}): give the camera's colour or grey image here, and depth as depth."
        )


def _checked(pixels: Pixels, message: Any) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.shape != (message.height, message.width, 3):
        raise InputError(f"the image's encoding {str(message.encoding)[:60]!r} could not be read as RGB.")
    return np.ascontiguousarray(pixels)

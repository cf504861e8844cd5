"""Image messages (sensor_msgs Image and CompressedImage, from rclpy or a bag) as RGB pixels and as files.

`to_rgb` reads a message, `check_image` tells cheaply whether it could, `image_file` stores it. Encodings have
the meaning that cv_bridge gives them, also those that it only displays: 8UC3 is BGR. 16 bits are scaled to 8.
Depth images are refused: `kosmos2_io.depth` reads them.
"""

from __future__ import annotations

import io
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from kosmos2_core.errors import InputError
from kosmos2_core.images import MAX_PIXELS, Pixels, check_frame, load_frame
from kosmos2_io.messages import DEPTH_ENCODINGS

Fallback = Callable[[Any], Pixels]  # reads a message whose encoding is not in ENCODINGS
FILE_ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}  # by Pillow's name of the format


@dataclass(frozen=True)
class PixelLayout:
    """The arrangement of an encoding's numbers in the data of an Image message.

    Rows begin `step` bytes apart; `step` is a field of the message and may include padding.

    Args:
        number: NumPy type of a number without its byte order: u1, u2 or f4.
        channels: Numbers per pixel.
        rows: Rows of data per row of pixels; more than one for planes below each other.
        multiple: Width and height have to be multiples of these.
        min_size: Smallest width and height.
    """

    number: str = "u1"
    channels: int = 1
    rows: Fraction = Fraction(1)
    multiple: tuple[int, int] = (1, 1)
    min_size: int = 1

    def row_bytes(self, width: int) -> int:
        """Return the bytes of a row of pixels without padding."""
        return width * self.channels * np.dtype(self.number).itemsize


@dataclass(frozen=True)
class ImageEncoding:
    """An encoding of Image messages: where its numbers are, and how they become RGB."""

    layout: PixelLayout
    to_rgb: Callable[[NDArray[Any]], Pixels]


def check_image(message: Any, fallback: Fallback | None = None) -> None:
    """Check that `to_rgb` can read a message, without decoding it.

    Of a compressed image only the header is read, so the check is cheap enough for a callback.

    Args:
        message: An Image or a CompressedImage.
        fallback: As for `to_rgb`.

    Raises:
        InputError: The encoding is not known, or the fields do not fit together.
    """
    if hasattr(message, "format"):
        check_frame(_compressed_file(message))
    else:
        check_layout(message, _encoding_of(message, fallback).layout)


def to_rgb(message: Any, fallback: Fallback | None = None) -> Pixels:
    """Return the pixels of an image message.

    Args:
        message: An Image or a CompressedImage.
        fallback: Called with messages whose encoding is not in ENCODINGS.

    Returns:
        (height, width, 3), uint8, contiguous. For rgb8 without padding this is a read-only view of the
        message's data, valid as long as the message is not changed; otherwise a new array.

    Raises:
        InputError: The image cannot be read.
    """
    if hasattr(message, "format"):
        return load_frame(_compressed_file(message))
    encoding = _encoding_of(message, fallback)
    return encoding.to_rgb(pixel_array(message, encoding.layout))


# Encodings.


def _copy(rgb: NDArray[Any]) -> Pixels:
    return np.ascontiguousarray(rgb)


def _convert(code: int) -> Callable[[NDArray[Any]], Pixels]:
    return lambda pixels: np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _scale_16(pixels: NDArray[Any]) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / 65535), np.uint8)


def _convert_16(code: int) -> Callable[[NDArray[Any]], Pixels]:
    return lambda pixels: _scale_16(cv2.cvtColor(pixels, code))


_GREY = ImageEncoding(PixelLayout(), _convert(cv2.COLOR_GRAY2RGB))
_BGR = ImageEncoding(PixelLayout(channels=3), _convert(cv2.COLOR_BGR2RGB))
_BGRA = ImageEncoding(PixelLayout(channels=4), _convert(cv2.COLOR_BGRA2RGB))
_YUV_422 = PixelLayout(channels=2, multiple=(2, 1))  # two pixels share a colour
_UYVY = ImageEncoding(_YUV_422, _convert(cv2.COLOR_YUV2RGB_UYVY))
_YUYV = ImageEncoding(_YUV_422, _convert(cv2.COLOR_YUV2RGB_YUY2))
# Four pixels share a colour; the colour plane is below the brightness plane.
_YUV_420 = PixelLayout(rows=Fraction(3, 2), multiple=(2, 2))
# OpenCV names a mosaic by its second row and column, ROS by its first. OpenCV leaves images smaller than 3x3
# pixels black.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_BAYER_8, _BAYER_16 = PixelLayout(min_size=3), PixelLayout("u2", min_size=3)

ENCODINGS = {
    "rgb8": ImageEncoding(PixelLayout(channels=3), _copy),
    "bgr8": _BGR,
    "8UC3": _BGR,
    "rgba8": ImageEncoding(PixelLayout(channels=4), _convert(cv2.COLOR_RGBA2RGB)),
    "bgra8": _BGRA,
    "8UC4": _BGRA,
    "mono8": _GREY,
    "8UC1": _GREY,
    "rgb16": ImageEncoding(PixelLayout("u2", channels=3), _scale_16),
    "bgr16": ImageEncoding(PixelLayout("u2", channels=3), _convert_16(cv2.COLOR_BGR2RGB)),
    "rgba16": ImageEncoding(PixelLayout("u2", channels=4), _convert_16(cv2.COLOR_RGBA2RGB)),
    "bgra16": ImageEncoding(PixelLayout("u2", channels=4), _convert_16(cv2.COLOR_BGRA2RGB)),
    "mono16": ImageEncoding(PixelLayout("u2"), _convert_16(cv2.COLOR_GRAY2RGB)),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": ImageEncoding(_YUV_420, _convert(cv2.COLOR_YUV2RGB_NV12)),
    "nv21": ImageEncoding(_YUV_420, _convert(cv2.COLOR_YUV2RGB_NV21)),
    **{f"bayer_{name}8": ImageEncoding(_BAYER_8, _convert(code)) for name, code in _BAYER.items()},
    **{f"bayer_{name}16": ImageEncoding(_BAYER_16, _convert_16(code)) for name, code in _BAYER.items()},
}


def _encoding_of(message: Any, fallback: Fallback | None) -> ImageEncoding:
    name = str(message.encoding)
    if name in ENCODINGS:
        return ENCODINGS[name]
    _refuse_depth(name)
    if fallback is None:
        raise InputError(
            f"the image's encoding {name[:60]!r} is not known: known are {', '.join(ENCODINGS)}."
        )
    # The layout is not known either; a pixel of any encoding takes at least one byte.
    return ImageEncoding(PixelLayout(), lambda _: _check_fallback(fallback(message), message))


def _check_fallback(pixels: Pixels, message: Any) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.shape != (message.height, message.width, 3):
        raise InputError(f"the image's encoding {str(message.encoding)[:60]!r} could not be read as RGB.")
    return np.ascontiguousarray(pixels)


def _compressed_file(message: Any) -> bytes:
    """Return the file in a CompressedImage."""
    format_name = str(message.format)
    is_depth = "compressedDepth" in format_name
    _refuse_depth("compressedDepth" if is_depth else format_name.partition(";")[0].strip())
    return bytes(data_bytes(message))


def _refuse_depth(encoding: str) -> None:
    if encoding in (*DEPTH_ENCODINGS, "compressedDepth"):
        raise InputError(
            f"the image is depth ({encoding}): give the camera's colour or grey image, and depth on the depth"
            " topic."
        )


# The numbers in an Image message.


def check_layout(message: Any, layout: PixelLayout) -> None:
    """Check that the size, step and data of an Image message fit a layout.

    Nothing is allocated, and sizes are Python integers, which do not overflow.

    Raises:
        InputError: They do not fit.
    """
    width, height, step = _sizes(message)
    _check_size(width, height, layout)
    if step < layout.row_bytes(width):
        raise InputError(
            f"the image's step is {step}, but {width} pixels take {layout.row_bytes(width)} bytes per row:"
            " the camera's driver sends it wrong, or the encoding is another one."
        )
    expected, actual = int(height * layout.rows) * step, data_bytes(message).nbytes
    if actual != expected:
        raise InputError(
            f"the image has {actual} bytes of data, but {width}x{height} with step {step} are {expected}: the"
            " camera's driver sends it wrong, or the encoding is another one."
        )


def pixel_array(message: Any, layout: PixelLayout) -> NDArray[Any]:
    """Return the numbers of an Image message in this machine's byte order.

    Returns:
        (rows, width) for one channel, otherwise (rows, width, channels). Numbers of one byte are a read-only
        view of the message's data.

    Raises:
        InputError: The message does not fit the layout.
    """
    check_layout(message, layout)
    dtype = np.dtype(layout.number).newbyteorder(">" if _integer(message, "is_bigendian") else "<")
    width, height, step = _sizes(message)
    view: NDArray[Any] = np.ndarray(
        (int(height * layout.rows), width, layout.channels),
        dtype,
        data_bytes(message),
        strides=(step, dtype.itemsize * layout.channels, dtype.itemsize),
    )
    view.flags.writeable = False
    if layout.channels == 1:
        view = view[:, :, 0]
    return view if dtype.itemsize == 1 else np.require(view, dtype.newbyteorder("="), ("C", "A"))


def data_bytes(message: Any) -> memoryview:
    """Return the data of an image message as bytes, without copying."""
    try:
        return memoryview(message.data).cast("B")
    except (TypeError, ValueError):
        raise InputError("the image's data are not bytes.") from None


def _check_size(width: int, height: int, layout: PixelLayout) -> None:
    width_multiple, height_multiple = layout.multiple
    if min(width, height) < layout.min_size:
        raise InputError(
            f"the image is {width}x{height}: it needs at least {layout.min_size}x{layout.min_size} pixels."
        )
    if width * height > MAX_PIXELS:
        raise InputError(
            f"the image is too large, {width}x{height}: at most {MAX_PIXELS // 1_000_000} million pixels are"
            " read."
        )
    if width % width_multiple or height % height_multiple:
        raise InputError(
            f"the image is {width}x{height}: in its encoding the width is a multiple of {width_multiple}, and"
            f" the height a multiple of {height_multiple}."
        )


def _sizes(message: Any) -> tuple[int, int, int]:
    return _integer(message, "width"), _integer(message, "height"), _integer(message, "step")


def _integer(message: Any, name: str) -> int:
    try:
        return operator.index(getattr(message, name))
    except TypeError:
        raise InputError(f"the image's {name} is not a whole number.") from None


# Files.


@dataclass(frozen=True)
class ImageFile:
    """An image message as a file.

    Args:
        data: Content of the file.
        ending: Ending of its name, without a dot.
        width: Width in pixels.
        height: Height in pixels.
    """

    data: bytes
    ending: str
    width: int
    height: int


def image_file(message: Any, jpeg: int | None = None) -> ImageFile:
    """Return an image message as a file.

    A compressed image is stored as it was sent. One with an EXIF orientation is encoded again: programs that
    turn photos by it would show the image turned, and boxes would not fit.

    Args:
        message: An Image or a CompressedImage.
        jpeg: JPEG quality for raw images; None: PNG, without loss.

    Raises:
        InputError: The image cannot be read.
    """
    pixels = to_rgb(message)
    height, width = pixels.shape[:2]
    sent = bytes(message.data) if hasattr(message, "format") else b""
    if sent and (ending := _upright_ending(sent)):
        return ImageFile(sent, ending, width, height)
    if jpeg is None:
        return ImageFile(_encode(pixels, ".png"), "png", width, height)
    return ImageFile(_encode(pixels, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, jpeg)), "jpg", width, height)


def _upright_ending(data: bytes) -> str | None:
    """Return the ending for an image file, or None if it has an EXIF orientation."""
    with Image.open(io.BytesIO(data)) as header:
        turned = header.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return None if turned else FILE_ENDINGS.get(header.format or "")


def _encode(pixels: Pixels, ending: str, settings: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(ending, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)[1].tobytes()

"""Images from wherever they come to what the vision tower takes.

An image is an array (height, width, 3) of uint8, red first. Files and bytes come from strangers: only
PNG, JPEG and WebP are opened, and the size in the header decides before anything is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from kosmos2_core.errors import InputError

Pixels = npt.NDArray[np.uint8]
ImageSource = bytes | str | Path | Image.Image | npt.NDArray[Any]

MAX_PIXELS = 33_000_000  # an 8K frame
FORMATS = ("PNG", "JPEG", "WEBP")
# What makes an image upright, by EXIF's orientation. Nothing else of EXIF is read: it may be damaged.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
STD = (0.26862954, 0.26130258, 0.27577711)


def load_image(source: ImageSource) -> Pixels:
    """An image from encoded bytes, a file, a PIL image or an array, upright and in RGB.

    Transparency is dropped, 16 bits are reduced to 8, and grey becomes RGB.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if isinstance(source, Image.Image):
        return _of_pil(source, "the image")
    if isinstance(source, bytes):
        return _of_stream(io.BytesIO(source), "the image")
    try:
        with Path(source).open("rb") as stream:
            return _of_stream(stream, str(source))
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror}.") from None


def check_frame(data: bytes) -> None:
    """Whether `load_frame` would read it, as far as its header says."""
    with _opened(io.BytesIO(data), "the frame"):
        pass


def load_frame(data: bytes) -> Pixels:
    """A camera's compressed frame in RGB. It is not turned upright: its calibration is of its pixels."""
    with _opened(io.BytesIO(data), "the frame") as image:
        if image.format == "JPEG" and image.mode in ("L", "RGB") and _is_whole(data):
            return _of_jpeg(data)
        return _rgb(image)


def load_grey16(data: bytes) -> npt.NDArray[np.uint16]:
    """The values of a grey PNG of 16 bits, which is how depth is compressed."""
    with _opened(io.BytesIO(data), "the frame") as image:
        if not image.mode.startswith("I"):
            raise InputError(
                f"the frame is a {image.format} of mode {image.mode}: give a grey PNG of 16 bits."
            )
        return np.asarray(image).astype(np.uint16)


def preprocess(image: Pixels, size: int) -> npt.NDArray[np.float32]:
    """What the vision tower takes, (3, size, size): squashed to a square, CLIP's mean and deviation."""
    squashed = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    values = np.asarray(squashed, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.array(three, dtype=np.float32)[:, None, None] for three in (MEAN, STD))
    return np.ascontiguousarray((values - mean) / std)


def _of_stream(stream: IO[bytes], name: str) -> Pixels:
    with _opened(stream, name) as image:
        return _of_pil(image, name)


@contextmanager
def _opened(stream: IO[bytes], name: str) -> Iterator[Image.Image]:
    """Its header is read and its size is right. What fails while it is decoded is said in a sentence too."""
    try:
        with Image.open(stream, formats=FORMATS) as image:
            _check_size(image, name)
            yield image
    except UnidentifiedImageError:
        raise InputError(f"{name} is no image: PNG, JPEG and WebP are read.") from None
    except Image.DecompressionBombError:
        raise InputError(_too_large(name)) from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InputError(f"{name} is damaged ({error}): send it again.") from None


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size  # of the header: nothing is decoded yet
    if width * height > MAX_PIXELS:
        raise InputError(_too_large(name, f", {width}x{height}"))


def _of_pil(image: Image.Image, name: str) -> Pixels:
    _check_size(image, name)
    turn = image.getexif().get(ExifTags.Base.Orientation)
    if turn in TURNS:
        image = image.transpose(TURNS[turn])
    return _rgb(image)


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip
        return _of_array(np.asarray(image).astype(np.uint16))
    return np.array(image.convert("RGB"))


def _is_whole(jpeg: bytes) -> bool:
    """Whether it has its end, behind which some cameras fill up with zeros. Of what is cut off older OpenCVs
    make up the rest; Pillow refuses it."""
    return jpeg.rstrip(b"\0").endswith(b"\xff\xd9")


def _of_jpeg(data: bytes) -> Pixels:
    """The same pixels as Pillow's, in a quarter of the time."""
    as_stored = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), as_stored)
    except cv2.error:
        image = None
    if image is None:
        raise InputError("the frame is damaged (its JPEG cannot be decoded): send it again.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _of_array(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(
            f"an image of {array.dtype} is not known: give uint8, or uint16 over its full range."
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(
            f"an array of shape {array.shape} is no image: height, width and 1, 3 or 4 channels."
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise InputError(_too_large("the image", f", {array.shape[1]}x{array.shape[0]}"))
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array[:, :, :3])


def _too_large(name: str, size: str = "") -> str:
    return f"{name} is too large{size}: {MAX_PIXELS // 1_000_000} million pixels are read at most."

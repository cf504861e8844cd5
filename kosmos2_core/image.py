"""Images from wherever they come to what the vision tower takes.

An image is an array (height, width, 3) of uint8, red first. Files and bytes come from strangers: only
PNG, JPEG and WebP are opened, and the size in the header decides before anything is decoded.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from kosmos2_core.errors import InputError

Pixels = npt.NDArray[np.uint8]
Source = bytes | str | Path | Image.Image | npt.NDArray[Any]

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


def load_image(source: Source) -> Pixels:
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


def preprocess(image: Pixels, size: int) -> npt.NDArray[np.float32]:
    """What the vision tower takes, (3, size, size): squashed to a square, CLIP's mean and deviation."""
    squashed = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    values = np.asarray(squashed, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.array(three, dtype=np.float32)[:, None, None] for three in (MEAN, STD))
    return np.ascontiguousarray((values - mean) / std)


def _of_stream(stream: IO[bytes], name: str) -> Pixels:
    try:
        with Image.open(stream, formats=FORMATS) as image:
            return _of_pil(image, name)
    except UnidentifiedImageError:
        raise InputError(f"{name} is no image: PNG, JPEG and WebP are read.") from None
    except Image.DecompressionBombError:
        raise InputError(_too_large(name)) from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InputError(f"{name} is damaged ({error}): send it again.") from None


def _of_pil(image: Image.Image, name: str) -> Pixels:
    width, height = image.size  # of the header: nothing is decoded yet
    if width * height > MAX_PIXELS:
        raise InputError(_too_large(name, f", {width}x{height}"))
    turn = image.getexif().get(ExifTags.Base.Orientation)
    if turn in TURNS:
        image = image.transpose(TURNS[turn])
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip
        return _of_array(np.asarray(image).astype(np.uint16))
    return np.array(image.convert("RGB"))


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

"""An image message as a file: what was compressed as it came, else without loss, or as JPEG where asked."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import cv2
from PIL import ExifTags, Image

from kosmos2_core.images import Pixels
from kosmos2_io.encodings import to_rgb

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True)
class ImageFile:
    data: bytes
    ending: str  # of its name
    width: int
    height: int


def image_file(message: Any, jpeg: int | None = None) -> ImageFile:
    """jpeg: the quality in which raw images are stored."""
    pixels = to_rgb(message)
    height, width = pixels.shape[:2]
    sent = bytes(message.data) if hasattr(message, "format") else b""
    if sent and (ending := _ending(sent)):
        return ImageFile(sent, ending, width, height)
    if jpeg is None:
        return ImageFile(_encoded(pixels, ".png"), "png", width, height)
    return ImageFile(_encoded(pixels, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, jpeg)), "jpg", width, height)


def _ending(data: bytes) -> str | None:
    """None: whoever opens it as a photo would turn it, by its EXIF data, and boxes would not fit."""
    with Image.open(io.BytesIO(data)) as header:
        turned = header.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return None if turned else ENDINGS.get(header.format or "")


def _encoded(pixels: Pixels, ending: str, settings: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(ending, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)[1].tobytes()

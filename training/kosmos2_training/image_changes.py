"""Changes of an image's pixels for augmentation: crops, borders, and other light, lenses and encoders.

A crop says what remains of a box. The changes of light are so mild that a colour keeps its name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels

COMPLETE = 0.999  # a visible part from here on counts as all, since boxes are written with six decimals
STRETCH = 1.15  # largest ratio of the relative sizes of a crop's sides


@dataclass(frozen=True)
class Crop:
    """A rectangle in pixels of the image; its part outside of the image becomes a border."""

    x: int
    y: int
    width: int
    height: int

    def contains(self, width: int, height: int) -> bool:
        """Return whether the crop contains all of an image of this size."""
        return self.x <= 0 and self.y <= 0 and self.x + self.width >= width and self.y + self.height >= height


def random_crop(width: int, height: int, least: float, most: float, rng: Generator) -> Crop:
    """Draw a crop at any place in the image, or around the image if it is larger.

    Args:
        least: the smallest side of the crop, as a fraction of the image's side.
        most: the largest side of the crop, as a fraction of the image's side.
    """

    def span(size: int, side: float) -> tuple[int, int]:
        length = max(round(size * min(max(side, least), most)), 1)
        low, high = sorted((0, size - length))
        return int(rng.integers(low, high + 1)), length

    side = rng.uniform(least, most)
    x, across = span(width, side)
    y, down = span(height, side * rng.uniform(1 / STRETCH, STRETCH))
    return Crop(x, y, across, down)


def grown_crop(crop: Crop, boxes: Sequence[Box], width: int, height: int) -> Crop:
    """Enlarge a crop until it contains all boxes."""
    x = min([crop.x, *(math.floor(box.x1 * width) for box in boxes)])
    y = min([crop.y, *(math.floor(box.y1 * height) for box in boxes)])
    x_end = max([crop.x + crop.width, *(math.ceil(box.x2 * width) for box in boxes)])
    y_end = max([crop.y + crop.height, *(math.ceil(box.y2 * height) for box in boxes)])
    return Crop(x, y, x_end - x, y_end - y)


def crop_pixels(pixels: NDArray[np.uint8], crop: Crop, border: int | None = None) -> NDArray[np.uint8]:
    """Return the pixels of a crop.

    Args:
        border: the value of pixels outside of the image; None: the mean colour of the image's edge.
    """
    height, width = pixels.shape[:2]
    x_end, y_end = crop.x + crop.width, crop.y + crop.height
    inside = pixels[max(crop.y, 0) : min(y_end, height), max(crop.x, 0) : min(x_end, width)]
    top, bottom, left, right = (max(value, 0) for value in (-crop.y, y_end - height, -crop.x, x_end - width))
    if not (top or bottom or left or right):
        return np.ascontiguousarray(inside)
    colour = _edge_colour(pixels) if border is None else (border,)
    return np.asarray(
        cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour), np.uint8
    )


def box_in_crop(
    crop: Crop, box: Box, mark: int, mask: NDArray[np.uint8] | None, size: tuple[int, int]
) -> tuple[Box | None, float]:
    """Return a box in the coordinates of a crop, and the part of the object that the crop shows.

    If the box is the bounding box of the object's pixels in the mask, both are measured on these pixels,
    otherwise on the box.

    Args:
        mark: the object's value in the mask.
        size: width and height of the image.
    """
    area = box.area
    clipped = _clipped(crop, *box.pixels(*size))
    visible = clipped.area * crop.width * crop.height / (area * size[0] * size[1]) if clipped else 0.0
    if visible >= COMPLETE:
        return clipped, 1.0
    pixels = None if mask is None else np.asarray(mask == mark, np.uint8)
    if pixels is None or not _is_bounding_box(box, pixels):
        return clipped, visible
    remaining = crop_pixels(pixels, crop, border=0)
    count = cv2.countNonZero(remaining)
    return (_bounding_box(remaining), count / cv2.countNonZero(pixels)) if count else (None, 0.0)


def _clipped(crop: Crop, x1: float, y1: float, x2: float, y2: float) -> Box | None:
    try:
        return box_of_pixels(x1 - crop.x, y1 - crop.y, x2 - crop.x, y2 - crop.y, crop.width, crop.height)
    except InputError:  # the box is outside of the crop
        return None


def _is_bounding_box(box: Box, pixels: NDArray[np.uint8]) -> bool:
    """Return whether a box is the bounding box of these pixels, with a tolerance of one pixel."""
    if not pixels.any():
        return False
    height, width = pixels.shape
    sides = zip(box.pixels(width, height), _bounding_box(pixels).pixels(width, height), strict=True)
    return all(abs(given - measured) <= 1 for given, measured in sides)


def _bounding_box(pixels: NDArray[np.uint8]) -> Box:
    x, y, across, down = cv2.boundingRect(pixels)
    return box_of_pixels(x, y, x + across, y + down, pixels.shape[1], pixels.shape[0])


def _edge_colour(pixels: NDArray[np.uint8]) -> tuple[float, ...]:
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(map(float, edges.mean(axis=0)))


@dataclass(frozen=True)
class Photometry:
    """Probabilities and largest sizes of the changes of light, lens, sensor and encoder."""

    tone: float = 0.8  # probability of the next four changes together
    brightness: float = 0.12
    contrast: float = 0.12
    gamma: float = 0.12
    warmth: float = 0.04  # red is raised and blue lowered, or the other way round
    blur: float = 0.15  # probability
    blur_px: float = 1.0  # standard deviation in an image of 224 pixels
    noise: float = 0.2  # probability
    noise_levels: float = 6.0  # standard deviation, of 255 levels
    jpeg: float = 0.2  # probability
    jpeg_quality: int = 50  # the lowest one


def relight(image: Pixels, rng: Generator, options: Photometry) -> Pixels:
    """Change an image in the order in which a camera forms it: light, lens, sensor, encoder."""
    if rng.random() < options.tone:
        image = _tone(image, rng, options)
    if rng.random() < options.blur:
        image = _blur(image, options.blur_px * rng.uniform(0.3, 1))
    if rng.random() < options.noise:
        image = _noise(image, rng, options.noise_levels * rng.uniform(0.2, 1))
    if rng.random() < options.jpeg:
        image = _jpeg(image, int(rng.integers(options.jpeg_quality, 96)))
    return image


def _tone(image: Pixels, rng: Generator, options: Photometry) -> Pixels:
    def around_one(most: float) -> float:
        return 1 + rng.uniform(-most, most)

    warmth = rng.uniform(-options.warmth, options.warmth)
    values = np.linspace(0, 1, 256)[:, None] ** around_one(options.gamma)
    values = (values - 0.5) * around_one(options.contrast) + 0.5
    values = values * around_one(options.brightness) * (1 + warmth, 1, 1 - warmth)
    table = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _blur(image: Pixels, px: float) -> Pixels:
    px *= min(image.shape[:2]) / 224
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(px, 0.1)), np.uint8)


def _noise(image: Pixels, rng: Generator, levels: float) -> Pixels:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(levels)
    return np.clip(image + noise + np.float32(0.5), 0, 255).astype(np.uint8)


def _jpeg(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])

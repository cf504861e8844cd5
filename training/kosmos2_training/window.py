"""A part of an image, or the image with a border around, and what it shows of a box."""

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

ALL = 0.999  # of a box, from here on all of it: boxes are written to six decimals
STRETCH = 1.15  # how much more of one side than of the other


@dataclass(frozen=True)
class Window:
    """In pixels of the image; what is outside of the image is border."""

    x: int
    y: int
    width: int
    height: int

    def contains(self, width: int, height: int) -> bool:
        """Whether it shows all of an image of this size."""
        return self.x <= 0 and self.y <= 0 and self.x + self.width >= width and self.y + self.height >= height


def random_window(width: int, height: int, least: float, most: float, rng: Generator) -> Window:
    """With sides that are so much of the image's, anywhere in the image or around it."""

    def span(size: int, side: float) -> tuple[int, int]:
        length = max(round(size * min(max(side, least), most)), 1)
        low, high = sorted((0, size - length))
        return int(rng.integers(low, high + 1)), length

    side = rng.uniform(least, most)
    x, across = span(width, side)
    y, down = span(height, side * rng.uniform(1 / STRETCH, STRETCH))
    return Window(x, y, across, down)


def whole_window(window: Window, boxes: Sequence[Box], width: int, height: int) -> Window:
    """Grown until all boxes are in it."""
    x = min([window.x, *(math.floor(box.x1 * width) for box in boxes)])
    y = min([window.y, *(math.floor(box.y1 * height) for box in boxes)])
    x_end = max([window.x + window.width, *(math.ceil(box.x2 * width) for box in boxes)])
    y_end = max([window.y + window.height, *(math.ceil(box.y2 * height) for box in boxes)])
    return Window(x, y, x_end - x, y_end - y)


def cut(pixels: NDArray[np.uint8], window: Window, border: int | None = None) -> NDArray[np.uint8]:
    """What the window shows, with a border of this value, or of the colour of the image's edge."""
    height, width = pixels.shape[:2]
    x_end, y_end = window.x + window.width, window.y + window.height
    inside = pixels[max(window.y, 0) : min(y_end, height), max(window.x, 0) : min(x_end, width)]
    top, bottom, left, right = (
        max(value, 0) for value in (-window.y, y_end - height, -window.x, x_end - width)
    )
    if not (top or bottom or left or right):
        return np.ascontiguousarray(inside)
    colour = _edge_colour(pixels) if border is None else (border,)
    return np.asarray(
        cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour), np.uint8
    )


def look(
    window: Window, box: Box, mark: int, mask: NDArray[np.uint8] | None, size: tuple[int, int]
) -> tuple[Box | None, float]:
    """The box in the window, and how much of it is there. Of an object with pixels in the mask both are by
    its pixels, where its box is the one around them; of any other by the box itself."""
    area = box.area
    clipped = _into(window, *box.pixels(*size))
    share = clipped.area * window.width * window.height / (area * size[0] * size[1]) if clipped else 0.0
    if share >= ALL:
        return clipped, 1.0
    pixels = None if mask is None else np.asarray(mask == mark, np.uint8)
    if pixels is None or not _is_around(box, pixels):
        return clipped, share
    seen = cut(pixels, window, border=0)
    left = cv2.countNonZero(seen)
    return (_around(seen), left / cv2.countNonZero(pixels)) if left else (None, 0.0)


def _into(window: Window, x1: float, y1: float, x2: float, y2: float) -> Box | None:
    try:
        return box_of_pixels(
            x1 - window.x, y1 - window.y, x2 - window.x, y2 - window.y, window.width, window.height
        )
    except InputError:  # nothing of it is there
        return None


def _is_around(box: Box, pixels: NDArray[np.uint8]) -> bool:
    """Whether it is the box around these pixels, to a pixel."""
    if not pixels.any():
        return False
    height, width = pixels.shape
    both = zip(box.pixels(width, height), _around(pixels).pixels(width, height), strict=True)
    return all(abs(one - other) <= 1 for one, other in both)


def _around(pixels: NDArray[np.uint8]) -> Box:
    x, y, across, down = cv2.boundingRect(pixels)
    return box_of_pixels(x, y, x + across, y + down, pixels.shape[1], pixels.shape[0])


def _edge_colour(pixels: NDArray[np.uint8]) -> tuple[float, ...]:
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(map(float, edges.mean(axis=0)))

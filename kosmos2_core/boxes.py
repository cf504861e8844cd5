"""Boxes: in unit coordinates of the image, in pixels, and as the pair of cells that the model names.

The model divides the image into a grid of P x P cells (P = 32 in the public checkpoint), numbered row by row.
It names a box by the cell of its upper-left corner and the cell of its lower-right corner, both included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from kosmos2_core.errors import InputError

GRID = 32


@dataclass(frozen=True, slots=True)
class Box:
    """A box in unit coordinates: 0 to 1 over the whole image, x to the right, y down.

    Args:
        x1: Left edge.
        y1: Upper edge.
        x2: Right edge, greater than x1.
        y2: Lower edge, greater than y1.
        score: Probability that the box is right; None if it was not computed.

    Raises:
        InputError: The edges are not in this order or not within the image.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    score: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.x1 < self.x2 <= 1 and 0 <= self.y1 < self.y2 <= 1):  # NaN fails too
            raise InputError(
                f"the box ({self.x1:g},{self.y1:g},{self.x2:g},{self.y2:g}) is not x1,y1,x2,y2 with"
                " 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1."
            )

    @property
    def area(self) -> float:
        """The part of the image that the box covers."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return x_min, y_min, x_max, y_max in pixels of an image of this size."""
        return self.x1 * width, self.y1 * height, self.x2 * width, self.y2 * height


def box_of_pixels(x_min: float, y_min: float, x_max: float, y_max: float, width: int, height: int) -> Box:
    """Return the box with these edges in pixels; what lies outside the image is cut off.

    Args:
        x_min: Left edge.
        y_min: Upper edge.
        x_max: Right edge.
        y_max: Lower edge.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Raises:
        InputError: The box is not finite or lies outside the image, or the image is empty.
    """

    def unit(value: float, size: int) -> float:
        return min(max(value / size, 0.0), 1.0)

    if not all(map(math.isfinite, (x_min, y_min, x_max, y_max))) or width <= 0 or height <= 0:
        raise InputError(
            f"the box ({x_min:g},{y_min:g},{x_max:g},{y_max:g}) is not finite, or its image empty."
        )
    return Box(unit(x_min, width), unit(y_min, height), unit(x_max, width), unit(y_max, height))


def box_of_numbers(x1: float, y1: float, x2: float, y2: float, width: int, height: int) -> Box:
    """Return the box that a user means: in unit coordinates if no number is above 1, else in pixels.

    Raises:
        InputError: The numbers are not a box of an image of this size.
    """
    if max(x1, y1, x2, y2) <= 1:
        return Box(x1, y1, x2, y2)
    return box_of_pixels(x1, y1, x2, y2, width, height)


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0  # areas too small for a float


def cells_of_box(box: Box, grid: int = GRID) -> tuple[int, int]:
    """Return the cells of a box's corners; a corner between two cells is in the one inside the box."""
    left, top = min(math.floor(box.x1 * grid), grid - 1), min(math.floor(box.y1 * grid), grid - 1)
    right = max(math.ceil(box.x2 * grid - 1), left)
    bottom = max(math.ceil(box.y2 * grid - 1), top)
    return top * grid + left, bottom * grid + right


def box_of_cells(upper_left: int, lower_right: int, grid: int = GRID) -> Box | None:
    """Return the box between two cells, or None if they are outside the grid or in the wrong order.

    The box goes from centre to centre, or covers the whole cells if it is one cell wide or high.
    """
    if not (0 <= upper_left < grid * grid and 0 <= lower_right < grid * grid):
        return None
    top, left = divmod(upper_left, grid)
    bottom, right = divmod(lower_right, grid)
    if right < left or bottom < top:
        return None
    if left == right or top == bottom:
        return Box(left / grid, top / grid, (right + 1) / grid, (bottom + 1) / grid)
    return Box((left + 0.5) / grid, (top + 0.5) / grid, (right + 0.5) / grid, (bottom + 0.5) / grid)


def suppress(boxes: Iterable[Box], overlap: float) -> list[Box]:
    """Leave out boxes that overlap an earlier one that was kept by more than this IoU."""
    kept: list[Box] = []
    for box in boxes:
        if all(iou(box, other) <= overlap for other in kept):
            kept.append(box)
    return kept

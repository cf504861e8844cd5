"""Zoom: a second look at a small object, in a crop around its first box.

Small objects are below the resolution of the grid of location tokens. The crop has the image's proportions
and is searched for the same phrase. All boxes are in unit coordinates.
"""

from __future__ import annotations

from dataclasses import replace

from kosmos2_core.answers import Entity
from kosmos2_core.box_scoring import SearchOptions
from kosmos2_core.boxes import Box, cells_of_box, suppress
from kosmos2_core.images import Pixels

ZOOM_FACTOR = 2.5  # side of the crop, in sides of the box
MIN_CROP = 0.125  # a smaller part of the image shows too little of what is around
MAX_CROP = 0.75  # a larger part of the image gains nothing


def crop_around(box: Box) -> Box | None:
    """Return the part of the image to search again; None if the box is too large to gain by it."""
    side = max(ZOOM_FACTOR * max(box.x2 - box.x1, box.y2 - box.y1), MIN_CROP)
    if side > MAX_CROP:
        return None
    x1 = min(max((box.x1 + box.x2 - side) / 2, 0.0), 1 - side)
    y1 = min(max((box.y1 + box.y2 - side) / 2, 0.0), 1 - side)
    return Box(x1, y1, min(x1 + side, 1.0), min(y1 + side, 1.0))


def crop_image(image: Pixels, part: Box) -> tuple[Pixels, Box]:
    """Return the pixels of a part of the image, and the part that these whole pixels cover."""
    height, width = image.shape[:2]
    x_min, y_min, x_max, y_max = map(round, part.pixels(width, height))
    x_min, y_min = min(x_min, width - 1), min(y_min, height - 1)  # at least one pixel
    x_max, y_max = max(x_max, x_min + 1), max(y_max, y_min + 1)
    covered = Box(x_min / width, y_min / height, x_max / width, y_max / height)
    return image[y_min:y_max, x_min:x_max], covered


def to_whole_image(box: Box, part: Box) -> Box:
    """Return a box of a part of the image as a box of the whole image."""
    width, height = part.x2 - part.x1, part.y2 - part.y1
    return Box(
        part.x1 + box.x1 * width,
        part.y1 + box.y1 * height,
        min(part.x1 + box.x2 * width, 1.0),
        min(part.y1 + box.y2 * height, 1.0),
        box.score,
    )


def replace_best_box(first: Entity, second: Entity, part: Box, grid: int) -> Entity:
    """Return the first entity, its best box replaced by that of the crop if this one has a higher score.

    The new box has the cells that it has in the whole image; all others keep those that the model gave.
    """
    if not second.boxes or (second.boxes[0].score or 0) <= (first.boxes[0].score or 0):
        return first
    better = to_whole_image(second.boxes[0], part)
    kept = suppress((better, *first.boxes[1:]), SearchOptions.max_overlap)[1:]
    given = dict(zip(first.boxes, first.cells, strict=True))
    cells = (cells_of_box(better, grid), *(given[box] for box in kept))
    return replace(first, boxes=(better, *kept), cells=cells)

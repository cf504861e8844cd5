"""A second, closer look: small things lie below the grid of location tokens.

The image is cut around a first answer, with room around it and in the image's own proportions, and the
same question asked again. All boxes here are in unit coordinates.
"""

from __future__ import annotations

from kosmos2_core.boxes import Box
from kosmos2_core.image import Pixels

ROOM = 2.5  # the cut's side, in sides of the box
SMALLEST = 0.125  # a cut of less of the image shows too little of what is around
LARGEST = 0.75  # a cut of more gains nothing


def cut_around(box: Box) -> Box | None:
    """The part of the image to look at again; None where the box is too large to gain by it."""
    side = max(ROOM * max(box.x2 - box.x1, box.y2 - box.y1), SMALLEST)
    if side > LARGEST:
        return None
    x1 = min(max((box.x1 + box.x2 - side) / 2, 0.0), 1 - side)
    y1 = min(max((box.y1 + box.y2 - side) / 2, 0.0), 1 - side)
    return Box(x1, y1, min(x1 + side, 1.0), min(y1 + side, 1.0))


def cut(image: Pixels, part: Box) -> tuple[Pixels, Box]:
    """These pixels of an image, and the part that they really are."""
    height, width = image.shape[:2]
    x_min, y_min, x_max, y_max = map(round, part.pixels(width, height))
    x_min, y_min = min(x_min, width - 1), min(y_min, height - 1)  # at least one pixel
    x_max, y_max = max(x_max, x_min + 1), max(y_max, y_min + 1)
    real = Box(x_min / width, y_min / height, x_max / width, y_max / height)
    return image[y_min:y_max, x_min:x_max], real


def in_whole(box: Box, part: Box) -> Box:
    """A box of a part of the image, as a box of the whole."""
    width, height = part.x2 - part.x1, part.y2 - part.y1
    return Box(
        part.x1 + box.x1 * width,
        part.y1 + box.y1 * height,
        min(part.x1 + box.x2 * width, 1.0),
        min(part.y1 + box.y2 * height, 1.0),
        box.score,
    )

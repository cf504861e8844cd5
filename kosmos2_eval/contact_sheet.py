"""A contact sheet of located phrases: the right answers with the highest scores, then the wrong ones."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kosmos2_core.drawing import arrange_tiles, draw_box
from kosmos2_core.images import Pixels
from kosmos2_eval.scenes import LocateExample

TILE, CAPTION, GAP = 320, 54, 8  # px: side of a tile's image, height of its caption, gap between tiles
LETTERS_PER_LINE = 48
EXAMPLES, COLUMNS = 12, 6  # right answers, and as many wrong ones
TRUE_COLOUR, FOUND_COLOUR, BACKGROUND, TEXT_COLOUR = "#22c55e", "#ef4444", "white", "#101010"
LINE = 2  # px, width of a box's line


def thumbnail(image: Pixels) -> Pixels:
    """Return an image at the size of a tile; keep this instead of the whole image until the sheet is made."""
    scale = TILE / max(image.shape[:2])
    size = tuple(max(round(side * scale), 1) for side in image.shape[1::-1])
    return np.asarray(Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BICUBIC))


def contact_sheet(examples: Sequence[LocateExample], images: Sequence[Pixels]) -> Pixels:
    """Return a sheet with the surest right and wrong answers, at most one of each image.

    True boxes are dashed and green, predicted boxes are red.
    """
    blank = np.full((TILE + CAPTION, TILE, 3), 255, np.uint8)
    tiles: list[Pixels] = []
    for right in (True, False):
        chosen = highest_scores(examples, right, EXAMPLES)
        tiles += [tile(example, images[example.image]) for example in chosen]
        tiles += [blank] * (-len(tiles) % COLUMNS)  # the wrong answers begin in a new row
    return arrange_tiles(tiles or [blank], COLUMNS, gap_px=GAP, margin_px=GAP)


def highest_scores(examples: Sequence[LocateExample], right: bool, count: int) -> list[LocateExample]:
    """Return the right (or wrong) answers with the highest scores, at most one of each image."""
    best_of_image: dict[int, LocateExample] = {}
    for example in sorted(examples, key=lambda example: -example.score):
        if example.found and example.right == right:
            best_of_image.setdefault(example.image, example)
    return list(best_of_image.values())[:count]


def tile(example: LocateExample, image: Pixels) -> Pixels:
    """Return an image with its boxes, above a caption with the text and the scores."""
    picture = Image.new("RGB", (TILE, TILE + CAPTION), BACKGROUND)
    shown = Image.fromarray(thumbnail(image))
    picture.paste(shown)
    canvas = ImageDraw.Draw(picture)
    for box in example.truth:
        draw_box(canvas, box.pixels(*shown.size), TRUE_COLOUR, LINE, dashed=True)
    if example.found:
        draw_box(canvas, example.found.pixels(*shown.size), FOUND_COLOUR, LINE)
    truth = f"IoU {example.iou:.2f}" if example.truth else "not in the image"
    lines = textwrap.wrap(example.text, LETTERS_PER_LINE, max_lines=2, placeholder=" ...")
    scores = f"score {example.score:.2f}, presence {example.presence:.2f}, {truth}"
    canvas.text((2, TILE + 2), "\n".join([*lines, scores]), TEXT_COLOUR, ImageFont.load_default(13))
    return np.asarray(picture)

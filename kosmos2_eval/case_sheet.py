"""A sheet of cases for people: what went best and what went worst."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kosmos2_core.boxes import Box
from kosmos2_core.images import Pixels
from kosmos2_eval.scenes import Case

SIDE, WORDS, GAP = 320, 54, 8  # px, of a tile: its image, its words below, and what is between tiles
LETTERS = 48  # in a line of words
TRUE, FOUND, PAPER, INK = "#22c55e", "#ef4444", "white", "#101010"
DASH = 6  # px


def small(image: Pixels) -> Pixels:
    """As large as a tile shows it: what to keep of an image until the sheet is made."""
    scale = SIDE / max(image.shape[:2])
    size = tuple(max(round(side * scale), 1) for side in image.shape[1::-1])
    return np.asarray(Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BICUBIC))


def sheet(cases: Sequence[Case], images: Sequence[Pixels], count: int = 12, columns: int = 6) -> Pixels:
    """The right answers that were surest, then the wrong ones that were surest, one of an image. Dashed and
    green: where it is; red: what was found."""
    rows: list[list[Pixels]] = []
    for right in (True, False):
        tiles = [tile(one, images[one.image]) for one in surest(cases, right, count)]
        rows += [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    height, width = SIDE + WORDS + GAP, SIDE + GAP
    page = np.full((len(rows) * height + GAP, columns * width + GAP, 3), 255, np.uint8)
    for row, tiles in enumerate(rows):
        for column, one in enumerate(tiles):
            top, left = GAP + row * height, GAP + column * width
            page[top : top + SIDE + WORDS, left : left + SIDE] = one
    return page


def surest(cases: Sequence[Case], right: bool, count: int) -> list[Case]:
    """The highest scores among the right or the wrong answers, one of an image."""
    of_image: dict[int, Case] = {}
    for case in sorted(cases, key=lambda one: -one.score):
        if case.found and case.right == right:
            of_image.setdefault(case.image, case)
    return list(of_image.values())[:count]


def tile(case: Case, image: Pixels) -> Pixels:
    picture = Image.new("RGB", (SIDE, SIDE + WORDS), PAPER)
    shown = Image.fromarray(small(image))
    picture.paste(shown)
    canvas = ImageDraw.Draw(picture)
    for box in case.truth:
        _dashed(canvas, box, shown.size)
    if case.found:
        canvas.rectangle(case.found.pixels(*shown.size), outline=FOUND, width=2)
    truth = f"IoU {case.iou:.2f}" if case.truth else "it is not there"
    lines = textwrap.wrap(case.text, LETTERS, max_lines=2, placeholder=" ...")
    words = "\n".join([*lines, f"score {case.score:.2f}, presence {case.presence:.2f}, {truth}"])
    canvas.text((2, SIDE + 2), words, fill=INK, font=ImageFont.load_default(13))
    return np.asarray(picture)


def _dashed(canvas: ImageDraw.ImageDraw, box: Box, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box.pixels(*size)
    for start in np.arange(x1, x2, 2 * DASH):
        for y in (y1, y2):
            canvas.line((start, y, min(start + DASH, x2), y), fill=TRUE, width=3)
    for start in np.arange(y1, y2, 2 * DASH):
        for x in (x1, x2):
            canvas.line((x, start, x, min(start + DASH, y2)), fill=TRUE, width=3)

"""Boxes with their phrases on the image they were found in, legible on any background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kosmos2_core.answers import Entity
from kosmos2_core.images import Pixels

Rectangle = tuple[float, float, float, float]

# Far apart for most eyes, each with black or white letters on it.
COLOURS = ("#ffd23f", "#3bceac", "#ee4266", "#4d9de0", "#ff8c42", "#b388eb", "#9bc53d", "#f2f2f2")
DARK = "#101010"


def draw(image: Pixels, phrases: Sequence[Entity], missing: bool = False) -> Pixels:
    """A copy of the image with each box, its phrase and its score; one colour a phrase. missing: name the
    phrases without a box too, at the bottom."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(min(height, width) / 160))
    font = ImageFont.load_default(max(12, round(min(height, width) / 30)))
    named = list(zip(phrases, cycle(COLOURS)))
    boxes = [
        (box.pixels(width, height), _label(one.phrase, box.score), colour)
        for one, colour in named
        for box in one.boxes
    ]
    for corners, _, colour in boxes:
        canvas.rectangle(_grown(corners, line / 2), outline=DARK, width=2 * line)
        canvas.rectangle(corners, outline=colour, width=line)
    taken: list[Rectangle] = []
    for corners, words, colour in boxes:
        place = _place(corners, _size(canvas, words, font), taken, (width, height))
        taken.append(place)
        _write(canvas, place, words, colour, font)
    absent = [one.phrase for one in phrases if not one.boxes] if missing else []
    if absent:
        words = f"not found: {', '.join(absent)}"
        tall = _size(canvas, words, font)[1]
        _write(canvas, (0, height - tall, width, height), words, DARK, font)
    return np.asarray(picture).copy()


def _label(phrase: str, score: float | None) -> str:
    return phrase if score is None else f"{phrase} {score:.2f}"


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _size(canvas: ImageDraw.ImageDraw, words: str, font: Font) -> tuple[float, float]:
    """Width and height of a label, with room around its letters; as high for any letters."""
    left, _, right, _ = canvas.textbbox((0, 0), words, font=font)
    _, top, _, bottom = canvas.textbbox((0, 0), "Ag", font=font)
    room = (bottom - top) / 2
    return right - left + room, bottom - top + room


def _place(
    corners: Rectangle, size: tuple[float, float], taken: Sequence[Rectangle], image: tuple[int, int]
) -> Rectangle:
    """Where a label goes: above its box, else inside, else below; where none is taken yet."""
    places = [_inside(place, image) for place in _places(corners, size)]
    return next((one for one in places if not any(_overlap(one, other) for other in taken)), places[0])


def _places(corners: Rectangle, size: tuple[float, float]) -> Iterator[Rectangle]:
    x1, y1, x2, y2 = corners
    wide, tall = size
    for top in (y1 - tall, y1, y2, y2 - tall):
        for left in (x1, x2 - wide):
            yield left, top, left + wide, top + tall


def _inside(place: Rectangle, image: tuple[int, int]) -> Rectangle:
    """Moved into the image as far as it fits."""
    x1, y1, x2, y2 = place
    right = max(min(0, image[0] - x2), -x1)
    down = max(min(0, image[1] - y2), -y1)
    return x1 + right, y1 + down, x2 + right, y2 + down


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _grown(corners: Rectangle, by: float) -> Rectangle:
    x1, y1, x2, y2 = corners
    return x1 - by, y1 - by, x2 + by, y2 + by


def _write(canvas: ImageDraw.ImageDraw, place: Rectangle, words: str, colour: str, font: Font) -> None:
    canvas.rectangle(place, fill=colour)
    middle = (place[1] + place[3]) / 2
    room = (place[3] - place[1]) / 6
    ink = "white" if colour == DARK else DARK
    canvas.text((place[0] + room, middle), words, fill=ink, font=font, anchor="lm")


def arrange_tiles(
    tiles: Sequence[Pixels], columns: int, gap_px: int = 0, margin_px: int = 0, background: int = 255
) -> Pixels:
    """Arrange pictures of the same size in rows, as a contact sheet.

    Args:
        tiles: At least one picture.
        columns: Number of pictures in a row; the last row may have fewer.
        gap_px: Space between pictures.
        margin_px: Space around the sheet.
        background: Grey value of the space, 0 to 255.
    """
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet_height = rows * (height + gap_px) - gap_px + 2 * margin_px
    sheet_width = columns * (width + gap_px) - gap_px + 2 * margin_px
    sheet = np.full((sheet_height, sheet_width, 3), background, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = margin_px + row * (height + gap_px), margin_px + column * (width + gap_px)
        sheet[top : top + height, left : left + width] = tile
    return sheet

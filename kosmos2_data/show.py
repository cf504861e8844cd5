"""A contact sheet of grounded data: each tile one image and one thing that is said of it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kosmos2_core.answers import Entity
from kosmos2_core.drawing import draw
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText
from kosmos2_core.images import Pixels
from kosmos2_data.check import check
from kosmos2_data.record_source import BadRecord, RecordSource
from kosmos2_data.records import Item

WIDTH, IMAGE_HEIGHT, GAP = 400, 320, 12  # px, of a tile
LETTERS = 58  # in a line of a tile's text
LINES = 4
PAPER, INK = "white", "#101010"


def sheet(source: RecordSource, count: int, seed: int) -> Pixels:
    """So many records, drawn by the seed, each with one of its items; bad records are passed over."""
    tiles = [tile(image, item, line) for image, item, line in _drawn(source, count, seed)]
    if not tiles:
        raise InputError(f"{source.file} has no good record to show: `kosmos2 data check` says why.")
    return _tiled(tiles, math.ceil(math.sqrt(len(tiles))))


def tile(image: Pixels, item: Item, line: int) -> Pixels:
    """The image with the item's boxes, and below what is asked and what is to be learnt."""
    scale = min(WIDTH / image.shape[1], IMAGE_HEIGHT / image.shape[0])
    size = [max(round(side * scale), 1) for side in (image.shape[1], image.shape[0])]
    scaled = np.asarray(Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BICUBIC))
    picture = Image.new("RGB", (WIDTH, IMAGE_HEIGHT + 18 * LINES + GAP), PAPER)
    picture.paste(Image.fromarray(draw(scaled, _entities(item), missing=True)))
    font = ImageFont.load_default(13)
    ImageDraw.Draw(picture).text((2, IMAGE_HEIGHT + 2), _words(item, line), fill=INK, font=font)
    return np.asarray(picture)


def _drawn(source: RecordSource, count: int, seed: int) -> Iterator[tuple[Pixels, Item, int]]:
    rng = np.random.default_rng(seed)
    found = 0
    for number in rng.permutation(len(source)):
        checked = check(source, int(number))
        if found == count:
            return
        if not isinstance(checked, BadRecord):
            image, _, record = checked
            yield image, record.items[int(rng.integers(len(record.items)))], int(source.lines[number])
            found += 1


def _entities(item: Item) -> list[Entity]:
    texts = [item.text] if item.question is None else [item.question, item.text]
    return [entity for text in texts for entity in _of(text)]


def _of(text: GroundedText) -> Iterator[Entity]:
    for phrase in text.phrases:
        yield Entity(text.words_of(phrase), phrase.start, phrase.end, phrase.boxes or ())


def _words(item: Item, line: int) -> str:
    """Where it is from, then what is said, shortened to what fits."""
    about = item.task + (" in detail" if item.detailed else "") + (f", {item.kind}" if item.kind else "")
    said = item.text.text if item.question is None else f"{item.question.text} -> {item.text.text}"
    lines = textwrap.wrap(said, LETTERS, max_lines=LINES - 1, placeholder=" ...")
    return "\n".join([f"line {line}: {about}", *lines])


def _tiled(tiles: Sequence[Pixels], columns: int) -> Pixels:
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    page = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for place, one in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        page[top : top + height, left : left + width] = one
    return page

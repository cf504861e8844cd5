"""A contact sheet of grounded data: each tile shows one image and one of its items."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kosmos2_core.answers import Entity
from kosmos2_core.drawing import arrange_tiles, draw
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText
from kosmos2_core.images import Pixels
from kosmos2_data.check import check
from kosmos2_data.record_source import BadRecord, RecordSource
from kosmos2_data.records import Item

WIDTH, IMAGE_HEIGHT, GAP = 400, 320, 12  # px, of a tile
LINE_HEIGHT, FONT_SIZE = 18, 13  # px
LETTERS_PER_LINE, TEXT_LINES = 58, 4
BACKGROUND, TEXT_COLOUR = "white", "#101010"


def record_sheet(source: RecordSource, count: int, seed: int) -> Pixels:
    """Draw a contact sheet of random records, each with one of its items.

    Args:
        source: The data. Bad records are skipped.
        count: Number of tiles; fewer if there are fewer good records.
        seed: The seed that chooses records and items.

    Raises:
        InputError: There is no good record.
    """
    tiles = [record_tile(image, item, line) for image, item, line in _draw_items(source, count, seed)]
    if not tiles:
        raise InputError(f"{source.file} has no good record to show: run `kosmos2 data check` to see why.")
    columns = math.ceil(math.sqrt(len(tiles)))
    return arrange_tiles(tiles, columns, gap_px=GAP, margin_px=GAP)


def record_tile(image: Pixels, item: Item, line: int) -> Pixels:
    """Draw an image with the boxes of an item, above its question and its text."""
    scale = min(WIDTH / image.shape[1], IMAGE_HEIGHT / image.shape[0])
    width, height = (max(round(side * scale), 1) for side in (image.shape[1], image.shape[0]))
    scaled = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    picture = Image.new("RGB", (WIDTH, IMAGE_HEIGHT + LINE_HEIGHT * TEXT_LINES + GAP), BACKGROUND)
    picture.paste(Image.fromarray(draw(scaled, _entities(item), missing=True)))
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(picture).text((2, IMAGE_HEIGHT + 2), _caption(item, line), fill=TEXT_COLOUR, font=font)
    return np.asarray(picture)


def _draw_items(source: RecordSource, count: int, seed: int) -> Iterator[tuple[Pixels, Item, int]]:
    """Yield images with a random item and the line of its record."""
    rng = np.random.default_rng(seed)
    drawn = 0
    for number in rng.permutation(len(source)):
        checked = check(source, int(number))
        if drawn == count:
            return
        if not isinstance(checked, BadRecord):
            image, _, record = checked
            yield image, record.items[int(rng.integers(len(record.items)))], int(source.lines[number])
            drawn += 1


def _entities(item: Item) -> list[Entity]:
    texts = [item.text] if item.question is None else [item.question, item.text]
    return [entity for text in texts for entity in _entities_of(text)]


def _entities_of(text: GroundedText) -> Iterator[Entity]:
    for phrase in text.phrases:
        yield Entity(text.words_of(phrase), phrase.start, phrase.end, phrase.boxes or ())


def _caption(item: Item, line: int) -> str:
    """Return the line number, the task and the text of an item, shortened to fit into the tile."""
    task = item.task + (" in detail" if item.detailed else "") + (f", {item.kind}" if item.kind else "")
    text = item.text.text if item.question is None else f"{item.question.text} -> {item.text.text}"
    lines = textwrap.wrap(text, LETTERS_PER_LINE, max_lines=TEXT_LINES - 1, placeholder=" ...")
    return "\n".join([f"line {line}: {task}", *lines])

"""Pictures of answers: boxes with their phrases on the image, legible on any background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kosmos2_core.answers import Entity
from kosmos2_core.images import Pixels

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Easy to tell apart for most eyes, and readable under dark letters.
COLOURS = ("#ffd23f", "#3bceac", "#ee4266", "#4d9de0", "#ff8c42", "#b388eb", "#9bc53d", "#f2f2f2")
DARK = "#101010"
MAX_LABEL_WIDTH = 0.6  # of the image: longer phrases are shortened
MAX_NOT_FOUND_LINES = 3
DASH_LENGTH = 3  # line widths


def draw(image: Pixels, phrases: Sequence[Entity], missing: bool = False) -> Pixels:
    """Draw the boxes of an answer, each with its phrase and score, in one colour per phrase.

    Lines and letters scale with the image. A label covers another label, its own box or other boxes only if
    there is no room beside them.

    Args:
        image: The image; it is not changed.
        phrases: The phrases of the answer.
        missing: Name the phrases without a box at the bottom, as in "not found: the red mug".

    Returns:
        A new image of the same size.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(min(height, width) / 160))
    writer = _Writer(canvas, ImageFont.load_default(max(12, round(min(height, width) / 30))), width)
    boxes = [
        (
            box.pixels(width, height),
            writer.fit(entity.phrase, MAX_LABEL_WIDTH * width, _score(box.score)),
            colour,
        )
        for entity, colour in zip(phrases, cycle(COLOURS))
        for box in entity.boxes
    ]
    for corners, _, colour in boxes:
        draw_box(canvas, corners, colour, line)
    absent = [entity.phrase for entity in phrases if not entity.boxes] if missing else []
    bar = writer.write_not_found(absent, height) if absent else None
    labels: list[Rectangle] = [bar] if bar else []
    outlines = [_grown(corners, line / 2) for corners, _, _ in boxes]
    for outline, (_, text, colour) in zip(outlines, boxes, strict=True):
        label = _label_position(outline, writer.size(text), labels, outlines, (width, height))
        labels.append(label)
        writer.write(label, text, colour)
    return np.asarray(picture).copy()


def draw_box(
    canvas: ImageDraw.ImageDraw, corners: Rectangle, colour: str, line: int, dashed: bool = False
) -> None:
    """Draw the outline of a box, with a dark edge that makes it visible on any background.

    Args:
        canvas: What to draw on.
        corners: The box.
        colour: Colour of the line.
        line: Width of the coloured line, in pixels.
        dashed: Draw dashes, with dark gaps between them.
    """
    canvas.rectangle(_grown(corners, line / 2), outline=DARK, width=2 * line)
    if dashed:
        for dash in _dashes(corners, line):
            canvas.rectangle(dash, fill=colour)
    else:
        canvas.rectangle(corners, outline=colour, width=line)


def _dashes(corners: Rectangle, line: int) -> Iterator[Rectangle]:
    """Yield the dashes along the four sides, as filled rectangles; the gaps are as long as the dashes."""
    x1, y1, x2, y2 = corners
    length, inner = DASH_LENGTH * line, line - 1
    for left in np.arange(x1, x2, 2 * length):
        right = min(left + length, x2)
        yield from ((left, y1, right, y1 + inner), (left, y2 - inner, right, y2))
    for top in np.arange(y1, y2, 2 * length):
        bottom = min(top + length, y2)
        yield from ((x1, top, x1 + inner, bottom), (x2 - inner, top, x2, bottom))


def _score(score: float | None) -> str:
    return "" if score is None else f" {score:.2f}"


@dataclass(frozen=True)
class _Writer:
    """Writes labels in one font."""

    canvas: ImageDraw.ImageDraw
    font: Font
    width: float  # of the image

    def size(self, text: str) -> tuple[float, float]:
        """Return width and height of a label with its margins; the height is the same for all letters."""
        left, _, right, _ = self.canvas.textbbox((0, 0), text, font=self.font)
        _, top, _, bottom = self.canvas.textbbox((0, 0), "Ag", font=self.font)
        margin = (bottom - top) / 2
        return right - left + margin, bottom - top + margin

    def fit(self, phrase: str, width: float, ending: str = "") -> str:
        """Return phrase and ending on one line, the phrase shortened so that they fit into this width."""
        phrase = " ".join(phrase.split())
        if self.size(phrase + ending)[0] <= width:
            return phrase + ending
        shortest, longest = 0, len(phrase)  # letters that fit, and that do not
        while longest - shortest > 1:
            middle = (shortest + longest) // 2
            if self.size(f"{phrase[:middle].rstrip()}...{ending}")[0] <= width:
                shortest = middle
            else:
                longest = middle
        return f"{phrase[:shortest].rstrip()}...{ending}"

    def write(self, label: Rectangle, text: str, colour: str) -> None:
        """Write a text on a background of this colour."""
        self.canvas.rectangle(label, fill=colour)
        middle = (label[1] + label[3]) / 2
        margin = (label[3] - label[1]) / 6
        ink = "white" if colour == DARK else DARK
        self.canvas.text((label[0] + margin, middle), text, fill=ink, font=self.font, anchor="lm")

    def write_not_found(self, phrases: Sequence[str], bottom: float) -> Rectangle:
        """Name phrases in a bar at the bottom of the image; return the bar."""
        lines = self._not_found_lines(phrases)
        line_height = self.size("")[1]
        top = bottom - line_height * len(lines)
        for index, text in enumerate(lines):
            line_top = top + index * line_height
            self.write((0, line_top, self.width, line_top + line_height), text, DARK)
        return 0, top, self.width, bottom

    def _not_found_lines(self, phrases: Sequence[str]) -> list[str]:
        lines = [f"not found: {' '.join(phrases[0].split())}"]
        for phrase in phrases[1:]:
            longer = f"{lines[-1]}, {' '.join(phrase.split())}"
            if self.size(longer)[0] <= self.width or len(lines) == MAX_NOT_FOUND_LINES:
                lines[-1] = longer
            else:
                lines[-1] += ","
                lines.append(" ".join(phrase.split()))
        return [self.fit(text, self.width) for text in lines]


def _label_position(
    box: Rectangle,
    size: tuple[float, float],
    labels: Sequence[Rectangle],
    boxes: Sequence[Rectangle],
    image: tuple[int, int],
) -> Rectangle:
    """Return where the label of a box covers least: first of other labels, then of its own and other boxes.

    Args:
        box: The box with its lines.
        size: Width and height of the label.
        labels: The labels so far.
        boxes: All boxes of the picture.
        image: Width and height of the picture.
    """

    def covered(label: Rectangle) -> tuple[float, float]:
        others = sum(_shared_area(label, other) for other in boxes)
        return sum(_shared_area(label, other) for other in labels), others + _shared_area(label, box)

    positions = [_moved_inside(position, image) for position in _positions(box, size)]
    return min(positions, key=covered)  # the first of those that are equally good


def _positions(box: Rectangle, size: tuple[float, float]) -> Iterator[Rectangle]:
    """Yield positions for a label, the preferred first: above, below, beside and inside the box."""
    x1, y1, x2, y2 = box
    width, height = size
    aligned = x1, x2 - width
    corners = [(left, top) for top in (y1 - height, y2) for left in aligned]
    corners += [(left, top) for left in (x2, x1 - width) for top in (y1, y2 - height)]
    corners += [(left, top) for top in (y1 - 2 * height, y2 + height) for left in aligned]
    corners += [(left, top) for top in (y1, y2 - height) for left in aligned]
    for left, top in corners:
        yield left, top, left + width, top + height


def _moved_inside(label: Rectangle, image: tuple[int, int]) -> Rectangle:
    """Return the label moved into the image as far as it fits."""
    x1, y1, x2, y2 = label
    right = max(min(0, image[0] - x2), -x1)
    down = max(min(0, image[1] - y2), -y1)
    return x1 + right, y1 + down, x2 + right, y2 + down


def _shared_area(a: Rectangle, b: Rectangle) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _grown(corners: Rectangle, amount: float) -> Rectangle:
    x1, y1, x2, y2 = corners
    return x1 - amount, y1 - amount, x2 + amount, y2 + amount


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

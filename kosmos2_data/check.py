"""What is wrong with grounded data, and what is in it.

`check` judges one record, its image and its mask; training reads with it too, so that what it names is what
training leaves out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import GRID, Box
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_data.record_source import BadRecord, RecordSource
from kosmos2_data.records import Item, Record

Mask = NDArray[np.uint8] | None
EDGES_PX = (0, 7, 14, 28, 56, 112, 224)  # of the sides of boxes in an image of 224 x 224, where 7 is a cell
SIZES = tuple(f"{least}-{most}" for least, most in pairwise(EDGES_PX))


def check(source: RecordSource, number: int) -> tuple[Pixels, Mask, Record] | BadRecord:
    """A record with its image and mask, as `augment` takes them, or what is wrong with it."""
    record = source.read(number)
    if isinstance(record, BadRecord):
        return record
    try:
        image, mask = source.image(record), source.mask(record)
        if mask is not None:
            _check_mask(image, mask, record)
    except InputError as error:
        return BadRecord(int(source.lines[number]), str(error))
    return image, mask, record


def _check_mask(image: Pixels, mask: NDArray[np.uint8], record: Record) -> None:
    if mask.shape != image.shape[:2]:
        sizes = [f"{width}x{height}" for height, width in (mask.shape, image.shape[:2])]
        raise InputError(f"{record.mask} has {sizes[0]} pixels and the image {sizes[1]}: they are the same.")
    there = np.bincount(mask.ravel(), minlength=256)
    for truth in record.truths:
        if not there[truth.mark]:
            raise InputError(
                f"{record.mask} has no pixel of the mark {truth.mark} ({' '.join(truth.names)})."
            )


@dataclass
class Survey:
    """What is in data, added up record by record."""

    lines: int = 0
    empty: int = 0
    good: int = 0
    bad: list[BadRecord] = field(default_factory=list)
    tasks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    located: int = 0  # phrases of `locate`
    absent: int = 0  # of these
    sizes: Counter[str] = field(default_factory=Counter)  # boxes by their side, as in `7-14`
    thin: int = 0  # boxes
    repeated: list[int] = field(default_factory=list)  # lines
    _known: set[int] = field(default_factory=set)  # hashes of records

    @property
    def boxes(self) -> int:
        return self.sizes.total()

    def add(self, record: Record, line: int) -> None:
        self.good += 1
        if hash(record) in self._known:
            self.repeated.append(line)
        self._known.add(hash(record))
        for item in record.items:
            self._add_item(item)

    def warnings(self) -> Iterator[str]:
        """What is no mistake, but may be none of the maker's intentions either."""
        if self.thin:
            yield (
                f"{self.thin} of {self.boxes} boxes are narrower or lower than 1/{GRID} of the image, a cell"
                " of the grid that boxes are told in: take images from nearer, or leave such things out."
            )
        if self.located and not self.absent:
            yield (
                "no phrase is absent, `[the banana]()`: a model that never saw one finds everything it is"
                " asked for."
            )
        if self.repeated:
            first = self.repeated[0]
            yield f"{len(self.repeated)} records are the same as an earlier one, line {first} first."

    def as_json(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "good": self.good,
            "bad": len(self.bad),
            "empty": self.empty,
            "tasks": dict(self.tasks),
            "kinds": dict(self.kinds),
            "located": self.located,
            "absent": self.absent,
            "boxes": self.boxes,
            "box_sides_px": {name: self.sizes[name] for name in SIZES},
            "warnings": list(self.warnings()),
            "bad_records": [{"line": bad.line, "reason": bad.reason} for bad in self.bad],
        }

    def _add_item(self, item: Item) -> None:
        self.tasks[item.task] += 1
        if item.kind:
            self.kinds[item.kind] += 1
        if item.task == "locate":
            self.located += len(item.text.phrases)
            self.absent += sum(phrase.boxes == () for phrase in item.text.phrases)
        texts = [item.text] if item.question is None else [item.text, item.question]
        for box in (box for text in texts for phrase in text.phrases for box in phrase.boxes or ()):
            self.sizes[size_name(box)] += 1
            self.thin += min(box.x2 - box.x1, box.y2 - box.y1) < 1 / GRID - 1e-6


def survey(source: RecordSource, numbers: Iterable[int]) -> Survey:
    """Check the records of these numbers; each bad one is named, the others are counted."""
    found = Survey(lines=len(source) + source.empty, empty=source.empty)
    for number in numbers:
        checked = check(source, number)
        if isinstance(checked, BadRecord):
            found.bad.append(checked)
        else:
            found.add(checked[2], int(source.lines[number]))
    return found


def size_name(box: Box) -> str:
    """The range that a box's side, were it a square, is in."""
    side_px = 224 * math.sqrt(box.area)
    return SIZES[sum(side_px >= edge for edge in EDGES_PX[1:-1])]

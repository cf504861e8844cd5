"""Check grounded data: which records cannot be used and why, and what the others contain.

`check` tests one record with its image and mask. Training reads records with the same function, so it leaves
out exactly what `kosmos2 data check` names.
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
IMAGE_PX = 224  # side of the image that the model sees; a location cell is 7 pixels wide
EDGES_PX = (0, 7, 14, 28, 56, 112, IMAGE_PX)  # ranges of box sides that are counted
SIZES = tuple(f"{low}-{high}" for low, high in pairwise(EDGES_PX))


def check(source: RecordSource, number: int) -> tuple[Pixels, Mask, Record] | BadRecord:
    """Read a record with its image and its mask.

    Args:
        source: The data.
        number: Number of the record, from 0.

    Returns:
        The image, the mask and the record, or what is wrong with the record.
    """
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
        mask_size, image_size = (f"{width}x{height}" for height, width in (mask.shape, image.shape[:2]))
        raise InputError(
            f"{record.mask} has {mask_size} pixels and the image {image_size}: give both the same size."
        )
    counts = np.bincount(mask.ravel(), minlength=256)
    for truth in record.truths:
        if not counts[truth.mark]:
            raise InputError(
                f"{record.mask} has no pixel of the mark {truth.mark} ({' '.join(truth.names)})."
            )


@dataclass
class DataSurvey:
    """The contents of grounded data, added up record by record.

    Args:
        lines: Number of lines, the empty ones included.
        empty: Number of empty lines.
        good: Number of good records.
        bad: The records that cannot be used.
        tasks: Number of items of each task.
        kinds: Number of items of each kind.
        located: Number of phrases in `locate` items.
        absent: Number of these phrases that are absent from their image.
        sizes: Number of boxes in each range of sides, such as `7-14`.
        thin: Number of boxes narrower or lower than a location cell.
        repeated: Lines of records that are the same as an earlier one.
    """

    lines: int = 0
    empty: int = 0
    good: int = 0
    bad: list[BadRecord] = field(default_factory=list)
    tasks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    located: int = 0
    absent: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    thin: int = 0
    repeated: list[int] = field(default_factory=list)
    _hashes: set[int] = field(default_factory=set)

    @property
    def boxes(self) -> int:
        return self.sizes.total()

    def add(self, record: Record, line: int) -> None:
        """Count a good record."""
        self.good += 1
        if hash(record) in self._hashes:
            self.repeated.append(line)
        self._hashes.add(hash(record))
        for item in record.items:
            self._add_item(item)

    def warnings(self) -> Iterator[str]:
        """Yield sentences about what is allowed but probably not intended."""
        if self.thin:
            yield (
                f"{self.thin} of {self.boxes} boxes are narrower or lower than 1/{GRID} of the image, that is"
                " one cell of the location grid: take images from nearer, or leave such objects out."
            )
        if self.located and not self.absent:
            yield (
                "no phrase is absent, as in `[the banana]()`: a model that is trained without absent phrases"
                " finds everything it is asked for."
            )
        if self.repeated:
            first = self.repeated[0]
            yield f"{len(self.repeated)} records are the same as an earlier one; the first is line {first}."

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


def survey(source: RecordSource, numbers: Iterable[int]) -> DataSurvey:
    """Check the records with these numbers: list the bad ones and count the contents of the others."""
    result = DataSurvey(lines=len(source) + source.empty, empty=source.empty)
    for number in numbers:
        checked = check(source, number)
        if isinstance(checked, BadRecord):
            result.bad.append(checked)
        else:
            result.add(checked[2], int(source.lines[number]))
    return result


def size_name(box: Box) -> str:
    """Return the range of EDGES_PX with the side of a square that is as large as the box."""
    side_px = IMAGE_PX * math.sqrt(box.area)
    return SIZES[sum(side_px >= edge for edge in EDGES_PX[1:-1])]

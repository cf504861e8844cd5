"""What an image's true masks say of each cell of a grid laid over it: for auxiliary losses in training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kosmos2_data.records import Record

UNKNOWN = -100  # what a cross entropy leaves out
COVERED = 0.15  # of a cell, from which on it shows an object


@dataclass(frozen=True)
class Names:
    """The names that objects go by, in classes of one kind: colours, shapes. Number 0 is: no object."""

    kinds: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Names | None:
        """All names in some records; None where no record has any."""
        kinds: list[dict[str, None]] = []
        for record in records:
            for truth in record.truths:
                kinds += [{} for _ in range(len(truth.names) - len(kinds))]
                for kind, name in zip(kinds, truth.names, strict=False):
                    kind[name] = None
        return cls(tuple(tuple(sorted(kind)) for kind in kinds)) if kinds else None

    def numbers(self, names: Sequence[str]) -> list[int]:
        return [
            kind.index(name) + 1 if name in kind else UNKNOWN
            for kind, name in zip(self.kinds, [*names, *[""] * len(self.kinds)], strict=False)
        ]


@dataclass(frozen=True, eq=False)
class CellTruth:
    names: Tensor  # (cells, kinds), or with a batch first: numbers of the object's names, 0 for none
    boxes: Tensor  # (cells, 4): that object's box in unit coordinates, NaN for none

    def to(self, device: torch.device, non_blocking: bool = False) -> CellTruth:
        return CellTruth(self.names.to(device), self.boxes.to(device))

    @classmethod
    def stack(cls, each: Sequence[CellTruth | None]) -> CellTruth | None:
        known = [one for one in each if one is not None]
        if len(known) < len(each):
            return None
        return cls(torch.stack([one.names for one in known]), torch.stack([one.boxes for one in known]))


def cell_truth(
    record: Record, mask: NDArray[np.uint8] | None, side: int, size: int, names: Names
) -> CellTruth:
    """Each cell shows the object that covers most of it. Without a mask nothing is known."""
    numbers = torch.full((side * side, len(names.kinds)), UNKNOWN)
    boxes = torch.full((side * side, 4), torch.nan)
    if mask is None:
        return CellTruth(numbers, boxes)
    inside = size // side * side  # as the vision tower cuts its patches
    squashed = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)[:inside, :inside]
    cell = inside // side
    blocks = squashed.reshape(side, cell, side, cell)[:, :: 1 + (cell > 8), :, :: 1 + (cell > 8)]
    marks = [truth.mark for truth in record.truths]
    covered = np.stack([(blocks == mark).mean(axis=(1, 3)).ravel() for mark in (*marks, -1)])
    best = covered.argmax(0)
    best[covered.max(0) < COVERED] = len(marks)
    known = [names.numbers(truth.names) for truth in record.truths]
    table = torch.tensor([*known, [0] * len(names.kinds)])
    where = [[t.box.x1, t.box.y1, t.box.x2, t.box.y2] for t in record.truths]
    places = torch.tensor([*where, [torch.nan] * 4])
    return CellTruth(table[best], places[best])

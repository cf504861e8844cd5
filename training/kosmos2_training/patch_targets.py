"""Targets of the auxiliary losses: the object in each cell of a grid over the image, from the mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kosmos2_data.records import Record

UNKNOWN = -100  # the class that a cross entropy ignores
MIN_COVERED = 0.15  # the smallest part of a cell that an object must cover


@dataclass(frozen=True)
class ObjectClasses:
    """The names of objects as classes, in several kinds such as colours and shapes. Class 0 is: no object."""

    kinds: tuple[tuple[str, ...], ...]

    @classmethod
    def from_records(cls, records: Iterable[Record]) -> ObjectClasses | None:
        """Collect all names in the records; return None if there are none."""
        kinds: list[dict[str, None]] = []
        for record in records:
            for truth in record.truths:
                kinds += [{} for _ in range(len(truth.names) - len(kinds))]
                for kind, name in zip(kinds, truth.names, strict=False):
                    kind[name] = None
        return cls(tuple(tuple(sorted(kind)) for kind in kinds)) if kinds else None

    def classes_of(self, names: Sequence[str]) -> list[int]:
        """Return the class of an object in each kind; UNKNOWN where it has no known name."""
        return [
            kind.index(name) + 1 if name in kind else UNKNOWN
            for kind, name in zip(self.kinds, [*names, *[""] * len(self.kinds)], strict=False)
        ]


@dataclass(frozen=True, eq=False)
class PatchTargets:
    """The object in each cell of a grid. Tensors of a batch have a batch dimension in front."""

    classes: Tensor  # (cells, kinds), of the object; 0 without an object, UNKNOWN without a mask
    boxes: Tensor  # (cells, 4), of the object, in unit coordinates; NaN without an object

    def to(self, device: torch.device, non_blocking: bool = False) -> PatchTargets:
        """Move the tensors to a device."""
        return PatchTargets(
            self.classes.to(device, non_blocking=non_blocking),
            self.boxes.to(device, non_blocking=non_blocking),
        )

    @classmethod
    def stack(cls, samples: Sequence[PatchTargets | None]) -> PatchTargets | None:
        """Stack the targets of a batch; return None if a sample has none."""
        known = [targets for targets in samples if targets is not None]
        if len(known) < len(samples):
            return None
        return cls(
            torch.stack([targets.classes for targets in known]),
            torch.stack([targets.boxes for targets in known]),
        )


def patch_targets(
    record: Record, mask: NDArray[np.uint8] | None, side: int, size: int, object_classes: ObjectClasses
) -> PatchTargets:
    """Return the object that covers most of each cell of a grid.

    Args:
        mask: the instance mask; without it all classes are UNKNOWN.
        side: the number of cells along a side.
        size: the side of the square that the model resizes images to, in pixels.
    """
    classes = torch.full((side * side, len(object_classes.kinds)), UNKNOWN)
    boxes = torch.full((side * side, 4), torch.nan)
    if mask is None:
        return PatchTargets(classes, boxes)
    inside = size // side * side  # the vision tower ignores what remains at the right and lower edge
    squashed = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)[:inside, :inside]
    cell = inside // side
    # Every second pixel is enough in large cells.
    blocks = squashed.reshape(side, cell, side, cell)[:, :: 1 + (cell > 8), :, :: 1 + (cell > 8)]
    marks = [truth.mark for truth in record.truths]
    covered = np.stack([(blocks == mark).mean(axis=(1, 3)).ravel() for mark in (*marks, -1)])
    best = covered.argmax(0)  # (cells,), an index of a truth; len(marks) stands for no object
    best[covered.max(0) < MIN_COVERED] = len(marks)
    known = [object_classes.classes_of(truth.names) for truth in record.truths]
    class_table = torch.tensor([*known, [0] * len(object_classes.kinds)])
    corners = [[t.box.x1, t.box.y1, t.box.x2, t.box.y2] for t in record.truths]
    box_table = torch.tensor([*corners, [torch.nan] * 4])
    return PatchTargets(class_table[best], box_table[best])

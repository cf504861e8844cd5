"""Detection metrics of ranked boxes: average precision as COCO defines it, recall as the Kosmos-2 paper does.

A phrase asked of an image is treated as a small image of its own: its predicted boxes can only match its own
true boxes. All phrases together are one class. Boxes predicted for an absent phrase are false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import Box, iou
from kosmos2_eval.metrics import RIGHT

Array = NDArray[np.float64]
SizeRange = tuple[float, float]  # px^2, both ends included

THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())  # COCO's, to the last digit
MAX_BOXES = 10  # of a phrase that count
SMALL_PX, MEDIUM_PX = 32.0**2, 96.0**2  # px^2: largest area of a small and of a medium box
SIZES = {"small": (0.0, SMALL_PX), "medium": (SMALL_PX, MEDIUM_PX), "large": (MEDIUM_PX, 1e10)}
ALL_SIZES = (0.0, 1e10)
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class RankedBoxes:
    """The boxes predicted for one phrase in one image, with its true boxes.

    Args:
        truth: true boxes.
        boxes: predicted boxes with scores, the highest score first.
        pixels: the image's area in px^2.
    """

    truth: tuple[Box, ...]
    boxes: tuple[Box, ...]
    pixels: float

    @cached_property
    def overlaps(self) -> Array:
        """IoU of every predicted box with every true box, of shape (boxes, true boxes)."""
        rows = [[iou(box, true_box) for true_box in self.truth] for box in self.boxes]
        return np.array(rows, float).reshape(len(self.boxes), len(self.truth))

    def best_overlap(self, boxes: int = 1) -> float:
        """Return the best IoU of the first `boxes` boxes with any true box, or 0 without either."""
        return float(self.overlaps[:boxes].max(initial=0.0))


def size_of(box: Box, pixels: float) -> str:
    """Return COCO's size class of a box, `small`, `medium` or `large`, in an image of `pixels` px^2."""
    area = box.area * pixels
    return "small" if area < SMALL_PX else "medium" if area < MEDIUM_PX else "large"


def recall(ranked: Sequence[RankedBoxes], boxes: int) -> float | None:
    """Return the fraction of present phrases found by any of their first `boxes` boxes (ANY-BOX rule)."""
    present = [phrase for phrase in ranked if phrase.truth]
    if not present:
        return None
    return sum(phrase.best_overlap(boxes) >= RIGHT for phrase in present) / len(present)


@dataclass(frozen=True, eq=False)
class Matches:
    """The boxes of one phrase matched with its true boxes, at every IoU threshold.

    Args:
        scores: of shape (boxes,).
        right: whether a box matches a true box, of shape (thresholds, boxes).
        ignored: whether a box does not count because of its size, of shape (thresholds, boxes).
        true_count: number of true boxes in the size range.
    """

    scores: Array
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    true_count: int


def match(ranked: RankedBoxes, sizes: SizeRange = ALL_SIZES) -> Matches:
    """Match predicted boxes with true boxes as COCO does.

    In the order of their scores, boxes take the free true box with the best IoU. True boxes outside the size
    range are not counted, and a box that matches one is ignored.
    """
    scores = np.array([box.score or 0.0 for box in ranked.boxes], float)
    best_first = np.argsort(-scores, kind="mergesort")[:MAX_BOXES]
    other_size = ~_in_range(ranked.truth, ranked.pixels, sizes)
    truth_order = np.argsort(other_size, kind="mergesort")  # true boxes of another size come last
    overlaps, other_size = ranked.overlaps[np.ix_(best_first, truth_order)], other_size[truth_order]
    right = np.zeros((len(THRESHOLDS), len(best_first)), bool)
    ignored = np.zeros_like(right)
    for row, threshold in enumerate(THRESHOLDS):
        if overlaps.max(initial=0.0) < threshold - 1e-9:
            break  # no box matches at a higher threshold either
        for column, taken in enumerate(_assign(overlaps.tolist(), other_size.tolist(), threshold)):
            right[row, column] = taken is not None
            ignored[row, column] = taken is not None and other_size[taken]
    in_range = _in_range([ranked.boxes[index] for index in best_first], ranked.pixels, sizes)
    true_count = int(np.count_nonzero(~other_size))
    return Matches(scores[best_first], right, ignored | (~right & ~in_range), true_count)


def _in_range(boxes: Sequence[Box], pixels: float, sizes: SizeRange) -> NDArray[np.bool_]:
    areas = np.array([box.area for box in boxes], float) * pixels
    return np.asarray((areas >= sizes[0]) & (areas <= sizes[1]))


def _assign(
    overlaps: Sequence[Sequence[float]], other_size: Sequence[bool], threshold: float
) -> list[int | None]:
    """Return the index of the true box that each box takes; true boxes of another size must come last."""
    free = [True] * len(other_size)
    taken: list[int | None] = []
    for row in overlaps:
        best, best_overlap = None, min(threshold, 1 - 1e-10)
        for index, overlap in enumerate(row):
            if best is not None and not other_size[best] and other_size[index]:
                break
            if free[index] and overlap >= best_overlap:
                best, best_overlap = index, overlap
        if best is not None:
            free[best] = False
        taken.append(best)
    return taken


@dataclass(frozen=True)
class Precision:
    """Average precision: the mean over IoU thresholds 0.5 to 0.95, and the values at 0.5 and at 0.75."""

    mean: float
    at_50: float
    at_75: float


def average_precision(matches: Sequence[Matches]) -> Precision | None:
    """Return COCO's average precision of all phrases as one class, or None without true boxes."""
    curves = precision_curves(matches)
    if curves is None:
        return None
    by_threshold = curves.mean(axis=1)
    return Precision(float(by_threshold.mean()), float(by_threshold[0]), float(by_threshold[5]))


def precision_curves(matches: Sequence[Matches]) -> Array | None:
    """Return the interpolated precision at every recall, of shape (thresholds, recalls).

    Interpolated precision is the best precision at this recall or above. Returns None without true boxes.
    """
    true_count = sum(phrase.true_count for phrase in matches)
    if not true_count:
        return None
    scores = np.concatenate([phrase.scores for phrase in matches])
    order = np.argsort(-scores, kind="mergesort")
    right = np.concatenate([phrase.right for phrase in matches], axis=1)[:, order]
    counted = ~np.concatenate([phrase.ignored for phrase in matches], axis=1)[:, order]
    hits = np.cumsum(right & counted, axis=1)
    alarms = np.cumsum(~right & counted, axis=1)
    return np.stack([_curve(*rows, true_count) for rows in zip(hits, alarms, strict=True)])


def _curve(hits: NDArray[np.int64], alarms: NDArray[np.int64], true_count: int) -> Array:
    if not len(hits):
        return np.zeros(len(RECALLS))
    precision = hits / np.maximum(hits + alarms, np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    indices = np.searchsorted(hits / true_count, RECALLS, side="left")
    return np.where(indices < len(envelope), envelope[np.minimum(indices, len(envelope) - 1)], 0.0)

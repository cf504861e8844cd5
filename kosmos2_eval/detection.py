"""Figures of ranked boxes as detection benchmarks have them: average precision as COCO, recall as the paper.

A phrase asked of an image is a small image of its own: what was found for it can only match what is true of
it. All phrases together are one class. Boxes found for an absent phrase are false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import Box, iou

Array = NDArray[np.float64]

THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())  # COCO's, to the last digit
MOST = 10  # boxes of a phrase that count
SMALL, MEDIUM = 32.0**2, 96.0**2  # px^2, up to which a box is of this size
SIZES = {"small": (0.0, SMALL), "medium": (SMALL, MEDIUM), "large": (MEDIUM, 1e10)}
EVERY = (0.0, 1e10)
RECALLS = np.linspace(0, 1, 101)

Sizes = tuple[float, float]


@dataclass(frozen=True)
class Ranked:
    """What was found of one phrase in one image, the surest first, and what is true."""

    truth: tuple[Box, ...]
    boxes: tuple[Box, ...]  # with scores
    pixels: float  # of the image

    @cached_property
    def overlaps(self) -> Array:
        """(boxes, true boxes), IoU."""
        lines = [[iou(box, true) for true in self.truth] for box in self.boxes]
        return np.array(lines, float).reshape(len(self.boxes), len(self.truth))


def size_of(box: Box, pixels: float) -> str:
    """COCO's small, medium or large."""
    area = box.area * pixels
    return "small" if area < SMALL else "medium" if area < MEDIUM else "large"


def recall(ranked: Sequence[Ranked], boxes: int, overlap: float = 0.5) -> float | None:
    """The share of phrases with a true box that one of the first boxes meets (the paper's any-box rule)."""
    there = [one for one in ranked if one.truth]
    if not there:
        return None
    return sum(best_overlap(one, boxes) >= overlap for one in there) / len(there)


def best_overlap(one: Ranked, boxes: int = 1) -> float:
    return float(one.overlaps[:boxes].max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Matches:
    """A phrase's boxes, held to its truth at each threshold."""

    scores: Array  # (boxes,)
    right: NDArray[np.bool_]  # (thresholds, boxes)
    ignored: NDArray[np.bool_]  # (thresholds, boxes): of another size
    true: int  # true boxes of this size


def match(one: Ranked, sizes: Sizes = EVERY) -> Matches:
    """Each box takes the free true box that it meets best, the surest box first, as COCO does. Where only
    one size counts, a true box of another size does no harm: what meets it is left out."""
    scores = np.array([box.score or 0.0 for box in one.boxes], float)
    surest = np.argsort(-scores, kind="mergesort")[:MOST]
    other = ~_sized(one.truth, one.pixels, sizes)
    order = np.argsort(other, kind="mergesort")  # true boxes of another size come last
    overlaps, other = one.overlaps[np.ix_(surest, order)], other[order]
    right = np.zeros((len(THRESHOLDS), len(surest)), bool)
    ignored = np.zeros_like(right)
    for row, threshold in enumerate(THRESHOLDS):
        if overlaps.max(initial=0.0) < threshold - 1e-9:
            break  # nor at a higher one
        for place, met in enumerate(_met(overlaps.tolist(), other.tolist(), threshold)):
            right[row, place] = met is not None
            ignored[row, place] = met is not None and other[met]
    sized = _sized([one.boxes[place] for place in surest], one.pixels, sizes)
    return Matches(scores[surest], right, ignored | (~right & ~sized), int(np.count_nonzero(~other)))


def _sized(boxes: Sequence[Box], pixels: float, sizes: Sizes) -> NDArray[np.bool_]:
    areas = np.array([box.area for box in boxes], float) * pixels
    return np.asarray((areas >= sizes[0]) & (areas <= sizes[1]))


def _met(overlaps: Sequence[Sequence[float]], other: Sequence[bool], least: float) -> list[int | None]:
    """Of each box, the true box that it takes; true boxes of another size come last."""
    free = [True] * len(other)
    met: list[int | None] = []
    for line in overlaps:
        best, best_overlap = None, min(least, 1 - 1e-10)
        for place, overlap in enumerate(line):
            if best is not None and not other[best] and other[place]:
                break
            if free[place] and overlap >= best_overlap:
                best, best_overlap = place, overlap
        if best is not None:
            free[best] = False
        met.append(best)
    return met


@dataclass(frozen=True)
class Precision:
    """Average precision: over thresholds of IoU from 0.5 to 0.95, and at 0.5 and 0.75 alone."""

    mean: float
    at_50: float
    at_75: float


def average_precision(matches: Sequence[Matches]) -> Precision | None:
    curves = precision_curves(matches)
    if curves is None:
        return None
    each = curves.mean(axis=1)
    return Precision(float(each.mean()), float(each[0]), float(each[5]))


def precision_curves(matches: Sequence[Matches]) -> Array | None:
    """(thresholds, recalls): the best precision at each recall or above. None: nothing is there to find."""
    true = sum(one.true for one in matches)
    if not true:
        return None
    scores = np.concatenate([one.scores for one in matches])
    order = np.argsort(-scores, kind="mergesort")
    right = np.concatenate([one.right for one in matches], axis=1)[:, order]
    counted = ~np.concatenate([one.ignored for one in matches], axis=1)[:, order]
    hits = np.cumsum(right & counted, axis=1)
    alarms = np.cumsum(~right & counted, axis=1)
    return np.stack([_curve(*rows, true) for rows in zip(hits, alarms, strict=True)])


def _curve(hits: NDArray[np.int64], alarms: NDArray[np.int64], true: int) -> Array:
    if not len(hits):
        return np.zeros(len(RECALLS))
    precision = hits / np.maximum(hits + alarms, np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / true, RECALLS, side="left")
    return np.where(places < len(envelope), envelope[np.minimum(places, len(envelope) - 1)], 0.0)

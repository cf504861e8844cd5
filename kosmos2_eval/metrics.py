"""Figures of scores and of words. All take plain sequences and give plain numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kosmos2_data.records import normalised

RIGHT = 0.5  # the IoU with a true box from which on a box is right
BINS = 15
SUREST = 1e-6  # what NLL takes for a score of 0, or 1 less this for a score of 1


@dataclass(frozen=True)
class Bin:
    """Scores that are near each other: were they honest, `score` and `right` would be the same."""

    count: int
    score: float  # mean
    right: float  # share


def reliability(scores: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """Bins of (nearly) as many scores each, from the lowest scores to the highest."""
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, min(bins, len(order)) or 1)
    said, true = np.asarray(scores, float), np.asarray(right, float)
    return [Bin(len(part), float(said[part].mean()), float(true[part].mean())) for part in parts if len(part)]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """ECE: how far scores are from the share that is right, on average over the bins."""
    count = sum(one.count for one in bins)
    return sum(one.count * abs(one.score - one.right) for one in bins) / count if count else None


def brier(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The mean squared distance of scores from what came true, 0 at best."""
    return mean([(score - true) ** 2 for score, true in zip(scores, right, strict=True)])


def negative_log_likelihood(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """How surprised one is who believes the scores, in nats, 0 at best."""
    if not len(scores):
        return None
    said = np.clip(np.asarray(scores, float), SUREST, 1 - SUREST)
    return float(-np.log(np.where(np.asarray(right, bool), said, 1 - said)).mean())


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """How often a positive has the higher score than a negative, of all pairs; equal ones count half."""
    if not len(positive) or not len(negative):
        return None
    below = np.sort(np.asarray(negative, float))
    lower = np.searchsorted(below, positive, "left") + np.searchsorted(below, positive, "right")
    return float(lower.mean() / 2 / len(below))


def mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def standard_error(values: Sequence[float], groups: Sequence[int]) -> float | None:
    """Of the mean, where values of one group (the phrases of one image) may go wrong together."""
    if len(set(groups)) < 2:
        return None
    own: defaultdict[int, float] = defaultdict(float)
    middle = float(np.mean(values))
    for value, group in zip(values, groups, strict=True):
        own[group] += value - middle
    number = len(own)
    return float(np.sqrt(sum(one**2 for one in own.values()) * number / (number - 1)) / len(values))


def token_f1(said: str, truth: str) -> float:
    """How many words two texts share: the harmonic mean of precision and recall."""
    one, other = (Counter(normalised(text).split()) for text in (said, truth))
    shared = (one & other).total()
    return 2 * shared / (one.total() + other.total()) if shared else float(one == other)

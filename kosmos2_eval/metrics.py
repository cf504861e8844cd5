"""Metrics of scores, and the statistics that say how far chance alone explains them.

All functions take plain sequences and return plain numbers. A function returns None where there are no values
to compute its metric from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

RIGHT = 0.5  # a box is right if its IoU with a true box is at least this
BINS = 15  # of a reliability diagram
CLIP = 1e-6  # scores are clipped to [CLIP, 1 - CLIP] before their logarithm is taken

RESAMPLES = 2000  # of the bootstrap
CONFIDENCE = 0.95  # of a bootstrap interval
NUMBERS_PER_STEP = 2_000_000  # random numbers drawn in one step of the bootstrap; bounds the memory
Z_95 = 1.959963984540054  # half width of a normal distribution's 95 % interval, in standard deviations


def mean(values: Sequence[float]) -> float | None:
    """Return the arithmetic mean, or None of an empty sequence."""
    return float(np.mean(values)) if len(values) else None


# Scores against correctness.


@dataclass(frozen=True)
class Bin:
    """Predictions with similar scores. If scores are calibrated, `score` and `right` are equal.

    Args:
        count: number of predictions.
        score: their mean score.
        right: the fraction of them that is right.
    """

    count: int
    score: float
    right: float


def reliability(scores: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """Return bins of (nearly) equal counts, from the lowest scores to the highest."""
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, min(bins, len(order)) or 1)
    score_array, right_array = np.asarray(scores, float), np.asarray(right, float)
    return [
        Bin(len(part), float(score_array[part].mean()), float(right_array[part].mean()))
        for part in parts
        if len(part)
    ]


def wilson_interval(fraction: float, count: int) -> Interval:
    """Return the 95 % confidence interval of a fraction observed in `count` trials (Wilson, 1927)."""
    z2 = Z_95**2 / count
    centre = (fraction + z2 / 2) / (1 + z2)
    half = Z_95 / (1 + z2) * (fraction * (1 - fraction) / count + z2 / (4 * count)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Return the expected calibration error (ECE): mean |score - fraction right| over all predictions."""
    count = sum(entry.count for entry in bins)
    return sum(entry.count * abs(entry.score - entry.right) for entry in bins) / count if count else None


def brier(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Return the Brier score: the mean squared distance of a score from its outcome, 0 at best."""
    return mean([(score - outcome) ** 2 for score, outcome in zip(scores, right, strict=True)])


def negative_log_likelihood(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Return the mean negative log-likelihood of the outcomes in nats, 0 at best."""
    if not len(scores):
        return None
    clipped = np.clip(np.asarray(scores, float), CLIP, 1 - CLIP)
    return float(-np.log(np.where(np.asarray(right, bool), clipped, 1 - clipped)).mean())


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Return the area under the ROC curve.

    This is the fraction of (positive, negative) pairs in which the positive has the higher score; a pair of
    equal scores counts half.
    """
    if not len(positive) or not len(negative):
        return None
    below = np.sort(np.asarray(negative, float))
    lower = np.searchsorted(below, positive, "left") + np.searchsorted(below, positive, "right")
    return float(lower.mean() / 2 / len(below))


# Chance: standard errors, intervals and paired comparisons. Values of one group (the phrases of one image)
# are statistically dependent, so groups are what is resampled.


def standard_error(values: Sequence[float], groups: Sequence[int]) -> float | None:
    """Return the cluster-robust standard error of the mean, or None with fewer than two groups."""
    if len(set(groups)) < 2:
        return None
    deviations: defaultdict[int, float] = defaultdict(float)
    centre = float(np.mean(values))
    for value, group in zip(values, groups, strict=True):
        deviations[group] += value - centre
    number = len(deviations)
    squares = sum(deviation**2 for deviation in deviations.values())
    return float(np.sqrt(squares * number / (number - 1)) / len(values))


def bootstrap_interval(values: Sequence[float], groups: Sequence[Hashable]) -> Interval | None:
    """Return the 95 % interval of the mean by a cluster bootstrap with percentiles.

    Returns:
        The interval, or None with fewer than two groups.
    """
    number = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    if len(number) < 2:
        return None
    group_of_value = [number[group] for group in groups]
    sums = np.bincount(group_of_value, values, len(number)).astype(float)
    counts = np.bincount(group_of_value, minlength=len(number)).astype(float)
    means = np.concatenate(_resampled_means(sums, counts, np.random.default_rng(0)))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _resampled_means(sums: Array, counts: Array, rng: np.random.Generator) -> list[Array]:
    size = len(sums)
    step = max(NUMBERS_PER_STEP // size, 1)
    means: list[Array] = []
    for start in range(0, RESAMPLES, step):
        drawn = rng.integers(0, size, (min(step, RESAMPLES - start), size))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return means


@dataclass(frozen=True)
class Difference:
    """The mean difference of paired values, with its bootstrap interval."""

    difference: float | None
    interval: Interval | None


def paired_difference(
    before: Sequence[float], after: Sequence[float], groups: Sequence[Hashable]
) -> Difference:
    """Return the mean of `after - before`, with an interval over groups."""
    steps = [late - early for early, late in zip(before, after, strict=True)]
    return Difference(float(np.mean(steps)) if steps else None, bootstrap_interval(steps, groups))


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test on the questions that exactly one of two models answers correctly.

    Args:
        lost: number of questions that were right before and are wrong after.
        won: number of questions that were wrong before and are right after.
        p: two-sided p-value: the probability that a fair coin gives a split at least as uneven.
    """

    lost: int
    won: int
    p: float


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """Return McNemar's exact test of paired outcomes."""
    pairs = list(zip(before, after, strict=True))
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    return McNemar(lost, won, min(2 * _binomial_cdf(min(lost, won), lost + won), 1.0))


def _binomial_cdf(heads: int, throws: int) -> float:
    """Return the probability that a fair coin shows at most `heads` heads."""
    logs = (
        lgamma(throws + 1) - lgamma(k + 1) - lgamma(throws - k + 1) - throws * log(2)
        for k in range(heads + 1)
    )
    return sum(map(exp, logs))

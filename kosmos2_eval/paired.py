"""What chance alone would do: intervals of a mean, and whether two models differ on the same questions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

DRAWS = 2000
COVERED = 0.95  # of the draws are in an interval
AT_ONCE = 2_000_000  # numbers drawn in one step; bounds the memory


@dataclass(frozen=True)
class McNemar:
    """Of the questions that exactly one of two models has right: would a coin be as uneven?"""

    lost: int  # right before, wrong after
    won: int
    p: float  # two-sided, exact


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    pairs = list(zip(before, after, strict=True))
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    return McNemar(lost, won, min(2 * _at_most(min(lost, won), lost + won), 1.0))


def _at_most(heads: int, throws: int) -> float:
    """The probability that a coin shows so many heads or fewer."""
    logs = (
        lgamma(throws + 1) - lgamma(k + 1) - lgamma(throws - k + 1) - throws * log(2)
        for k in range(heads + 1)
    )
    return sum(map(exp, logs))


def interval(values: Sequence[float], groups: Sequence[Hashable], seed: int = 0) -> Interval | None:
    """Of the mean, by drawing whole groups again and again (a cluster bootstrap, percentiles).

    Phrases of one image go wrong together, so an image is what is drawn. None: there is one group or none.
    """
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    if len(number) < 2:
        return None
    of_group = [number[group] for group in groups]
    sums = np.bincount(of_group, values, len(number)).astype(float)
    counts = np.bincount(of_group, minlength=len(number)).astype(float)
    means = np.concatenate(_drawn_means(sums, counts, np.random.default_rng(seed)))
    low, high = np.quantile(means, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def _drawn_means(sums: Array, counts: Array, rng: np.random.Generator) -> list[Array]:
    size = len(sums)
    step = max(AT_ONCE // size, 1)
    means: list[Array] = []
    for start in range(0, DRAWS, step):
        drawn = rng.integers(0, size, (min(step, DRAWS - start), size))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return means


@dataclass(frozen=True)
class Difference:
    """Of the means of paired values."""

    difference: float | None
    interval: Interval | None


def difference(before: Sequence[float], after: Sequence[float], groups: Sequence[Hashable]) -> Difference:
    steps = [late - early for early, late in zip(before, after, strict=True)]
    return Difference(float(np.mean(steps)) if steps else None, interval(steps, groups))

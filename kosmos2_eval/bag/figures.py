"""What the answers to many queries come to. docs/bag-evaluation.md defines each figure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from kosmos2_eval.bag.queries import Judged
from kosmos2_eval.detection import SIZES, average_precision, match, recall
from kosmos2_eval.metrics import (
    RIGHT,
    auroc,
    brier,
    calibration_error,
    mean,
    negative_log_likelihood,
    reliability,
)
from kosmos2_eval.paired import difference, interval, mcnemar
from kosmos2_eval.stability import Step, stability

OVERLAPS = tuple(round(0.25 + 0.05 * step, 2) for step in range(15))  # 0.25 ... 0.95
RANKS = (1, 5, 10)
NEAR_M = (0.02, 0.05, 0.1)


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Of one model: of all queries, by kind, size and camera; then over time, and in space."""
    groups: dict[str, Callable[[Judged], str]] = {
        "kinds": lambda one: one.query.kind,
        "sizes": lambda one: one.query.size,
        "cameras": lambda one: one.query.camera,
    }
    return {
        "all": group(judged) | {"average_precision_by_size": _precision_by_size(judged)},
        **{name: _by(judged, of) for name, of in groups.items()},
        "reliability": [asdict(one) for one in reliability(*_scores(_known(judged)))],
        "stability": stability(steps(judged)),
        "space": space(judged),
    }


def _by(judged: Sequence[Judged], of: Callable[[Judged], str]) -> dict[str, Any]:
    parts: defaultdict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        parts[of(one)].append(one)
    return {name: group(parts[name]) for name in sorted(parts) if name}


def _known(judged: Sequence[Judged]) -> list[Judged]:
    """Those of which the truth is known."""
    return [one for one in judged if one.query.truth is not None]


def _scores(judged: Sequence[Judged]) -> tuple[list[float], list[bool]]:
    return [one.score for one in judged], [one.right for one in judged]


def group(judged: Sequence[Judged]) -> dict[str, Any]:
    """None where there is nothing to tell a figure from."""
    known = _known(judged)
    present = [one for one in known if one.query.truth]
    absent = [one for one in known if not one.query.truth]
    ranked = [one.ranked for one in known]
    precision = average_precision([one.matches for one in known])
    return {
        "queries": len(judged),
        "images": len({one.query.frame for one in judged}),
        "labelled": len(known),
        "absent": len(absent),
        "found": mean([float(one.box is not None) for one in judged]),
        "score": mean([one.score for one in judged]),
        "presence": mean([one.presence for one in judged]),
        **_located(present),
        "recall": {str(rank): recall(ranked, rank) for rank in RANKS},
        "average_precision": asdict(precision) if precision else None,
        "false_alarms": mean([float(one.box is not None) for one in absent]),
        "misses": mean([float(one.box is None) for one in present]),
        "presence_auroc": auroc([one.presence for one in present], [one.presence for one in absent]),
        **_honest(known),
    }


def _located(present: Sequence[Judged]) -> dict[str, Any]:
    frames = [one.query.frame for one in present]
    overlaps = [one.iou for one in present]
    right = [float(overlap >= RIGHT) for overlap in overlaps]
    return {
        "accuracy": {f"{least:g}": mean([float(one >= least) for one in overlaps]) for least in OVERLAPS},
        "accuracy_interval": interval(right, frames),
        "mean_iou": mean(overlaps),
        "mean_iou_interval": interval(overlaps, frames),
    }


def _honest(known: Sequence[Judged]) -> dict[str, Any]:
    scores, right = _scores(known)
    return {
        "calibration_error": calibration_error(reliability(scores, right)),
        "brier": brier(scores, right),
        "nll": negative_log_likelihood(scores, right),
    }


def _precision_by_size(judged: Sequence[Judged]) -> dict[str, Any]:
    """As COCO: of boxes of this size, not of images with one."""
    ranked = [one.ranked_apart for one in _known(judged)]
    of_size = {
        name: average_precision([match(one, sizes) for one in ranked]) for name, sizes in SIZES.items()
    }
    return {name: asdict(one) if one else None for name, one in of_size.items()}


# Over time.


def steps(judged: Sequence[Judged]) -> list[Step]:
    """Neighbouring images of a camera in which the same standing command's phrase was found."""
    tracks: defaultdict[tuple[Any, ...], list[Judged]] = defaultdict(list)
    for one in judged:
        query = one.query
        tracks[query.camera, query.standing, query.text, query.index].append(one)
    return [
        Step((before.box, after.box), _true_pair(before, after))
        for track in tracks.values()
        for before, after in pairwise(track)
        if before.box and after.box
    ]


def _true_pair(before: Judged, after: Judged) -> Any:
    """Where there is exactly one true box in both."""
    truths = [one.query.truth or () for one in (before, after)]
    return (truths[0][0], truths[1][0]) if all(len(one) == 1 for one in truths) else None


# In space.


def space(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Of the queries whose thing's place is known. None: of no one it is."""
    asked = [one for one in judged if one.query.true_centre_m]
    if not asked:
        return None
    unplaced = Counter(one.found.unplaced or "no box" for one in asked if one.centre_error_m is None)
    return {
        "queries": len(asked),
        "unplaced": dict(sorted(unplaced.items())),
        "all": _errors(asked),
        "right": _errors([one for one in asked if one.right]),
    }


def _errors(judged: Sequence[Judged]) -> dict[str, Any]:
    errors = [one.centre_error_m for one in judged if one.centre_error_m is not None]
    quantiles = np.quantile(errors, [0.5, 0.95]) if errors else (None, None)
    return {
        "count": len(errors),
        "mean_m": mean(errors),
        "median_m": None if quantiles[0] is None else float(quantiles[0]),
        "p95_m": None if quantiles[1] is None else float(quantiles[1]),
        "within_m": {f"{near:g}": mean([float(one <= near) for one in errors]) for near in NEAR_M},
    }


# Of two models.


def comparison(before: Sequence[Judged], after: Sequence[Judged]) -> dict[str, Any]:
    """Paired: both answered the same queries."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.query.truth]
    was, now = [one.right for one, _ in pairs], [one.right for _, one in pairs]
    frames = [one.query.frame for one, _ in pairs]
    accuracy = difference(list(map(float, was)), list(map(float, now)), frames)
    overlap = difference([one.iou for one, _ in pairs], [one.iou for _, one in pairs], frames)
    return {
        "queries": len(pairs),
        "accuracy": asdict(accuracy),
        "mean_iou": asdict(overlap),
        "mcnemar": asdict(mcnemar(was, now)),
    }

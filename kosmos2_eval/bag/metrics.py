"""Metrics of the queries of a recording, and of two models on the same queries.

docs/bag-evaluation.md defines every metric. A value is None where there is nothing to compute it from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kosmos2_core.boxes import Box, iou
from kosmos2_eval.bag.queries import QueryResult
from kosmos2_eval.detection import SIZES, average_precision, match, recall
from kosmos2_eval.metrics import (
    RIGHT,
    auroc,
    bootstrap_interval,
    brier,
    calibration_error,
    mcnemar,
    mean,
    negative_log_likelihood,
    paired_difference,
    reliability,
)

OVERLAPS = tuple(round(0.25 + 0.05 * step, 2) for step in range(15))  # 0.25 ... 0.95
RANKS = (1, 5, 10)
DISTANCES_M = (0.02, 0.05, 0.1)


def model_metrics(results: Sequence[QueryResult]) -> dict[str, Any]:
    """Return all metrics of one model: in total, by kind, size and camera, over time, and in 3D."""
    groups: dict[str, Callable[[QueryResult], str]] = {
        "kinds": lambda result: result.query.kind,
        "sizes": lambda result: result.query.size,
        "cameras": lambda result: result.query.camera,
    }
    return {
        "all": group_metrics(results) | {"average_precision_by_size": _precision_by_size(results)},
        **{name: _by_group(results, key) for name, key in groups.items()},
        "reliability": [asdict(entry) for entry in reliability(*_scores(_labelled(results)))],
        "stability": stability_metrics(frame_pairs(results)),
        "space": position_metrics(results),
    }


def _by_group(results: Sequence[QueryResult], key: Callable[[QueryResult], str]) -> dict[str, Any]:
    groups: defaultdict[str, list[QueryResult]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return {name: group_metrics(groups[name]) for name in sorted(groups) if name}


def _labelled(results: Sequence[QueryResult]) -> list[QueryResult]:
    return [result for result in results if result.query.truth is not None]


def _scores(results: Sequence[QueryResult]) -> tuple[list[float], list[bool]]:
    return [result.score for result in results], [result.right for result in results]


def group_metrics(results: Sequence[QueryResult]) -> dict[str, Any]:
    """Return counts and metrics of some queries of one model."""
    labelled = _labelled(results)
    present = [result for result in labelled if result.query.truth]
    absent = [result for result in labelled if not result.query.truth]
    ranked = [result.ranked for result in labelled]
    precision = average_precision([result.matches for result in labelled])
    return {
        "queries": len(results),
        "images": len({result.query.frame for result in results}),
        "labelled": len(labelled),
        "absent": len(absent),
        "found": mean([float(result.box is not None) for result in results]),
        "score": mean([result.score for result in results]),
        "presence": mean([result.presence for result in results]),
        **_overlap_metrics(present),
        "recall": {str(rank): recall(ranked, rank) for rank in RANKS},
        "average_precision": asdict(precision) if precision else None,
        "false_alarms": mean([float(result.box is not None) for result in absent]),
        "misses": mean([float(result.box is None) for result in present]),
        "presence_auroc": auroc(
            [result.presence for result in present], [result.presence for result in absent]
        ),
        **_calibration_metrics(labelled),
    }


def _overlap_metrics(present: Sequence[QueryResult]) -> dict[str, Any]:
    frames = [result.query.frame for result in present]
    overlaps = [result.iou for result in present]
    right = [float(overlap >= RIGHT) for overlap in overlaps]
    return {
        "accuracy": {
            f"{threshold:g}": mean([float(overlap >= threshold) for overlap in overlaps])
            for threshold in OVERLAPS
        },
        "accuracy_interval": bootstrap_interval(right, frames),
        "mean_iou": mean(overlaps),
        "mean_iou_interval": bootstrap_interval(overlaps, frames),
    }


def _calibration_metrics(labelled: Sequence[QueryResult]) -> dict[str, Any]:
    scores, right = _scores(labelled)
    return {
        "calibration_error": calibration_error(reliability(scores, right)),
        "brier": brier(scores, right),
        "nll": negative_log_likelihood(scores, right),
    }


def _precision_by_size(results: Sequence[QueryResult]) -> dict[str, Any]:
    """Return average precision by the size of true boxes, as COCO does, not by the size class of a query."""
    ranked = [result.ranked_distinct for result in _labelled(results)]
    by_size = {
        name: average_precision([match(boxes, sizes) for boxes in ranked]) for name, sizes in SIZES.items()
    }
    return {name: asdict(precision) if precision else None for name, precision in by_size.items()}


# Stability over time: how steadily a box follows its object from one image to the next.


@dataclass(frozen=True)
class FramePair:
    """The boxes of one phrase in two neighbouring images of a camera.

    Args:
        found: the predicted boxes.
        truth: the true boxes; None unless there is exactly one in both images.
    """

    found: tuple[Box, Box]
    truth: tuple[Box, Box] | None = None

    @property
    def jumps(self) -> bool:
        """True if the predicted box moves to where it does not overlap its previous position."""
        return iou(*self.found) == 0

    @property
    def switches(self) -> bool:
        """True if the predicted box jumps although the true box does not."""
        return self.truth is not None and self.jumps and iou(*self.truth) > 0


def frame_pairs(results: Sequence[QueryResult]) -> list[FramePair]:
    """Return the pairs of neighbouring images in which the same phrase of the current command was found."""
    tracks: defaultdict[tuple[str, int, str, int], list[QueryResult]] = defaultdict(list)
    for result in results:
        tracks[result.query.track].append(result)
    return [
        FramePair((before.box, after.box), _true_pair(before, after))
        for track in tracks.values()
        for before, after in pairwise(track)
        if before.box and after.box
    ]


def _true_pair(before: QueryResult, after: QueryResult) -> tuple[Box, Box] | None:
    truths = before.query.truth or (), after.query.truth or ()
    return (truths[0][0], truths[1][0]) if all(len(boxes) == 1 for boxes in truths) else None


def jitter(pair: FramePair) -> float:
    """Return how far the sides of the box move, relative to the box size, on average over the four sides.

    The motion of the true box is subtracted where it is known, so that a moving camera costs nothing.
    """
    reference = (pair.truth or pair.found)[0]
    motion = _side_motion(*pair.found, reference)
    if pair.truth:
        motion = motion - _side_motion(*pair.truth, reference)
    return float(np.abs(motion).mean())


def _side_motion(before: Box, after: Box, reference: Box) -> Any:
    width, height = reference.x2 - reference.x1, reference.y2 - reference.y1
    motion = (after.x1 - before.x1, after.y1 - before.y1, after.x2 - before.x2, after.y2 - before.y2)
    return np.array(motion) / (width, height, width, height)


def stability_metrics(pairs: Sequence[FramePair]) -> dict[str, Any]:
    """Return the median motion of all pairs, and jitter and identity switches where the truth is known."""
    with_truth = [pair for pair in pairs if pair.truth]
    jitters = [jitter(pair) for pair in with_truth]
    return {
        "steps": len(pairs),
        "jumps": sum(pair.jumps for pair in pairs),
        "motion": _median([jitter(FramePair(pair.found)) for pair in pairs]),
        "steps_with_truth": len(with_truth),
        "identity_switches": sum(pair.switches for pair in with_truth) if with_truth else None,
        "jitter": _median(jitters),
        "jitter_p95": float(np.quantile(jitters, 0.95)) if jitters else None,
    }


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


# 3D positions.


def position_metrics(results: Sequence[QueryResult]) -> dict[str, Any] | None:
    """Return the errors of 3D positions, or None if no query has a known 3D position."""
    known = [result for result in results if result.query.true_centre_m]
    if not known:
        return None
    unplaced = Counter(
        result.prediction.unplaced or "no box" for result in known if result.centre_error_m is None
    )
    return {
        "queries": len(known),
        "unplaced": dict(sorted(unplaced.items())),
        "all": _position_errors(known),
        "right": _position_errors([result for result in known if result.right]),
    }


def _position_errors(results: Sequence[QueryResult]) -> dict[str, Any]:
    errors = [result.centre_error_m for result in results if result.centre_error_m is not None]
    quantiles = [float(value) for value in np.quantile(errors, [0.5, 0.95])] if errors else [None, None]
    return {
        "count": len(errors),
        "mean_m": mean(errors),
        "median_m": quantiles[0],
        "p95_m": quantiles[1],
        "within_m": {
            f"{distance:g}": mean([float(error <= distance) for error in errors]) for distance in DISTANCES_M
        },
    }


# Two models.


def compare_models(before: Sequence[QueryResult], after: Sequence[QueryResult]) -> dict[str, Any]:
    """Return a paired comparison of two models that answered the same queries, on the present phrases."""
    pairs = [(first, second) for first, second in zip(before, after, strict=True) if first.query.truth]
    right_before = [first.right for first, _ in pairs]
    right_after = [second.right for _, second in pairs]
    frames = [first.query.frame for first, _ in pairs]
    accuracy = paired_difference(list(map(float, right_before)), list(map(float, right_after)), frames)
    overlap = paired_difference(
        [first.iou for first, _ in pairs], [second.iou for _, second in pairs], frames
    )
    return {
        "queries": len(pairs),
        "accuracy": asdict(accuracy),
        "mean_iou": asdict(overlap),
        "mcnemar": asdict(mcnemar(right_before, right_after)),
    }

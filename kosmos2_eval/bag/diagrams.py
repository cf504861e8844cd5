"""The report's diagrams, of an evaluation's figures and queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kosmos2_eval.bag.plots import Plot, unit, up_to
from kosmos2_eval.bag.queries import Judged
from kosmos2_eval.bag.summary import models_of
from kosmos2_eval.detection import RECALLS, precision_curves

KINDS = ("a", "b")  # of lines: the first and the second model's
Drawn = tuple[str, str, str]  # title, what it shows, SVG


def diagrams(results: Mapping[str, Any], judged: Sequence[Sequence[Judged]]) -> Iterator[Drawn]:
    models = models_of(results)
    if models[0]["all"]["labelled"]:
        yield _accuracy(models)
        yield _reliability(models)
        yield from _precision(judged)
    yield _timeline(judged[0])
    yield from _space(judged)


def _accuracy(models: Sequence[Mapping[str, Any]]) -> Drawn:
    plot = Plot(unit("IoU from which on a box is right"), unit("share that is right"))
    lines = [
        plot.line(
            [(float(least), right or 0) for least, right in model["all"]["accuracy"].items()], kind, True
        )
        for kind, model in zip(KINDS, models, strict=False)
    ]
    return "Accuracy", "by how near a box has to be", plot.drawn("accuracy by IoU", *lines)


def _reliability(models: Sequence[Mapping[str, Any]]) -> Drawn:
    plot = Plot(unit("score"), unit("share that is right"))
    lines = [plot.line([(0, 0), (1, 1)], "honest")]
    lines += [
        plot.line([(one["score"], one["right"]) for one in model["reliability"]], kind, True)
        for kind, model in zip(KINDS, models, strict=False)
    ]
    return "Reliability", "honest scores are on the diagonal", plot.drawn("reliability", *lines)


def _precision(judged: Sequence[Sequence[Judged]]) -> Iterator[Drawn]:
    plot = Plot(unit("recall"), unit("precision"))
    curves = [precision_curves([one.matches for one in own if one.query.truth is not None]) for own in judged]
    lines = [
        plot.line(list(zip(RECALLS.tolist(), curve[0].tolist(), strict=True)), kind)
        for kind, curve in zip(KINDS, curves, strict=False)
        if curve is not None
    ]
    if lines:
        yield "Precision and recall", "of all boxes, at IoU 0.5", plot.drawn("precision by recall", *lines)


def _timeline(judged: Sequence[Judged]) -> Drawn:
    """IoU over time, or where no truth is known, scores."""
    labelled = [one for one in judged if one.query.truth]
    shown = labelled or list(judged)
    start_ns = min((one.query.stamp_ns for one in shown), default=0)
    seconds = [(one.query.stamp_ns - start_ns) / 1e9 for one in shown]
    plot = Plot(up_to("seconds", max(seconds, default=1.0)), unit("IoU" if labelled else "score"))
    dots = [
        (at, one.iou if labelled else one.score, _kind(one), f"{one.query.text}, image {one.query.frame}")
        for at, one in zip(seconds, shown, strict=True)
    ]
    about = "of each phrase that is there" if labelled else "of each phrase"
    title = "IoU over time" if labelled else "Scores over time"
    return title, about, plot.drawn(title, plot.dots(dots))


def _kind(one: Judged) -> str:
    return "unknown" if one.query.truth is None else "right" if one.right else "wrong"


def _space(judged: Sequence[Sequence[Judged]]) -> Iterator[Drawn]:
    """The share of right boxes whose place is off by no more than so much."""
    errors = [
        sorted(one.centre_error_m for one in own if one.right and one.centre_error_m is not None)
        for own in judged
    ]
    if not errors[0]:
        return
    far_m = max(float(np.quantile(errors[0], 0.98)), 0.01)
    plot = Plot(up_to("metres", far_m), unit("share of right boxes"))
    lines = [
        plot.line(
            [(0, 0), *((error, (at + 1) / len(own)) for at, error in enumerate(own) if error <= far_m)], kind
        )
        for kind, own in zip(KINDS, errors, strict=False)
        if own
    ]
    yield "Error in space", "of the middle of what is found, cumulated", plot.drawn("error in space", *lines)

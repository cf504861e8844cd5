"""The main metrics of an evaluation with their names and meanings, and the summary for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kosmos2_eval.phrases import worst_kinds, worst_kinds_text

ModelMetrics = Mapping[str, Any]  # the metrics of one model, see metrics.model_metrics
NAME_WIDTH, COLUMN_WIDTH = 34, 20  # letters


def _value_at(*path: str) -> Callable[[ModelMetrics], Any]:
    """Return a function that looks up nested keys, and returns None where one is missing."""

    def value(metrics: ModelMetrics) -> Any:
        found: Any = metrics
        for name in path:
            found = None if found is None else found.get(name)
        return found

    return value


@dataclass(frozen=True)
class SummaryMetric:
    """A metric of the summary.

    Args:
        name: short name.
        value: looks the value up in the metrics of a model; None: there is nothing to compute it from.
        meaning: what it measures, as a text that follows the name.
        interval: looks up its 95 % interval.
        digits: number of digits after the point.
        labelled: the metric needs labels; the others are shown only for recordings without labels.
    """

    name: str
    value: Callable[[ModelMetrics], Any]
    meaning: str
    interval: Callable[[ModelMetrics], Any] = lambda metrics: None
    digits: int = 3
    labelled: bool = True


METRICS = (
    SummaryMetric(
        "accuracy at IoU 0.5",
        _value_at("all", "accuracy", "0.5"),
        "fraction of the present phrases whose best box has an IoU of at least 0.5 with a true box",
        _value_at("all", "accuracy_interval"),
    ),
    SummaryMetric(
        "mean IoU",
        _value_at("all", "mean_iou"),
        "mean IoU of the best box of the present phrases; 0 without a box",
        _value_at("all", "mean_iou_interval"),
    ),
    SummaryMetric(
        "recall@5",
        _value_at("all", "recall", "5"),
        "fraction of the present phrases with a right box among the 5 best",
    ),
    SummaryMetric(
        "recall@10",
        _value_at("all", "recall", "10"),
        "fraction of the present phrases with a right box among the 10 best",
    ),
    SummaryMetric(
        "average precision",
        _value_at("all", "average_precision", "mean"),
        "COCO's AP over IoU 0.5 to 0.95, with up to 10 boxes per phrase",
    ),
    SummaryMetric("AP at 0.5", _value_at("all", "average_precision", "at_50"), "COCO's AP50"),
    SummaryMetric(
        "false alarms", _value_at("all", "false_alarms"), "fraction of the absent phrases that got a box"
    ),
    SummaryMetric("misses", _value_at("all", "misses"), "fraction of the present phrases that got no box"),
    SummaryMetric(
        "presence, AUROC",
        _value_at("all", "presence_auroc"),
        "how often a present phrase has a higher presence than an absent one; 1 is perfect, 0.5 is chance",
    ),
    SummaryMetric(
        "calibration error",
        _value_at("all", "calibration_error"),
        "mean distance between scores and the fraction that is right (ECE); 0 is perfect",
    ),
    SummaryMetric(
        "Brier", _value_at("all", "brier"), "mean squared distance of a score from its outcome; 0 is perfect"
    ),
    SummaryMetric(
        "jitter",
        _value_at("stability", "jitter"),
        "median motion of a box between images beyond that of the true box, relative to its size",
    ),
    SummaryMetric(
        "identity switches",
        _value_at("stability", "identity_switches"),
        "number of times a box jumps to another position while the true box does not",
        digits=0,
    ),
    SummaryMetric(
        "error in space, m",
        _value_at("space", "right", "median_m"),
        "median distance of the 3D position of right boxes from the true centre",
    ),
    SummaryMetric("mean score", _value_at("all", "score"), "mean score of the best box", labelled=False),
    SummaryMetric(
        "mean presence", _value_at("all", "presence"), "mean presence of all phrases", labelled=False
    ),
    SummaryMetric(
        "motion",
        _value_at("stability", "motion"),
        "median motion of boxes between images, relative to their size",
        labelled=False,
    ),
)


def models_of(results: Mapping[str, Any]) -> list[ModelMetrics]:
    """Return the metrics of the first model and, if there is one, of the second."""
    compared = [results["compared"]["figures"]] if "compared" in results else []
    return [results["figures"], *compared]


def shown_metrics(results: Mapping[str, Any]) -> list[SummaryMetric]:
    """Return the metrics that can be computed from the labels at hand."""
    labelled = bool(results["figures"]["all"]["labelled"])
    models = models_of(results)
    return [
        metric
        for metric in METRICS
        if metric.labelled == labelled and any(metric.value(model) is not None for model in models)
    ]


def number_text(value: Any, digits: int = 3) -> str:
    """Return a number with a fixed number of digits, or `-` for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval_text(interval: Sequence[float] | None, sign: str = "") -> str:
    """Return `low to high`, or an empty text for None; `sign` `+` shows the sign."""
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}" if interval else ""


def no_box_text(results: Mapping[str, Any]) -> str:
    """Return what it means that a phrase has no box, with the presence threshold of each model."""
    known = [
        f"{threshold:.3g} for {name}"
        for name, threshold in zip(results["models"], results["min_presence"], strict=True)
        if threshold is not None
    ]
    values = f" ({', '.join(known)})" if known else ""
    return f"the phrase was not found in the image: its presence is below the threshold{values}"


def difference_text(difference: Mapping[str, Any]) -> str:
    """Return the paired comparison of two models in one line."""
    accuracy, test = difference["accuracy"], difference["mcnemar"]
    if accuracy["difference"] is None:
        return "nothing to compare: no phrase is present in the labels"
    interval = interval_text(accuracy["interval"], "+")
    return (
        f"second minus first model: accuracy {accuracy['difference']:+.3f}"
        f"{f' ({interval})' if interval else ''},"
        f" {test['won']} won, {test['lost']} lost, McNemar p = {test['p']:.2g}"
    )


# The terminal.


def text_table(results: Mapping[str, Any]) -> str:
    """Return the summary for the terminal, with one column per model."""
    models = models_of(results)
    rows = [_row("", results["models"])] if len(models) > 1 else []
    for metric in shown_metrics(results):
        rows.append(_row(metric.name, [_with_interval(metric, model) for model in models]))
    for kind in sorted({kind for model in models for kind in model["kinds"]}):
        accuracies = [model["kinds"].get(kind, {}).get("accuracy", {}).get("0.5") for model in models]
        if any(accuracy is not None for accuracy in accuracies):
            rows.append(_row(f"  {kind}", map(number_text, accuracies)))
    rows.append(_row("queries (labelled, absent)", [_counts(model["all"]) for model in models]))
    rows += _notes(results)
    return "\n".join(row.rstrip() for row in rows)


def _notes(results: Mapping[str, Any]) -> list[str]:
    images = results["images"]
    notes = [f"{images['evaluated']} of {images['recorded']} images" + _left_out(images)]
    if results["topics"]["labels"] and not results["figures"]["all"]["labelled"]:
        notes.append("no label matches an image: compare the stamps of the labels with the image headers")
    notes += filter(None, [worst_kinds_text(worst_kinds(results["figures"]["kinds"]))])
    if "answers" in results:
        notes.append(f"{results['answers']['dropped']} images were dropped by the node")
    if "compared" in results:
        notes.append(difference_text(results["compared"]["difference"]))
    return notes


def _row(name: str, cells: Iterable[str]) -> str:
    return f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:<{COLUMN_WIDTH}}  " for cell in cells)


def _with_interval(metric: SummaryMetric, model: ModelMetrics) -> str:
    interval = interval_text(metric.interval(model))
    return number_text(metric.value(model), metric.digits) + (f"  ({interval})" if interval else "")


def _counts(group: ModelMetrics) -> str:
    return f"{group['queries']} ({group['labelled']}, {group['absent']})"


def _left_out(images: Mapping[str, Any]) -> str:
    reasons = [f"{count} unreadable: {reason}" for reason, count in images["rejected"].items()]
    if images["nothing_asked"]:
        reasons.insert(0, f"{images['nothing_asked']} without a command")
    return "".join(f"; {reason}" for reason in reasons)

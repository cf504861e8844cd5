"""The figures of an evaluation in words and tables: for the page, and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Figures = Mapping[str, Any]
NAME, COLUMN = 34, 20  # letters


@dataclass(frozen=True)
class Card:
    name: str
    value: str
    range: str  # below the value
    about: str
    other: str = ""  # the second model's


@dataclass(frozen=True)
class Figure:
    """One of the summary's."""

    name: str
    of: Callable[[Figures], Any]  # of a model's figures; None: there is nothing to tell it from
    about: str
    interval: Callable[[Figures], Any] = lambda figures: None
    digits: int = 3


def _at(*path: str) -> Callable[[Figures], Any]:
    def value(figures: Figures) -> Any:
        found: Any = figures
        for name in path:
            found = None if found is None else found.get(name)
        return found

    return value


FIGURES = (
    Figure(
        "accuracy at IoU 0.5",
        _at("all", "accuracy", "0.5"),
        "share of the phrases that are in the image whose surest box has an IoU of 0.5 or more",
        _at("all", "accuracy_interval"),
    ),
    Figure("mean IoU", _at("all", "mean_iou"), "of the surest box", _at("all", "mean_iou_interval")),
    Figure("recall@5", _at("all", "recall", "5"), "share with one of the 5 surest boxes right"),
    Figure("recall@10", _at("all", "recall", "10"), "share with one of the 10 surest boxes right"),
    Figure(
        "average precision",
        _at("all", "average_precision", "mean"),
        "COCO's, of up to 10 boxes a phrase, over IoU 0.5 to 0.95",
    ),
    Figure("AP at 0.5", _at("all", "average_precision", "at_50"), "COCO's AP50"),
    Figure(
        "false alarms",
        _at("all", "false_alarms"),
        "share of the phrases that are not in the image that got a box",
    ),
    Figure("misses", _at("all", "misses"), "share of the phrases that are in the image that got no box"),
    Figure(
        "presence, AUROC",
        _at("all", "presence_auroc"),
        "how often a phrase that is there has a higher presence than one that is not",
    ),
    Figure(
        "calibration error",
        _at("all", "calibration_error"),
        "how far scores are from the share that is right, on average (ECE); 0 at best",
    ),
    Figure("Brier", _at("all", "brier"), "mean squared distance of scores from what came true; 0 at best"),
    Figure(
        "jitter",
        _at("stability", "jitter"),
        "how far a box's sides move against the true ones between images, in shares of its size; median",
    ),
    Figure(
        "identity switches",
        _at("stability", "identity_switches"),
        "boxes of a standing phrase that jump to where they did not touch, while the truth does not",
        digits=0,
    ),
    Figure(
        "error in space, m",
        _at("space", "right", "median_m"),
        "of right boxes, from the middle of what is seen of the object to the true one; median",
    ),
    Figure("mean score", _at("all", "score"), "of the surest box"),
    Figure("mean presence", _at("all", "presence"), "of all phrases"),
    Figure("motion", _at("stability", "motion"), "of boxes between images, in shares of their size; median"),
)
UNLABELLED = ("mean score", "mean presence", "motion")  # what is shown where no truth is known


def models_of(results: Mapping[str, Any]) -> list[Figures]:
    compared = [results["compared"]["figures"]] if "compared" in results else []
    return [results["figures"], *compared]


def _shown(results: Mapping[str, Any]) -> list[Figure]:
    labelled = results["figures"]["all"]["labelled"]
    figures = [one for one in FIGURES if (one.name in UNLABELLED) != bool(labelled)]
    return [one for one in figures if any(one.of(model) is not None for model in models_of(results))]


def cards(results: Mapping[str, Any], timings: Mapping[str, Any]) -> list[Card]:
    made = []
    models = models_of(results)
    for figure in _shown(results):
        values = [_number(figure.of(model), figure.digits) for model in models]
        between = figure.interval(models[0])
        words = f"{between[0]:.3f} to {between[1]:.3f}" if between else ""
        other = f"{results['models'][1]}: {values[1]}" if len(values) > 1 else ""
        made.append(Card(figure.name, values[0], words, figure.about, other))
    speeds = [one["images_per_s"] for one in timings.get("models", [])]
    if speeds and speeds[0]:
        other = f"{results['models'][1]}: {_number(speeds[1], 1)}" if len(speeds) > 1 else ""
        made.append(Card("images a second", f"{speeds[0]:.1f}", "", "of the model, in batches", other))
    return made


def _number(value: Any, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def meanings(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is shown, and what it is."""
    return [("no box", no_box_text(results)), *((one.name, one.about) for one in _shown(results))]


def no_box_text(results: Mapping[str, Any]) -> str:
    """What it means that a phrase has no box, with the presence thresholds of the models."""
    known = [
        f"{threshold:.3g} for {name}"
        for name, threshold in zip(results["models"], results["min_presence"], strict=True)
        if threshold is not None
    ]
    values = f" ({', '.join(known)})" if known else ""
    return f"the phrase was not found in the image: its presence is below the threshold{values}"


# The terminal.


def text_table(results: Mapping[str, Any]) -> str:
    models = models_of(results)
    rows = [_row("", results["models"])] if len(models) > 1 else []
    for figure in _shown(results):
        rows.append(_row(figure.name, [_with_interval(figure, model) for model in models]))
    for kind in sorted({kind for model in models for kind in model["kinds"]}):
        found = [model["kinds"].get(kind, {}).get("accuracy", {}).get("0.5") for model in models]
        if any(value is not None for value in found):
            rows.append(_row(f"  {kind}", map(_number, found)))
    rows.append(_row("queries (labelled, absent)", [_counts(model["all"]) for model in models]))
    images = results["images"]
    rows.append(f"{images['evaluated']} of {images['recorded']} images" + _left_out(images))
    if results["topics"]["labels"] and not results["figures"]["all"]["labelled"]:
        rows.append("no label fits what was asked: are their stamps those in the images' headers?")
    if "answers" in results:
        rows.append(f"{results['answers']['dropped']} images were dropped by the node")
    if "compared" in results:
        rows.append(difference_text(results["compared"]["difference"]))
    return "\n".join(row.rstrip() for row in rows)


def _row(name: str, cells: Any) -> str:
    return f"{name:<{NAME}}" + "".join(f"{cell:<{COLUMN}}  " for cell in cells)


def _with_interval(figure: Figure, model: Figures) -> str:
    between = figure.interval(model)
    words = f"  ({between[0]:.3f} to {between[1]:.3f})" if between else ""
    return _number(figure.of(model), figure.digits) + words


def _counts(group: Figures) -> str:
    return f"{group['queries']} ({group['labelled']}, {group['absent']})"


def _left_out(images: Mapping[str, Any]) -> str:
    reasons = [f"{count} not read: {reason}" for reason, count in images["rejected"].items()]
    if images["nothing_asked"]:
        reasons.insert(0, f"of {images['nothing_asked']} nothing was asked")
    return "".join(f"; {one}" for one in reasons)


def difference_text(difference: Mapping[str, Any]) -> str:
    """Of the paired comparison."""
    accuracy, test = difference["accuracy"], difference["mcnemar"]
    if accuracy["difference"] is None:
        return "no query that both answered has a true box: nothing to compare"
    between = accuracy["interval"]
    words = f" ({between[0]:+.3f} to {between[1]:+.3f})" if between else ""
    return (
        f"second less first, accuracy {accuracy['difference']:+.3f}{words}:"
        f" {test['won']} won, {test['lost']} lost, McNemar p = {test['p']:.2g}"
    )


# The page.


def group_tables(results: Mapping[str, Any]) -> str:
    models = models_of(results)
    parts = []
    for name, title in (("kinds", "kind"), ("sizes", "size"), ("cameras", "camera")):
        rows = "".join(_group_row(group, models, name) for group in models[0][name])
        if rows and not (name == "cameras" and len(models[0][name]) == 1):  # then it is all of them
            heads = "".join(f"<th>{one}</th>" for one in _heads(results, len(models)))
            parts.append(
                f"<table><thead><tr><th>{title}</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            )
    return f'<div class="groups">{"".join(parts)}</div>'


def _heads(results: Mapping[str, Any], models: int) -> Sequence[str]:
    other = [escape(results["models"][1])] if models > 1 else []
    return ("queries", "absent", "right", "", *other, "IoU", "AP", "AUROC", "ECE")


def _group_row(group: str, models: Sequence[Figures], name: str) -> str:
    own = models[0][name][group]
    right, between = own["accuracy"]["0.5"], own["accuracy_interval"]
    others = [model[name].get(group) for model in models[1:]]
    precision = own["average_precision"]
    cells = [
        str(own["queries"]),
        str(own["absent"]),
        _number(right),
        _bar(right, between),
        *(_number(one["accuracy"]["0.5"]) if one else "-" for one in others),
        *map(_number, (own["mean_iou"], precision and precision["mean"])),
        *map(_number, (own["presence_auroc"], own["calibration_error"])),
    ]
    return f"<tr><th>{escape(group)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _bar(value: float | None, between: Sequence[float] | None) -> str:
    if value is None:
        return ""
    low, high = between or (value, value)
    return (
        f'<span class="bar"><i style="width:{100 * value:.1f}%"></i>'
        f'<u style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></u></span>'
    )

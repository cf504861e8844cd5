"""report.html: an evaluation as one HTML page that needs no network.

`templates/` has the page, its style and its script; this module computes what they show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kosmos2_core import __version__
from kosmos2_core.boxes import Box
from kosmos2_core.files import write_atomically
from kosmos2_core.packages import require
from kosmos2_eval.bag.examples import ExampleGroup, example_groups, image_urls
from kosmos2_eval.bag.overlay import RIGHT_COLOUR, TRUE_COLOUR, UNKNOWN_COLOUR, WRONG_COLOUR, colour_of
from kosmos2_eval.bag.queries import PhraseQuery, QueryResult
from kosmos2_eval.bag.summary import (
    ModelMetrics,
    difference_text,
    interval_text,
    models_of,
    no_box_text,
    number_text,
    shown_metrics,
)
from kosmos2_eval.charts import line_chart, reliability_chart, scatter_chart
from kosmos2_eval.detection import RECALLS, precision_curves
from kosmos2_eval.metrics import Bin, wilson_interval
from kosmos2_eval.result_files import rounded
from kosmos2_io.bag_reader import BagReader

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
MAX_ROWS = 5000  # in the table of the page; queries.csv has all
SECOND_COLOUR = "#c084fc"  # boxes of the second model
GROUP_TITLES = {"kinds": "kind", "sizes": "size", "cameras": "camera"}


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page shows.

    Args:
        title: name of the recording.
        models: results by the name of the model; the examples and the table are those of the first model.
        results: content of results.json.
        timings: content of timings.json.
        devices: device and precision of each model.
        options: options of the command.
    """

    title: str
    models: Mapping[str, Sequence[QueryResult]]
    results: Mapping[str, Any]
    timings: Mapping[str, Any]
    devices: Sequence[str]
    options: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return list(self.models)

    @property
    def first(self) -> Sequence[QueryResult]:
        """Results of the first model."""
        return next(iter(self.models.values()))

    @property
    def others(self) -> list[Sequence[QueryResult]]:
        """Results of the other models."""
        return list(self.models.values())[1:]

    @property
    def labelled(self) -> bool:
        """True if the truth of any query is known."""
        return bool(self.results["figures"]["all"]["labelled"])


def check_report_packages() -> None:
    """Raise an InputError if a package that the page needs is not installed."""
    require("jinja2", "matplotlib")


def write_report(file: Path, content: ReportContent, bag: BagReader) -> None:
    """Write the page.

    Args:
        file: the page.
        content: what it shows.
        bag: the recording, from which the images are read.
    """
    groups = example_groups(content.first)
    queries = [content.first[index].query for group in groups for index in group.indices]
    page = _template().render(
        title=content.title,
        names=content.names,
        style=_markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=_markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),
        facts=_facts(content),
        difference=_difference(content),
        cards=list(_cards(content)),
        meanings=_meanings(content),
        run=list(_run(content)),
        charts=[{**chart, "svg": _markup(chart["svg"])} for chart in _charts(content)],
        reliability=list(_reliability_rows(content)),
        groups=_group_tables(content) if content.labelled else [],
        group_heads=_group_heads(content),
        kinds=sorted({query.kind for query in queries_of(content)}),
        cameras=sorted({query.camera for query in queries_of(content)}),
        verdicts=sorted({result.verdict for result in content.first}),
        key=_key(content),
        examples=[_example_group(content, group) for group in groups],
        pictures=_json(image_urls(bag, queries)),
        rows=_json(table_data(content, groups)),
        rows_note=_rows_note(content),
    )
    write_atomically(file, page + "\n")


def _template() -> Template:
    """Return the template of the page; it escapes every value that is not Markup."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def queries_of(content: ReportContent) -> list[PhraseQuery]:
    """Return all queries, which are the same for every model."""
    return [result.query for result in content.first]


def _markup(text: str) -> Markup:
    """Return a text that the template inserts without escaping."""
    from markupsafe import Markup  # a part of Jinja2

    return Markup(text)


def _json(value: Any) -> Markup:
    """Return JSON for a script element: without `<`, no text in it can end the element."""
    return _markup(json.dumps(value, ensure_ascii=False).replace("<", "\\u003c"))


# Head, cards and explanations.


def _facts(content: ReportContent) -> list[str]:
    images, topics = content.results["images"], content.results["topics"]
    facts = [
        f"{images['evaluated']} of {images['recorded']} images",
        f"{content.results['figures']['all']['queries']} queries",
        f"images {', '.join(topics['images'])}",
        f"labels {topics['labels'] or 'none: only rates and scores are known'}",
    ]
    if images["rejected"]:
        facts.append(f"{sum(images['rejected'].values())} images could not be read")
    return facts


def _difference(content: ReportContent) -> str:
    compared = content.results.get("compared")
    return difference_text(compared["difference"]) if compared else ""


def _cards(content: ReportContent) -> Iterator[dict[str, str]]:
    models = models_of(content.results)
    for metric in shown_metrics(content.results):
        values = [number_text(metric.value(model), metric.digits) for model in models]
        yield {
            "name": metric.name,
            "value": values[0],
            "interval": interval_text(metric.interval(models[0])),
            "meaning": metric.meaning,
            "other": f"{content.names[1]}: {values[1]}" if len(values) > 1 else "",
        }
    speeds = [model["images_per_s"] for model in content.timings.get("models", [])]
    if speeds and speeds[0]:
        yield {
            "name": "images per second",
            "value": f"{speeds[0]:.1f}",
            "interval": "",
            "meaning": "speed of the model in batches of 8 images, without reading them",
            "other": f"{content.names[1]}: {number_text(speeds[1], 1)}" if len(speeds) > 1 else "",
        }


def _meanings(content: ReportContent) -> list[tuple[str, str]]:
    metrics = [(metric.name, metric.meaning) for metric in shown_metrics(content.results)]
    return [("no box", no_box_text(content.results)), *metrics]


def _run(content: ReportContent) -> Iterator[tuple[str, str]]:
    """Yield version, devices, topics and options by name."""
    yield "kosmos2", __version__
    for name, device in zip(content.names, content.devices, strict=True):
        yield f"device of {name}", device
    topics = content.results["topics"]
    yield "commands", topics["commands"] or "none"
    yield "3D labels", topics["labels_3d"] or "none"
    yield from content.options.items()


# Charts.


def _charts(content: ReportContent) -> Iterator[dict[str, str]]:
    models = dict(zip(content.names, models_of(content.results), strict=True))
    if content.labelled:
        yield _accuracy_chart(models)
        title = "Reliability"
        curves = {name: _bins(model) for name, model in models.items()}
        yield {
            "title": title,
            "meaning": "calibrated scores are on the diagonal; bars are 95 % intervals, below are the counts",
            "svg": reliability_chart(title, curves),
        }
        yield from _precision_chart(content)
    yield _timeline_chart(content.first)
    yield from _position_chart(content)


def _bins(model: ModelMetrics) -> list[Bin]:
    return [Bin(**entry) for entry in model["reliability"]]


def _accuracy_chart(models: Mapping[str, ModelMetrics]) -> dict[str, str]:
    title = "Accuracy"
    lines = {
        name: [(float(overlap), value or 0) for overlap, value in model["all"]["accuracy"].items()]
        for name, model in models.items()
    }
    svg = line_chart(title, lines, "IoU from which a box is right", "fraction that is right", markers=True)
    return {"title": title, "meaning": "by the IoU that is required of a right box", "svg": svg}


def _precision_chart(content: ReportContent) -> Iterator[dict[str, str]]:
    lines = {}
    for name, results in content.models.items():
        curves = precision_curves([result.matches for result in results if result.query.truth is not None])
        if curves is not None:
            lines[name] = list(zip(RECALLS.tolist(), curves[0].tolist(), strict=True))
    if lines:
        title = "Precision and recall"
        svg = line_chart(title, lines, "recall", "precision")
        yield {"title": title, "meaning": "of all boxes, at IoU 0.5", "svg": svg}


def _timeline_chart(results: Sequence[QueryResult]) -> dict[str, str]:
    """Draw IoU over time, or scores where no truth is known."""
    present = [result for result in results if result.query.truth]
    shown = present or list(results)
    start_ns = min((result.query.stamp_ns for result in shown), default=0)
    groups: dict[str, list[tuple[float, float]]] = {}
    for result in shown:
        seconds = (result.query.stamp_ns - start_ns) / 1e9
        colour = "unknown" if result.query.truth is None else "right" if result.right else "wrong"
        groups.setdefault(colour, []).append((seconds, result.iou if present else result.score))
    last_s = max((seconds for points in groups.values() for seconds, _ in points), default=1.0)
    title = "IoU over time" if present else "Scores over time"
    svg = scatter_chart(title, groups, "seconds", "IoU" if present else "score", last_s)
    return {"title": title, "meaning": "of each present phrase" if present else "of each phrase", "svg": svg}


def _position_chart(content: ReportContent) -> Iterator[dict[str, str]]:
    errors_m = {
        name: sorted(
            result.centre_error_m for result in results if result.right and result.centre_error_m is not None
        )
        for name, results in content.models.items()
    }
    first = errors_m[content.names[0]]
    if not first:
        return
    far_m = max(float(np.quantile(first, 0.98)), 0.01)
    lines = {
        name: [
            (0.0, 0.0),
            *((error, (rank + 1) / len(errors)) for rank, error in enumerate(errors) if error <= far_m),
        ]
        for name, errors in errors_m.items()
        if errors
    }
    title = "Error of 3D positions"
    svg = line_chart(title, lines, "metres", "fraction of right boxes", far_m)
    yield {"title": title, "meaning": "fraction of right boxes with at most this error", "svg": svg}


def _reliability_rows(content: ReportContent) -> Iterator[tuple[str, ...]]:
    if not content.labelled:
        return
    for name, model in zip(content.names, models_of(content.results), strict=True):
        for entry in _bins(model):
            low, high = wilson_interval(entry.right, entry.count)
            interval = f"{low:.3f} to {high:.3f}"
            yield name, str(entry.count), f"{entry.score:.3f}", f"{entry.right:.3f}", interval


# Tables by kind, size and camera.


def _group_tables(content: ReportContent) -> list[dict[str, Any]]:
    models = models_of(content.results)
    tables = []
    for key, title in GROUP_TITLES.items():
        names = list(models[0][key])
        if names and not (key == "cameras" and len(names) == 1):  # one camera has all queries
            rows = [_group_row(name, [model[key].get(name) for model in models]) for name in names]
            tables.append({"title": title, "rows": rows})
    return tables


def _group_heads(content: ReportContent) -> list[str]:
    return ["queries", "absent", "right", "", *content.names[1:], "IoU", "AP", "AUROC", "ECE"]


def _group_row(name: str, models: Sequence[ModelMetrics | None]) -> dict[str, Any]:
    first = models[0]
    assert first is not None  # groups are those of the first model
    accuracy, precision = first["accuracy"]["0.5"], first["average_precision"]
    others = [number_text(model["accuracy"]["0.5"]) if model else "-" for model in models[1:]]
    means = (first["mean_iou"], precision and precision["mean"])
    return {
        "name": name,
        "before": [str(first["queries"]), str(first["absent"]), number_text(accuracy)],
        "bar": _bar(accuracy, first["accuracy_interval"]),
        "after": [
            *others,
            *map(number_text, (*means, first["presence_auroc"], first["calibration_error"])),
        ],
    }


def _bar(value: float | None, interval: Sequence[float] | None) -> dict[str, str] | None:
    """Return a bar and its interval in percent of the full width."""
    if value is None:
        return None
    low, high = interval or (value, value)
    percent = {"value": value, "low": low, "width": high - low}
    return {name: f"{100 * number:.1f}" for name, number in percent.items()}


# Examples.


def _key(content: ReportContent) -> list[tuple[str, str]]:
    key = [("true", TRUE_COLOUR), ("found, right", RIGHT_COLOUR), ("found, wrong", WRONG_COLOUR)]
    if not content.labelled:
        key = [("found", UNKNOWN_COLOUR)]
    return key + [(f"found by {name}", SECOND_COLOUR) for name in content.names[1:]]


def _example_group(content: ReportContent, group: ExampleGroup) -> dict[str, Any]:
    tiles = [_tile(content, index) for index in group.indices]
    return {"title": group.title, "meaning": group.meaning, "tiles": tiles}


def _tile(content: ReportContent, index: int) -> dict[str, Any]:
    result = content.first[index]
    query = result.query
    boxes = [(box, "true", TRUE_COLOUR) for box in query.truth or ()]
    boxes += [(box, "other", SECOND_COLOUR) for other in content.others if (box := other[index].box)]
    boxes += [(result.box, "found", colour_of(result))] if result.box else []
    several = len(content.results["topics"]["images"]) > 1
    source = f"image {query.frame}" + (f", {query.camera}" if several else "")
    scores = _scores_text(result)
    return {
        "index": index,
        "frame": query.frame,
        "width": query.width,
        "height": query.height,
        "text": query.text,
        "scores": scores,
        "source": source,
        "alt": f"{source}: {query.phrase}, {result.verdict}. {scores}",
        "boxes": [
            {"kind": kind, "colour": colour, **_rectangle(box, query.width, query.height)}
            for box, kind, colour in boxes
        ],
    }


def _scores_text(result: QueryResult) -> str:
    truth = result.query.truth
    text = f"score {result.score:.2f}" if result.box else f"no box: not found, presence {result.presence:.2f}"
    if result.box and truth:
        text += f", IoU {result.iou:.2f}"
    return text + (", not in the image" if truth == () else "")


def _rectangle(box: Box, width: int, height: int) -> dict[str, str]:
    x_min, y_min, x_max, y_max = box.pixels(width, height)
    sides = {"x": x_min, "y": y_min, "width": x_max - x_min, "height": y_max - y_min}
    return {name: f"{value:.1f}" for name, value in sides.items()}


# The table of queries.


def table_data(content: ReportContent, groups: Sequence[ExampleGroup]) -> dict[str, Any]:
    """Return the data of the page's script: the table, and the rows of the examples by their index."""
    start_ns = min((result.query.stamp_ns for result in content.first), default=0)
    indices = sorted({index for group in groups for index in group.indices})
    return {
        "columns": _columns(content),
        "rows": [_row(content, index, start_ns) for index in range(len(content.first))[:MAX_ROWS]],
        "tiles": {index: _row(content, index, start_ns) for index in indices},
    }


def _columns(content: ReportContent) -> list[str]:
    columns = ["image", "time, s", "camera", "phrase", "kind", "size", "score", "presence", "IoU"]
    return [*columns, *(f"IoU, {name}" for name in content.names[1:]), "verdict"]


def _row(content: ReportContent, index: int, start_ns: int) -> list[Any]:
    result = content.first[index]
    query = result.query
    seconds = rounded((query.stamp_ns - start_ns) / 1e9, 3)
    row: list[Any] = [query.frame, seconds, query.camera, query.text, query.kind, query.size]
    row += [rounded(result.score, 3), rounded(result.presence, 3), _iou(result)]
    return [*row, *(_iou(other[index]) for other in content.others), result.verdict]


def _iou(result: QueryResult) -> float | None:
    return rounded(result.iou, 3) if result.query.truth else None


def _rows_note(content: ReportContent) -> str:
    count = len(content.first)
    return (
        f"The table has the first {MAX_ROWS} of {count} queries; queries.csv has all."
        if count > MAX_ROWS
        else ""
    )

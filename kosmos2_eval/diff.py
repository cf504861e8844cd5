"""Comparison of two evaluations: the metrics that changed, and the queries that were won or lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.files import read_json
from kosmos2_eval.bag.queries import QueryRow, read_queries
from kosmos2_eval.bag.summary import METRICS
from kosmos2_eval.metrics import RIGHT, mcnemar, paired_difference
from kosmos2_eval.result_files import QUERIES, RESULTS

MAX_CHANGED = 20  # changed queries that are printed, of each side
NAME_WIDTH, COLUMN_WIDTH = 44, 12  # letters

RowPair = tuple[QueryRow, QueryRow]  # the same query before and after


@dataclass(frozen=True)
class EvaluationFiles:
    """The results of an evaluation as read from its files.

    Args:
        results: content of results.json.
        rows: lines of queries.csv; empty if the evaluation has no such table.
    """

    results: Mapping[str, Any]
    rows: tuple[QueryRow, ...]


@dataclass(frozen=True)
class MetricChange:
    """A metric before and after; None where an evaluation does not have it."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class QueryChanges:
    """Comparison of the queries that both evaluations have, for phrases that are in the image.

    Args:
        queries: number of these queries.
        lost: right before and wrong after; the largest drop of IoU first.
        won: wrong before and right after; the largest gain first.
        accuracy: paired difference of accuracy.
        mean_iou: paired difference of IoU.
        p: p-value of McNemar's test.
    """

    queries: int
    lost: tuple[RowPair, ...]
    won: tuple[RowPair, ...]
    accuracy: Mapping[str, Any]
    mean_iou: Mapping[str, Any]
    p: float


def read_evaluation(path: Path) -> EvaluationFiles:
    """Read the files of an evaluation.

    Args:
        path: an output folder, or its results.json.

    Raises:
        InputError: there are no results, or they cannot be read.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        results = read_json(file, "evaluate again")
    except FileNotFoundError:
        raise InputError(f"{path} has no {RESULTS}: `kosmos2 eval ... --out {path}` writes one.") from None
    except ModelError as error:
        raise InputError(str(error)) from None
    if not isinstance(results, dict):
        raise InputError(f"{file} does not contain results: `kosmos2 eval ... --out DIR` writes them.")
    table = file.parent / QUERIES
    return EvaluationFiles(results, tuple(read_queries(table)) if table.exists() else ())


# Metrics.


def metric_changes(before: EvaluationFiles, after: EvaluationFiles) -> list[MetricChange]:
    """Return the summary metrics of two bag evaluations, or every different number of other results."""
    metrics = [files.results.get("figures") for files in (before, after)]
    if all(isinstance(values, dict) and "all" in values for values in metrics):
        return [MetricChange(*change) for change in _summary_metrics(*metrics)]
    numbers = [dict(_numbers(files.results)) for files in (before, after)]
    names = dict.fromkeys([*numbers[0], *numbers[1]])
    changes = [MetricChange(name, numbers[0].get(name), numbers[1].get(name)) for name in names]
    return [change for change in changes if change.before != change.after]


def _summary_metrics(before: Any, after: Any) -> Iterator[tuple[str, float | None, float | None]]:
    for metric in METRICS:
        values = metric.value(before), metric.value(after)
        if any(value is not None for value in values):
            yield metric.name, *values
    for part in ("kinds", "sizes", "cameras"):
        groups = [metrics.get(part, {}) for metrics in (before, after)]
        for name in sorted({*groups[0], *groups[1]}):
            first, second = (group.get(name, {}).get("accuracy", {}).get("0.5") for group in groups)
            if (first, second) != (None, None):
                yield f"  accuracy, {name}", first, second


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number in nested objects with the keys that lead to it."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, f"{path} {name}".strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


# Queries.


def query_changes(before: Sequence[QueryRow], after: Sequence[QueryRow]) -> QueryChanges | None:
    """Compare the queries of the first model of each evaluation.

    Returns:
        The comparison, or None if no query with a true box is in both.
    """
    first, second = _first_model(before), _first_model(after)
    pairs = [(first[key], second[key]) for key in first if key in second]
    both = [(a, b, a.iou, b.iou) for a, b in pairs if a.iou is not None and b.iou is not None]
    if not both:
        return None
    images = [(row.camera, row.stamp) for row, *_ in both]
    iou_before, iou_after = [pair[2] for pair in both], [pair[3] for pair in both]
    right = [[iou >= RIGHT for iou in overlaps] for overlaps in (iou_before, iou_after)]
    accuracy = paired_difference(list(map(float, right[0])), list(map(float, right[1])), images)
    by_change = sorted(both, key=lambda pair: pair[3] - pair[2])
    return QueryChanges(
        len(both),
        lost=tuple((a, b) for a, b, early, late in by_change if early >= RIGHT > late),
        won=tuple((a, b) for a, b, early, late in reversed(by_change) if late >= RIGHT > early),
        accuracy=asdict(accuracy),
        mean_iou=asdict(paired_difference(iou_before, iou_after, images)),
        p=mcnemar(*right).p,
    )


def _first_model(rows: Sequence[QueryRow]) -> dict[Any, QueryRow]:
    return {row.key: row for row in rows if row.model == rows[0].model}


# Text and JSON.


def diff_text(before: EvaluationFiles, after: EvaluationFiles) -> str:
    """Return a table of the metrics, and the queries that were won or lost."""
    changes = metric_changes(before, after)
    lines = [_line("", "before", "after", "change")]
    lines += [
        _line(change.name, *map(_number, (change.before, change.after)), _difference(change))
        for change in changes
    ]
    if not changes:
        lines = ["All metrics are equal."]
    queries = query_changes(before.rows, after.rows)
    if queries:
        lines += ["", *_query_lines(queries)]
    elif before.rows and after.rows:
        lines += ["", "The two have no query with a true box in common: are they of the same bag?"]
    return "\n".join(lines)


def _query_lines(changes: QueryChanges) -> Iterator[str]:
    counts = f"{len(changes.won)} won, {len(changes.lost)} lost"
    yield f"{changes.queries} queries in common: {counts}, McNemar p = {changes.p:.2g}"
    yield f"accuracy {_with_interval(changes.accuracy)}, mean IoU {_with_interval(changes.mean_iou)}"
    for title, pairs in (("lost (right before, wrong now)", changes.lost), ("won", changes.won)):
        if pairs:
            yield f"\n{title}:"
            yield from (_query_line(*pair) for pair in pairs[:MAX_CHANGED])
        if len(pairs) > MAX_CHANGED:
            yield f"  ... and {len(pairs) - MAX_CHANGED} more"


def _query_line(before: QueryRow, after: QueryRow) -> str:
    return f"  IoU {before.iou:.2f} -> {after.iou:.2f}  {after.stamp} {after.camera}  {after.text}"


def _with_interval(difference: Mapping[str, Any]) -> str:
    interval = difference["interval"]
    text = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    return f"{difference['difference']:+.3f}{text}"


def _line(name: str, *cells: str) -> str:
    return (f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>{COLUMN_WIDTH}}" for cell in cells)).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _difference(change: MetricChange) -> str:
    if change.before is None or change.after is None or change.before == change.after:
        return ""
    difference = change.after - change.before
    return f"{difference:+.3f}" if isinstance(change.after, float) else f"{difference:+d}"


def diff_json(before: EvaluationFiles, after: EvaluationFiles) -> dict[str, Any]:
    """Return the same as JSON values, with all queries that were won or lost."""
    queries = query_changes(before.rows, after.rows)
    return {
        "changes": [asdict(change) for change in metric_changes(before, after)],
        "queries": None
        if queries is None
        else {
            "count": queries.queries,
            "accuracy": queries.accuracy,
            "mean_iou": queries.mean_iou,
            "mcnemar_p": queries.p,
            "lost": [_query_json(*pair) for pair in queries.lost],
            "won": [_query_json(*pair) for pair in queries.won],
        },
    }


def _query_json(before: QueryRow, after: QueryRow) -> dict[str, Any]:
    query = {name: getattr(after, name) for name in ("stamp", "camera", "text", "index")}
    return query | {"iou_before": before.iou, "iou_after": after.iou}

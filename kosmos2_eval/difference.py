"""What changed from one evaluation to another: figures, and the queries that changed sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.files import read_json
from kosmos2_eval.bag.queries import Row, read_queries
from kosmos2_eval.bag.summary import FIGURES
from kosmos2_eval.metrics import RIGHT
from kosmos2_eval.paired import difference, mcnemar

RESULTS, QUERIES = "results.json", "queries.csv"
SHOWN = 20  # queries that changed, of each side
NAME, COLUMN = 44, 12  # letters


@dataclass(frozen=True)
class Report:
    """An evaluation's results, and its queries where it has a table of them."""

    place: Path
    results: Mapping[str, Any]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Change:
    """A figure of both; None: one of them does not have it."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Sides:
    """Queries that both answered, of things that are there."""

    queries: int
    lost: tuple[tuple[Row, Row], ...]  # right before, wrong after; the largest fall first
    won: tuple[tuple[Row, Row], ...]
    accuracy: Mapping[str, Any]
    mean_iou: Mapping[str, Any]
    p: float


def read_report(place: Path) -> Report:
    """place: a folder of results, or its results.json."""
    file = place / RESULTS if place.is_dir() else place
    try:
        results = read_json(file, "evaluate again")
    except FileNotFoundError:
        raise InputError(f"{place} has no {RESULTS}: `kosmos2 eval ... --out {place}` writes one.") from None
    except ModelError as error:
        raise InputError(str(error)) from None
    if not isinstance(results, dict):
        raise InputError(f"{file} is no file of results: `kosmos2 eval ... --out DIR` writes one.")
    table = file.parent / QUERIES
    return Report(place, results, tuple(read_queries(table)) if table.exists() else ())


# Figures.


def changes(before: Report, after: Report) -> list[Change]:
    """Those of the summary where both are of bags, else all numbers that are not the same."""
    own = [one.results.get("figures") for one in (before, after)]
    if all(isinstance(one, dict) and "all" in one for one in own):
        return [Change(*one) for one in _summary(*own)]
    numbers = [dict(_numbers(one.results)) for one in (before, after)]
    names = dict.fromkeys([*numbers[0], *numbers[1]])
    every = [Change(name, numbers[0].get(name), numbers[1].get(name)) for name in names]
    return [one for one in every if one.before != one.after]


def _summary(before: Any, after: Any) -> Iterator[tuple[str, float | None, float | None]]:
    for figure in FIGURES:
        values = figure.of(before), figure.of(after)
        if any(value is not None for value in values):
            yield figure.name, *values
    for part in ("kinds", "sizes", "cameras"):
        groups = [one.get(part, {}) for one in (before, after)]
        for name in sorted({*groups[0], *groups[1]}):
            first, second = (one.get(name, {}).get("accuracy", {}).get("0.5") for one in groups)
            if (first, second) != (None, None):
                yield f"  accuracy, {name}", first, second


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _numbers(one, f"{path} {name}".strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


# Queries.


def sides(before: Sequence[Row], after: Sequence[Row]) -> Sides | None:
    """Of each evaluation's first model. None: they have no query in common."""
    first, second = _first_model(before), _first_model(after)
    pairs = [(first[asked], second[asked]) for asked in first if asked in second]
    both = [(a, b, a.iou, b.iou) for a, b in pairs if a.iou is not None and b.iou is not None]
    if not both:
        return None
    images = [(one.camera, one.stamp) for one, *_ in both]
    was, now = [one[2] for one in both], [one[3] for one in both]
    right = [[iou >= RIGHT for iou in own] for own in (was, now)]
    accuracy = difference(list(map(float, right[0])), list(map(float, right[1])), images)
    moved = sorted(both, key=lambda one: one[3] - one[2])
    return Sides(
        len(both),
        lost=tuple((a, b) for a, b, early, late in moved if early >= RIGHT > late),
        won=tuple((a, b) for a, b, early, late in reversed(moved) if late >= RIGHT > early),
        accuracy=asdict(accuracy),
        mean_iou=asdict(difference(was, now, images)),
        p=mcnemar(*right).p,
    )


def _first_model(rows: Sequence[Row]) -> dict[Any, Row]:
    return {one.asked: one for one in rows if one.model == rows[0].model}


# In words.


def text_of(before: Report, after: Report) -> str:
    found = changes(before, after)
    lines = [_line("", "before", "after", "change")]
    lines += [_line(one.name, *map(_number, (one.before, one.after)), _moved(one)) for one in found]
    if not found:
        lines = ["All figures are the same."]
    both = sides(before.rows, after.rows)
    if both:
        lines += ["", *_sides_text(both)]
    elif before.rows and after.rows:
        lines += ["", "The two have no query with a true box in common: were they of the same bag?"]
    return "\n".join(lines)


def _sides_text(both: Sides) -> Iterator[str]:
    counts = f"{len(both.won)} won, {len(both.lost)} lost"
    yield f"{both.queries} queries in common: {counts}, McNemar p = {both.p:.2g}"
    yield f"accuracy {_between(both.accuracy)}, mean IoU {_between(both.mean_iou)}"
    for title, rows in (("lost (right before, wrong now)", both.lost), ("won", both.won)):
        if rows:
            yield f"\n{title}:"
            yield from (_query(*pair) for pair in rows[:SHOWN])
        if len(rows) > SHOWN:
            yield f"  ... and {len(rows) - SHOWN} more"


def _query(before: Row, after: Row) -> str:
    return f"  IoU {before.iou:.2f} -> {after.iou:.2f}  {after.stamp} {after.camera}  {after.text}"


def _between(found: Mapping[str, Any]) -> str:
    words = f" ({found['interval'][0]:+.3f} to {found['interval'][1]:+.3f})" if found["interval"] else ""
    return f"{found['difference']:+.3f}{words}"


def _line(name: str, *cells: str) -> str:
    return (f"{name:<{NAME}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _moved(one: Change) -> str:
    if one.before is None or one.after is None or one.before == one.after:
        return ""
    return (
        f"{one.after - one.before:+.3f}" if isinstance(one.after, float) else f"{one.after - one.before:+d}"
    )


def as_json(before: Report, after: Report) -> dict[str, Any]:
    both = sides(before.rows, after.rows)
    return {
        "changes": [asdict(one) for one in changes(before, after)],
        "queries": None
        if both is None
        else {
            "count": both.queries,
            "accuracy": both.accuracy,
            "mean_iou": both.mean_iou,
            "mcnemar_p": both.p,
            "lost": [_query_json(*pair) for pair in both.lost],
            "won": [_query_json(*pair) for pair in both.won],
        },
    }


def _query_json(before: Row, after: Row) -> dict[str, Any]:
    own = {name: getattr(after, name) for name in ("stamp", "camera", "text", "index")}
    return own | {"iou_before": before.iou, "iou_after": after.iou}

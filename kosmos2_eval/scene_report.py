"""The report of an evaluation on scenes: tables for the terminal, pictures for the output folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kosmos2_core.images import Pixels, save_image
from kosmos2_eval.charts import save_reliability
from kosmos2_eval.contact_sheet import contact_sheet
from kosmos2_eval.metrics import Bin
from kosmos2_eval.phrases import NO_KIND, worst_kinds_text
from kosmos2_eval.scenes import LocateExample, locate_metrics, reliability_of

NAME_WIDTH, COLUMN_WIDTH = 26, 16  # letters
KIND_WIDTH, PRESENCE_WIDTHS = 14, (8, 17, 9, 17, 8)  # letters, of the table of presence
NO_IOU = 7 * " "  # fills the column of IoU for metrics that have none

# Rows below the kinds of phrases: the task and the key of a metric in the results of a split.
ROWS = {
    "right, with the threshold": ("locate", "accuracy_with_threshold"),
    "presence, AUROC": ("locate", "presence_auroc"),
    "score, calibration error": ("locate", "calibration_error"),
    "score, Brier": ("locate", "brier"),
    "sets, recall": ("sets", "recall"),
    "sets, precision": ("sets", "precision"),
    "sets, exact": ("sets", "exact"),
    "ask, exact": ("ask", "exact"),
    "describe, all names": ("describe", "names"),
    "describe, exact": ("describe", "exact"),
    "caption, precision": ("caption", "precision"),
    "caption, recall": ("caption", "recall"),
}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with a column per split: accuracy and mean IoU by kind of phrase, then other metrics."""
    located = {split: metrics.get("locate") or locate_metrics([]) for split, metrics in results.items()}
    kinds = sorted({kind for metrics in located.values() for kind in metrics["kinds"]})
    rows = [_row("", results), _row("", ["right    IoU"] * len(results))]
    for kind in kinds:
        by_split = [metrics["kinds"].get(kind) for metrics in located.values()]
        if any(metrics and metrics["accuracy"] is not None for metrics in by_split):
            rows.append(_row(kind or NO_KIND, map(_accuracy_and_iou, by_split)))
    rows.append(_row("all present phrases", map(_accuracy_and_iou, located.values())))
    rows.append(
        _row("  standard error", [_number(metrics["accuracy_error"]) for metrics in located.values()])
    )
    for name, (task, key) in ROWS.items():
        values = [metrics.get(task, {}).get(key) for metrics in results.values()]
        if any(value is not None for value in values):
            rows.append(_row(name, map(_number, values)))
    counts = [f"{metrics['count']} ({metrics['absent']})" for metrics in located.values()]
    rows.append(_row("phrases (absent)", counts))
    return "\n".join(row.rstrip() for row in rows)


def _row(name: str, cells: Iterable[str]) -> str:
    return f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>{COLUMN_WIDTH}}" for cell in cells)


def _accuracy_and_iou(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None or metrics["accuracy"] is None:
        return _number(None)
    return f"{metrics['accuracy']:.3f}  {metrics['mean_iou']:.3f}"


def _number(value: float | None) -> str:
    return f"{_plain(value):>5}{NO_IOU}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


# Presence: false alarms and misses by kind of phrase.


def presence_tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one table of false alarms and misses per split."""
    return "\n\n".join(
        presence_table(split, metrics["presence"])
        for split, metrics in results.items()
        if "presence" in metrics
    )


def presence_table(split: str, presence: Mapping[str, Any]) -> str:
    """Return a table with one row per kind of phrase, and notes about the worst and the rarest kinds."""
    rows = [
        f"{split}, {presence['images']} images: a phrase is found if its presence is at least"
        f" {presence['threshold']:.3g}",
        _presence_row("", ("absent", "false alarms", "present", "misses", "AUROC")),
        *(_presence_row(kind or NO_KIND, _rates(metrics)) for kind, metrics in presence["kinds"].items()),
        _presence_row("all", _rates(presence["all"])),
        *filter(None, [worst_kinds_text(presence["worst"])]),
        *_rare_kinds(presence),
    ]
    return "\n".join(row.rstrip() for row in rows)


def _presence_row(name: str, cells: Iterable[str]) -> str:
    return f"{name:<{KIND_WIDTH}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(cells, PRESENCE_WIDTHS, strict=True)
    )


def _rates(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(metrics["absent"]),
        _rate(metrics["false_alarms"], metrics["false_alarms_error"]),
        str(metrics["present"]),
        _rate(metrics["misses"], metrics["misses_error"]),
        _plain(metrics["auroc"]),
    )


def _rate(rate: float | None, error: float | None) -> str:
    return _plain(rate) if error is None else f"{_plain(rate)} ± {error:.3f}"


def _rare_kinds(presence: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line that names the kinds with fewer probes than were requested, if there are any."""
    wanted = presence.get("probes")
    rare = [
        f"{kind or NO_KIND} {metrics['present']} present, {metrics['absent']} absent"
        for kind, metrics in presence["kinds"].items()
        if wanted and min(metrics["present"], metrics["absent"]) < wanted
    ]
    if rare:
        yield f"fewer than {wanted} phrases in {presence['images']} images: {'; '.join(rare)}"


# Reliability and pictures.


def reliability_text(bins: Sequence[Bin], width: int = 40) -> str:
    """Return a reliability diagram as text, one line per bin.

    `#` shows the fraction that is right, `|` marks the mean score. With calibrated scores `#` ends at `|`.
    """
    lines = [f"{'phrases':>7}  {'score':>5}  {'right':>5}"]
    for entry in bins:
        bar = list("#" * round(entry.right * width) + " " * width)[: width + 1]
        bar[round(entry.score * width)] = "|"
        lines.append(f"{entry.count:>7}  {entry.score:5.3f}  {entry.right:5.3f}  {''.join(bar).rstrip()}")
    return "\n".join(lines)


def write_pictures(
    folder: Path, name: str, examples: Sequence[LocateExample], images: Sequence[Pixels]
) -> None:
    """Write the contact sheet `NAME.png` and the reliability diagram `NAME-reliability.png`."""
    save_image(contact_sheet(examples, images), folder / f"{name}.png")
    save_reliability({name: reliability_of(examples)}, folder / f"{name}-reliability.png")

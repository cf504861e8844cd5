"""An evaluation for people: tables, and in a folder figures as JSON, cases and diagrams as pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_eval.case_sheet import sheet
from kosmos2_eval.metrics import Bin
from kosmos2_eval.scenes import Case, reliability_of, summary

COLUMN, NAME = 16, 26  # letters
NO_KIND = "(no kind)"
BESIDE = 7 * " "  # where a figure has no IoU
KIND, PRESENCE_COLUMNS = 14, (8, 17, 9, 17, 8)  # letters, of the table of presence

# Rows below the kinds, and where their figures are in a split's results.
FIGURES = {
    "right, with the threshold": ("locate", "accuracy_with_threshold"),
    "presence, AUROC": ("locate", "presence_auroc"),
    "score, calibration error": ("locate", "calibration_error"),
    "score, Brier": ("locate", "brier"),
    "ask, exact": ("ask", "exact"),
    "describe, names said": ("describe", "names"),
    "describe, exact": ("describe", "exact"),
    "caption, precision": ("caption", "precision"),
    "caption, recall": ("caption", "recall"),
}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Splits side by side: of each kind of phrase the share found, and the mean IoU; then other figures."""
    located = {split: one.get("locate") or summary([]) for split, one in results.items()}
    kinds = sorted({kind for one in located.values() for kind in one["kinds"]})
    rows = [_row("", results), _row("", ["right    IoU"] * len(results))]
    for kind in kinds:
        own = [one["kinds"].get(kind) for one in located.values()]
        if any(one and one["accuracy"] is not None for one in own):
            rows.append(_row(kind or NO_KIND, map(_found, own)))
    rows.append(_row("all that is there", map(_found, located.values())))
    rows.append(_row("  standard error", [_number(one["accuracy_error"]) for one in located.values()]))
    for name, (task, figure) in FIGURES.items():
        numbers = [one.get(task, {}).get(figure) for one in results.values()]
        if any(number is not None for number in numbers):
            rows.append(_row(name, map(_number, numbers)))
    rows.append(_row("phrases (absent)", [f"{one['count']} ({one['absent']})" for one in located.values()]))
    return "\n".join(row.rstrip() for row in rows)


def presence_tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """For each split, the false alarms and misses of each kind of phrase."""
    return "\n\n".join(
        presence_table(split, figures["presence"])
        for split, figures in results.items()
        if "presence" in figures
    )


def presence_table(split: str, presence: Mapping[str, Any]) -> str:
    """Kinds of phrases below each other; of each, absent ones with a box and present ones without."""
    rows = [
        f"{split}, {presence['images']} images: a phrase is found from a presence of"
        f" {presence['threshold']:.3g}",
        _presence_row("", ("absent", "false alarms", "present", "misses", "AUROC")),
        *(_presence_row(kind or NO_KIND, _rates(figures)) for kind, figures in presence["kinds"].items()),
        _presence_row("all", _rates(presence["all"])),
        *_worst(presence),
        *_too_few(presence),
    ]
    return "\n".join(row.rstrip() for row in rows)


def _presence_row(name: str, cells: Iterable[str]) -> str:
    return f"{name:<{KIND}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(cells, PRESENCE_COLUMNS, strict=True)
    )


def _rates(figures: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(figures["absent"]),
        _rate(figures["false_alarms"], figures["false_alarms_error"]),
        str(figures["present"]),
        _rate(figures["misses"], figures["misses_error"]),
        _plain(figures["auroc"]),
    )


def _rate(rate: float | None, error: float | None) -> str:
    return _plain(rate) if error is None else f"{_plain(rate)} ± {error:.3f}"


def _worst(presence: Mapping[str, Any]) -> Iterator[str]:
    """A line that names the kinds with the most errors."""
    named = [
        f"most {error.replace('_', ' ')}: {', '.join(kind or NO_KIND for kind in kinds)}"
        for error, kinds in presence["worst"].items()
        if kinds
    ]
    if named:
        yield "; ".join(named)


def _too_few(presence: Mapping[str, Any]) -> Iterator[str]:
    """A line about the kinds of probes that are fewer than was asked for."""
    wanted = presence.get("probes")
    few = [
        f"{kind or NO_KIND} {figures['present']} present, {figures['absent']} absent"
        for kind, figures in presence["kinds"].items()
        if wanted and min(figures["present"], figures["absent"]) < wanted
    ]
    if few:
        yield f"fewer than {wanted} phrases in {presence['images']} images: {'; '.join(few)}"


def _row(name: str, cells: Iterable[str]) -> str:
    return f"{name:<{NAME}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)


def _found(figures: Mapping[str, Any] | None) -> str:
    if figures is None or figures["accuracy"] is None:
        return _number(None)
    return f"{figures['accuracy']:.3f}  {figures['mean_iou']:.3f}"


def _number(value: float | None) -> str:
    return f"{_plain(value):>5}{BESIDE}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def reliability_text(bins: Sequence[Bin], width: int = 40) -> str:
    """A line for each bin: what the scores say, and what is right, `#`, up to which honest scores, `|`, would
    reach."""
    lines = [f"{'phrases':>7}  {'score':>5}  {'right':>5}"]
    for one in bins:
        bar = list("#" * round(one.right * width) + " " * width)[: width + 1]
        bar[round(one.score * width)] = "|"
        lines.append(f"{one.count:>7}  {one.score:5.3f}  {one.right:5.3f}  {''.join(bar).rstrip()}")
    return "\n".join(lines)


def plot_reliability(curves: Mapping[str, Sequence[Bin]], file: Path) -> None:
    """Scores against the share that is right; honest ones lie on the diagonal. One line for each name."""
    try:
        from matplotlib.figure import Figure  # not pyplot: that keeps figures, and looks for a screen
    except ImportError:
        raise InputError("the diagram needs matplotlib: `pip install 'kosmos2[eval]'`.") from None
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="score", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, bins in curves.items():
        axes.plot([one.score for one in bins], [one.right for one in bins], "o-", markersize=4, label=name)
    axes.legend(loc="upper left", frameon=False)
    try:
        figure.savefig(file, dpi=120)
    except (OSError, ValueError) as error:  # ValueError: an unknown ending
        raise InputError(f"{file} cannot be written: {error}.") from None


def writable(folder: Path) -> None:
    """Make a folder to write to; that there can be none is said before the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".here").touch()
        (folder / ".here").unlink()
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror}.") from None


def write_results(folder: Path, figures: Mapping[str, Any]) -> None:
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    (folder / "results.json").write_text(text, encoding="utf-8")


def write_pictures(folder: Path, name: str, cases: Sequence[Case], images: Sequence[Pixels]) -> None:
    """The best and the worst, as NAME.png, and how honest scores are, as NAME-reliability.png."""
    Image.fromarray(sheet(cases, images)).save(folder / f"{name}.png")
    plot_reliability({name: reliability_of(cases)}, folder / f"{name}-reliability.png")

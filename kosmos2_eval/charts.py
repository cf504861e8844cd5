"""Charts by matplotlib: as SVG for an HTML report, whose colours they take on, or as a picture file.

Charts for a report are drawn in placeholder colours, which are replaced by the CSS variables of the page, so
that a chart follows the page's light or dark theme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_core.errors import InputError
from kosmos2_core.files import write_atomically
from kosmos2_eval.metrics import Bin, wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

# CSS variable of the page: the colour that is used in a picture file, and as the placeholder in SVG.
COLOURS = {
    "faint": "#66707c",
    "line": "#dfe3e8",
    "a": "#2563eb",  # the first model
    "b": "#a855f7",  # the second model
    "right": "#0891b2",
    "wrong": "#e11d48",
    "unknown": "#d97706",
}
SERIES = ("a", "b")  # colours of the first and of the second model
MARGIN = 0.02  # of the range of an axis, for markers at its ends
Y_LIMITS = (-MARGIN, 1 + MARGIN)
MAX_POINTS = 3000  # of a scatter chart; more are thinned out evenly


def line_chart(
    title: str,
    lines: Mapping[str, Points],
    x_label: str,
    y_label: str,
    x_max: float = 1.0,
    markers: bool = False,
) -> str:
    """Return one line per model as SVG. The y axis goes from 0 to 1.

    Args:
        title: text for screen readers.
        lines: points by the name of the model, for at most two models.
    """
    figure, axes = _chart(x_label, y_label, x_max)
    for (name, points), colour in zip(lines.items(), SERIES, strict=False):
        x, y = _columns(points)
        axes.plot(x, y, "o-" if markers else "-", color=COLOURS[colour], markersize=3.5, label=name)
    _legend(axes, len(lines))
    return _svg(figure, title)


def scatter_chart(title: str, groups: Mapping[str, Points], x_label: str, y_label: str, x_max: float) -> str:
    """Return points as SVG, in groups whose names are colours (`right`, `wrong` or `unknown`)."""
    figure, axes = _chart(x_label, y_label, x_max)
    step = -(-sum(map(len, groups.values())) // MAX_POINTS) or 1
    for name, points in groups.items():
        x, y = _columns(points[::step])
        axes.scatter(x, y, s=9, color=COLOURS[name], label=name, linewidths=0)
    _legend(axes, len(groups))
    return _svg(figure, title)


def reliability_chart(title: str, curves: Mapping[str, Sequence[Bin]]) -> str:
    """Return a reliability diagram as SVG: see `reliability_figure`."""
    return _svg(reliability_figure(curves, (4.6, 4.0)), title)


def save_reliability(curves: Mapping[str, Sequence[Bin]], file: Path) -> None:
    """Write a reliability diagram to a picture file.

    Raises:
        InputError: the file cannot be written.
        DiskError: the disk is full.
    """
    figure = reliability_figure(curves, (5, 5))
    content = io.BytesIO()
    try:
        figure.savefig(content, format=file.suffix[1:], dpi=120)
    except ValueError as error:  # an unknown file ending
        raise InputError(f"{file} cannot be written: {error}.") from None
    write_atomically(file, content.getvalue())


def reliability_figure(curves: Mapping[str, Sequence[Bin]], size: tuple[float, float]) -> Figure:
    """Draw scores against the fraction that is right; calibrated scores lie on the diagonal.

    Error bars are 95 % confidence intervals (Wilson). The lower panel has the number of phrases in each bin.

    Args:
        curves: bins by name.
        size: width and height in inches.
    """
    figure = _figure(size)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _style(axes, "", "fraction that is right")
    _style(counts, "score", "phrases")
    axes.set(xlim=(-MARGIN, 1 + MARGIN), ylim=Y_LIMITS)
    axes.plot([0, 1], [0, 1], "--", color=COLOURS["faint"], linewidth=1)
    for index, (name, bins) in enumerate(curves.items()):
        colour = COLOURS[SERIES[index % len(SERIES)]]
        scores, right = _columns([(entry.score, entry.right) for entry in bins])
        intervals = [wilson_interval(entry.right, entry.count) for entry in bins]
        below = [max(entry.right - low, 0) for entry, (low, _) in zip(bins, intervals, strict=True)]
        above = [max(high - entry.right, 0) for entry, (_, high) in zip(bins, intervals, strict=True)]
        axes.errorbar(
            scores, right, [below, above], fmt="o-", color=colour, markersize=3.5, elinewidth=0.8, label=name
        )
        counts.vlines(scores, 0, [entry.count for entry in bins], color=colour, linewidth=2)
    counts.set_ylim(bottom=0)
    _legend(axes, len(curves))
    return figure


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and looks for a screen

    return Figure(figsize=size, layout="constrained")


def _chart(x_label: str, y_label: str, x_max: float) -> tuple[Figure, Axes]:
    figure = _figure((4.6, 2.9))
    axes = figure.add_subplot()
    _style(axes, x_label, y_label)
    x_max = x_max or 1
    axes.set(xlim=(-MARGIN * x_max, (1 + MARGIN) * x_max), ylim=Y_LIMITS)
    axes.locator_params(axis="x", nbins=6)
    return figure, axes


def _style(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, color=COLOURS["faint"])
    axes.set_ylabel(y_label, color=COLOURS["faint"])
    axes.tick_params(colors=COLOURS["faint"], length=0)
    axes.grid(color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(frameon=False, labelcolor=COLOURS["faint"], fontsize=9)


def _svg(figure: Figure, title: str) -> str:
    """Return a figure as an SVG element with a text for screen readers, in the page's colours."""
    from matplotlib import rc_context

    figure.patch.set_visible(False)
    text = io.StringIO()
    # fonttype: letters stay text. hashsalt: ids are the same in every run, and no two charts share one.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r'font: [^;"]*?([\d.]+px)[^;"]*', r"font-size: \1", svg)  # the page's font
    return svg.replace("<svg ", f'<svg class="chart" role="img" aria-label="{escape(title)}" ', 1)

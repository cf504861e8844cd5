"""Diagrams as SVG, to be put into a page: its colours and letters are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 40  # room around the plot
POINTS = 3000  # dots that are drawn at most

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    name: str
    low: float
    high: float
    ticks: Sequence[float]

    def share(self, value: float) -> float:
        return (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1)


UNIT = (0, 0.2, 0.4, 0.6, 0.8, 1)


def unit(name: str) -> Axis:
    return Axis(name, 0, 1, UNIT)


def up_to(name: str, high: float) -> Axis:
    """Of a scale from 0, with about five round marks."""
    step = next(
        one * 10.0**power for power in range(-6, 9) for one in (1, 2, 5) if high / (one * 10.0**power) <= 6
    )
    count = int(high / step) + 1
    return Axis(name, 0, high or 1, [step * number for number in range(count + 1) if step * number <= high])


@dataclass(frozen=True)
class Plot:
    x: Axis
    y: Axis

    def at(self, point: Point) -> tuple[str, str]:
        x = LEFT + self.x.share(point[0]) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - self.y.share(point[1]) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f}", f"{y:.1f}"

    def drawn(self, title: str, *parts: str) -> str:
        """The diagram with these parts in it."""
        return (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
            f"{self._axes()}{''.join(parts)}</svg>"
        )

    def line(self, points: Iterable[Point], kind: str, marks: bool = False) -> str:
        places = [self.at(point) for point in points]
        path = " ".join(",".join(place) for place in places)
        dots = "".join(f'<circle class="{kind}" cx="{x}" cy="{y}" r="3"/>' for x, y in places)
        return f'<polyline class="{kind}" points="{path}"/>{dots if marks else ""}'

    def dots(self, points: Sequence[tuple[float, float, str, str]]) -> str:
        """Each with a kind, and words that are shown when it is pointed at; of many some are left out."""
        step = -(-len(points) // POINTS) or 1
        return "".join(
            f'<circle class="{kind}" cx="{x}" cy="{y}" r="2.6"><title>{escape(words)}</title></circle>'
            for (x, y), kind, words in (
                (self.at((x, y)), kind, words) for x, y, kind, words in points[::step]
            )
        )

    def _axes(self) -> str:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        marks = []
        for value in self.x.ticks:
            x, _ = self.at((value, self.y.low))
            marks.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/>')
            marks.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{_tick(value)}</text>')
        for value in self.y.ticks:
            _, y = self.at((self.x.low, value))
            marks.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/>')
            marks.append(f'<text x="{LEFT - 7}" y="{y}" dy="4" text-anchor="end">{_tick(value)}</text>')
        middle_x, middle_y = (LEFT + right) / 2, (TOP + bottom) / 2
        return (
            f"{''.join(marks)}"
            f'<text class="axis" x="{middle_x}" y="{HEIGHT - 6}" text-anchor="middle">'
            f"{escape(self.x.name)}</text>"
            f'<text class="axis" transform="translate(12 {middle_y}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y.name)}</text>"
        )


def _tick(value: float) -> str:
    return f"{round(value, 6):g}"

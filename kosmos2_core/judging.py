"""From what the model says of corners to boxes with honest scores.

A box's mass is the probability of all pairs of corners that overlap it by half or more: the probability of
one pair alone says little, since neighbouring pairs mean the same box.

A model that was trained with a bell of shares around each corner differs in two ways:

- It says a corner more finely than by a cell: the mean of the shares around the cell. `refine` puts a box's
  corners there.
- It never says a corner surely. Of a small box a large part of the bells means no box that overlaps it by
  half, however sure the model is. `spread`, the bell's width, counts a mass against that of a model that is
  sure, so that 1 is sure for boxes of every size.

These are many small steps, and so done on the CPU, wherever the model runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from kosmos2_core.boxes import Box, decode, iou

CANDIDATES = 64  # pairs that are judged, the likeliest ones
NEGLIGIBLE = 1e-7  # probability of a pair that is not counted; all of them together come to 1e-5 or so
REACH = 2  # cells to each side of a corner's, whose shares tell where in the cell it is
TAIL = 3.0  # widths of a bell from its middle to where it ends
NARROWEST, WIDEST = 0.05, 1.5  # cells: what a narrower or wider bell counts as


@dataclass(frozen=True)
class Search:
    """How far to search. First corners are tried until they carry `coverage` of the probability; what is
    not tried counts as no box, so scores are a little too low rather than too high."""

    count: int = 1
    coverage: float = 0.95
    max_corners: int = 16
    max_overlap: float = 0.7  # two boxes closer than this are one
    at_once: int = 128  # corners tried in one step
    temperature: float = 1.0  # divides the logits of locations
    spread: float = 0.0  # width in cells of the bell that corners were learnt with; 0: without
    refine: bool = False  # corners more finely than by cells

    @property
    def bell(self) -> float:
        """How wide it is at this temperature."""
        return min(max(self.spread * math.sqrt(self.temperature), NARROWEST), WIDEST)


@dataclass(frozen=True, slots=True)
class FoundBox:
    upper_left: int
    lower_right: int
    mass: float  # probability that a box said here is this one
    box: Box


@dataclass(frozen=True, slots=True)
class Found:
    presence: float  # probability that a box is said at all
    boxes: tuple[FoundBox, ...]  # best first


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the model says about where one phrase is: logits of location tokens, not judged yet."""

    presence: float
    first: Tensor  # (cells,) of the upper-left corner
    tried: Tensor  # (corners,) upper-left cells that were tried, likeliest first
    second: Tensor  # (corners, cells) of the lower-right corner, after each of these


def judge(
    evidence: Evidence, grid: int, search: Search, given: Sequence[tuple[int, int]] | None = None
) -> Found:
    """The best boxes, or the given ones, in their order."""
    shares = (evidence.first / search.temperature).softmax(-1)[evidence.tried]
    tried = evidence.tried[: enough(shares, search)]
    second = evidence.second[: len(tried)] / search.temperature
    second = second.masked_fill_(~_legal(tried, grid), -torch.inf).softmax(-1)
    pairs = _Pairs(tried, (shares[: len(tried), None] * second).flatten(), grid, search)
    boxes = pairs.best() if given is None else pairs.judge(given)
    if search.spread:
        boxes = list(_against_sure(boxes, search.bell, grid))
    if given is None:
        boxes = list(_never_surer(boxes))
    if search.refine:
        boxes = [replace(one, box=_refined(evidence, one, grid)) for one in boxes]
    return Found(evidence.presence, tuple(boxes))


def enough(shares: Tensor, search: Search) -> int:
    """How many first corners to try, of those with these shares, the likeliest first."""
    return min(max(int((shares.cumsum(0) < search.coverage).sum()) + 1, search.count), len(shares))


def _legal(upper_left: Tensor, grid: int) -> Tensor:
    """Which cells can be the lower-right corner of boxes that start in these: (corners, cells)."""
    along = torch.arange(grid)
    below, right = along >= (upper_left // grid)[:, None], along >= (upper_left % grid)[:, None]
    return (below[:, :, None] & right[:, None, :]).flatten(1)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All pairs of corners that were tried for one phrase."""

    cells: Tensor  # (corners,) upper-left cells, each with all lower-right ones
    shares: Tensor  # (corners * cells,) probabilities, 0 for what is no box
    grid: int
    search: Search

    def best(self) -> list[FoundBox]:
        """The boxes of most mass among the likeliest pairs, near-duplicates left out."""
        upper_left, lower_right = self._corners(self.shares.topk(min(CANDIDATES, len(self.shares))).indices)
        masses = self._masses(upper_left, lower_right)
        kept: list[FoundBox] = []
        for at in masses.argsort(descending=True, stable=True).tolist():
            one = self._found(int(upper_left[at]), int(lower_right[at]), float(masses[at]))
            if one and all(iou(one.box, other.box) <= self.search.max_overlap for other in kept):
                kept.append(one)
            if len(kept) == self.search.count:
                break
        return kept

    def judge(self, pairs: Sequence[tuple[int, int]]) -> list[FoundBox]:
        """Those that are boxes."""
        masses = self._masses(*torch.tensor(pairs, dtype=torch.long).view(-1, 2).T)
        found = (self._found(*pair, mass) for pair, mass in zip(pairs, masses.tolist(), strict=True))
        return [one for one in found if one]

    def _corners(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        return self.cells[numbers // self.grid**2], numbers % self.grid**2

    def _found(self, upper_left: int, lower_right: int, mass: float) -> FoundBox | None:
        box = decode(upper_left, lower_right, self.grid)
        return FoundBox(upper_left, lower_right, mass, box) if box else None

    def _masses(self, upper_left: Tensor, lower_right: Tensor) -> Tensor:
        """Of each pair the probability of all that overlap it by half or more."""
        others = (self.shares > NEGLIGIBLE).nonzero()[:, 0]
        boxes = Edges.of(upper_left, lower_right, self.grid)
        same = boxes.column().overlap_by_half(Edges.of(*self._corners(others), self.grid))
        return same.float() @ self.shares[others]


def _against_sure(found: Iterable[FoundBox], bell: float, grid: int) -> Iterator[FoundBox]:
    """Each mass as a part of a sure model's."""
    sure = sure_masses(bell, grid)
    for one in found:
        down = one.lower_right // grid - one.upper_left // grid
        along = one.lower_right % grid - one.upper_left % grid
        yield replace(one, mass=min(one.mass / float(sure[down, along]), 1.0))


def _never_surer(found: Iterable[FoundBox]) -> Iterator[FoundBox]:
    """None has more mass than those before it."""
    most = math.inf
    for one in found:
        most = min(most, one.mass)
        yield replace(one, mass=most)


@dataclass(frozen=True, eq=False)
class Edges:
    """Of boxes between cells, in halves of a cell, so that overlaps are exact: many meet a half exactly."""

    left: Tensor
    top: Tensor
    right: Tensor
    bottom: Tensor

    @classmethod
    def of(cls, upper_left: Tensor, lower_right: Tensor, grid: int) -> Edges:
        """`boxes.decode` of many pairs at once."""
        return cls.between(upper_left % grid, upper_left // grid, lower_right % grid, lower_right // grid)

    @classmethod
    def between(cls, left: Tensor, top: Tensor, right: Tensor, bottom: Tensor) -> Edges:
        """Of columns and rows."""
        full = ((left == right) | (top == bottom)).int()  # the cells' outer edges, not their centres
        begin, end = 1 - full, 1 + full
        return cls(
            *((2 * one + begin).int() for one in (left, top)),
            *((2 * one + end).int() for one in (right, bottom)),
        )

    def column(self) -> Edges:
        """(N, 1) of (N,), to compare each with all others."""
        return Edges(*(one[:, None] for one in (self.left, self.top, self.right, self.bottom)))

    def overlap_by_half(self, other: Edges) -> Tensor:
        """Whether intersection over union is 0.5 or more; false for what is no box."""
        shared = (torch.minimum(self.right, other.right) - torch.maximum(self.left, other.left)).clamp_(min=0)
        height = torch.minimum(self.bottom, other.bottom) - torch.maximum(self.top, other.top)
        shared *= height.clamp_(min=0)
        both = self._area() + other._area()
        return (shared * 3 >= both) & (shared > 0)

    def _area(self) -> Tensor:
        return (self.right - self.left) * (self.bottom - self.top)


@lru_cache(maxsize=64)
def sure_masses(width: float, grid: int) -> Tensor:
    """The mass of boxes said by a model that is sure, but says each corner as a bell of this width, in cells:
    (rows, columns) from the first corner's cell to the second's."""
    reach = math.ceil(TAIL * width)
    off, sizes = torch.arange(-reach, reach + 1), torch.arange(grid)
    bell = (-(off**2) / (2 * width**2)).softmax(0)
    # Along one side: where the two corners are said, and how likely; (sizes, pairs).
    second = (sizes[:, None, None] + off).expand(-1, len(off), -1)
    first = off[:, None].expand_as(second)
    after = bell * (second >= first)
    shares = bell[:, None] * after / after.sum(2, keepdim=True).clamp(min=torch.finfo(bell.dtype).tiny)
    first, second, shares = (one.flatten(1) for one in (first, second, shares))
    start = torch.zeros(grid, 1, 1, dtype=torch.long)
    rows = []
    for row in range(grid):  # one after the other, for the memory
        meant = Edges.between(start, start, sizes[:, None, None], start + row)
        said = Edges.between(first[:, None], first[row, :, None], second[:, None], second[row, :, None])
        same = meant.overlap_by_half(said)  # (columns, pairs down, pairs along)
        rows.append((same * shares[row, :, None] * shares[:, None]).sum((1, 2)))
    return torch.stack(rows)


def _refined(evidence: Evidence, found: FoundBox, grid: int) -> Box:
    """The box with its corners within their cells; as it was, where that is no box. The shares are the
    model's own: a temperature below 1 would draw them to the middle of the cell."""
    first = evidence.first.softmax(-1)
    near = _window(found.upper_left, grid, evidence.tried)
    if not near.any():  # of a box that was given
        return found.box
    second = (first[evidence.tried[near], None] * evidence.second[near].softmax(-1)).sum(0)
    x1, y1 = corner_within(first, found.upper_left, grid)
    x2, y2 = corner_within(second, found.lower_right, grid)
    return Box(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else found.box


def _window(cell: int, grid: int, others: Tensor) -> Tensor:
    """Which of the other cells are near."""
    return ((others // grid - cell // grid).abs() <= REACH) & ((others % grid - cell % grid).abs() <= REACH)


def corner_within(shares: Tensor, cell: int, grid: int) -> tuple[float, float]:
    """The mean place, in unit coordinates, of the shares (cells,) around a cell. At the edge of the grid
    fewer cells count, as many to either side, or the mean would be drawn inwards."""
    row, column = divmod(cell, grid)
    down, along = (min(REACH, at, grid - 1 - at) for at in (row, column))
    near = shares.view(grid, grid)[row - down : row + down + 1, column - along : column + along + 1]
    near = near / near.sum().clamp(min=torch.finfo(near.dtype).tiny)
    x = near.sum(0) @ torch.arange(-along, along + 1, dtype=near.dtype)
    y = near.sum(1) @ torch.arange(-down, down + 1, dtype=near.dtype)
    return (column + 0.5 + float(x)) / grid, (row + 0.5 + float(y)) / grid

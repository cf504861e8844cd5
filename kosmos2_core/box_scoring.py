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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from kosmos2_core.boxes import Box, box_of_cells, iou

CANDIDATES, FURTHER = 64, 16  # pairs compared for the best box and for each further one, the likeliest ones
TRIES = 4  # candidates for each box that is wanted: some lie too close to a box that was kept
NEGLIGIBLE = 1e-7  # probability of a pair that is not counted; all of them together come to 1e-5 or so
REACH = 2  # cells to each side of a corner that belong to it: training spreads a corner over them
TAIL = 3.0  # widths of a bell from its middle to where it ends
NARROWEST, WIDEST = 0.05, 1.5  # cells: what a narrower or wider bell counts as


@dataclass(frozen=True)
class SearchOptions:
    """How far to search for the boxes of one phrase.

    What is not tried counts as no box, so scores are a little too low rather than too high.

    Args:
        count: how many boxes to find, each of another object.
        coverage: first corners are tried until they carry so much of the probability.
        max_corners: how many of them at most. For each of the `count` boxes that is not found so, as many
            more are tried, away from the boxes that were found.
        max_overlap: two boxes with a higher IoU are one object.
        min_presence: a phrase whose presence is lower gets no box.
        faint: a further box is kept only if it has so much of the probability.
        temperature: divides the logits of location tokens.
        spread: standard deviation, in cells, of the Gaussian targets that corners were trained with; 0: the
            targets were single cells.
        refine: place corners more finely than by cells.
    """

    count: int = 1
    coverage: float = 0.95
    max_corners: int = 16
    max_overlap: float = 0.5
    faint: float = 3e-4
    min_presence: float = 0.0
    temperature: float = 1.0
    spread: float = 0.0
    refine: bool = False

    @property
    def bell(self) -> float:
        """How wide it is at this temperature."""
        return min(max(self.spread * math.sqrt(self.temperature), NARROWEST), WIDEST)


@dataclass(frozen=True, slots=True)
class ScoredBox:
    upper_left: int
    lower_right: int
    probability: float  # probability that a box said here is this one
    box: Box


@dataclass(frozen=True, slots=True)
class PhraseBoxes:
    presence: float  # probability that a box is said at all
    boxes: tuple[ScoredBox, ...]  # best first


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the model says about where one phrase is: logits of location tokens, not judged yet."""

    presence: float
    first: Tensor  # (cells,) of the upper-left corner
    tried: Tensor  # (corners,) upper-left cells that were tried, likeliest first
    second: Tensor  # (corners, cells) of the lower-right corner, after each of these


def score_boxes(
    evidence: Evidence, grid: int, search: SearchOptions, given: Sequence[tuple[int, int]] | None = None
) -> PhraseBoxes:
    """The best boxes, or the given ones, in their order."""
    first = _first_probabilities(evidence, search)[evidence.tried]
    second = evidence.second / search.temperature
    second = second.masked_fill_(~_legal(evidence.tried, grid), -torch.inf).softmax(-1)
    pairs = _Pairs.of(evidence.tried, first[:, None] * second, grid)

    def placed(box: ScoredBox) -> ScoredBox:
        return replace(box, box=_refined(evidence, box, grid)) if search.refine else box

    boxes = pairs.best(search, placed) if given is None else [placed(box) for box in pairs.score(given)]
    if search.spread:
        boxes = list(_against_sure(boxes, search.bell, grid))
    if given is None:
        boxes = list(_never_surer(boxes))
    return PhraseBoxes(evidence.presence, tuple(boxes))


def corners_needed(probabilities: Tensor, search: SearchOptions) -> int:
    """How many first corners to try, given the probabilities of the likeliest, in order."""
    return min(int((probabilities.cumsum(0) < search.coverage).sum()) + 1, len(probabilities))


def trim_evidence(evidence: Evidence, search: SearchOptions) -> Evidence:
    """The evidence that this search would have gathered, out of that of a more thorough one."""
    count = corners_needed(_first_probabilities(evidence, search)[evidence.tried], search)
    return replace(evidence, tried=evidence.tried[:count], second=evidence.second[:count])


def remaining_corners(evidence: Evidence, found: PhraseBoxes, grid: int, search: SearchOptions) -> Tensor:
    """First corners to try for the objects that were not found yet.

    Returns:
        The likeliest cells that were not tried and belong to no box that was found, where they and the cells
        around them have enough probability for another box.
    """
    probabilities = _first_probabilities(evidence, search)
    cells = torch.arange(len(probabilities))
    probabilities[evidence.tried] = 0
    for box in found.boxes:
        probabilities[_near(box.upper_left, cells, grid)] = 0
    side = 2 * REACH + 1
    around = avg_pool2d(probabilities.view(1, grid, grid), side, 1, REACH).flatten() * side**2
    most = search.max_corners * (search.count - len(found.boxes))
    likeliest = probabilities.topk(min(most, len(cells)))
    return likeliest.indices[around[likeliest.indices] >= search.faint]


def _first_probabilities(evidence: Evidence, search: SearchOptions) -> Tensor:
    """(cells,) of the upper-left corner."""
    return (evidence.first / search.temperature).softmax(-1)


def _legal(upper_left: Tensor, grid: int) -> Tensor:
    """Which cells can be the lower-right corner of boxes that start in these: (corners, cells)."""
    along = torch.arange(grid)
    below, right = along >= (upper_left // grid)[:, None], along >= (upper_left % grid)[:, None]
    return (below[:, :, None] & right[:, None, :]).flatten(1)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The pairs of corners that were tried for one phrase, without the negligible ones."""

    upper_left: Tensor  # (N,) cells
    lower_right: Tensor  # (N,)
    probabilities: Tensor  # (N,)
    edges: Edges
    grid: int

    @classmethod
    def of(cls, tried: Tensor, probabilities: Tensor, grid: int) -> _Pairs:
        """`probabilities` (corners, cells) of the lower-right cell after each first corner in `tried`."""
        corner, lower_right = (probabilities > NEGLIGIBLE).nonzero(as_tuple=True)
        upper_left = tried[corner]
        edges = Edges.of(upper_left, lower_right, grid)
        return cls(upper_left, lower_right, probabilities[corner, lower_right], edges, grid)

    def best(self, search: SearchOptions, placed: Callable[[ScoredBox], ScoredBox]) -> list[ScoredBox]:
        """The boxes of different objects, the most probable first.

        Each time, that is the box of most mass among the likeliest pairs. All pairs that mean its object are
        then left out, so that no probability counts for two boxes.

        Args:
            placed: puts a box where it is compared with the others and returned.
        """
        left = self.probabilities.clone()
        kept: list[ScoredBox] = []
        for _ in range(TRIES * search.count):
            box = self._most_probable(left, FURTHER if kept else CANDIDATES)
            if box is None or (kept and box.probability < search.faint):
                break
            candidate = placed(box)
            if all(iou(candidate.box, other.box) <= search.max_overlap for other in kept):
                kept.append(candidate)
            if len(kept) == search.count:
                break
            left[self._same_object(box)] = 0
        return kept

    def score(self, pairs: Sequence[tuple[int, int]]) -> list[ScoredBox]:
        """The pairs that are boxes."""
        upper_left, lower_right = torch.tensor(pairs, dtype=torch.long).view(-1, 2).T
        masses = self._masses(Edges.of(upper_left, lower_right, self.grid), self.probabilities)
        found = (self._found(*pair, value) for pair, value in zip(pairs, masses.tolist(), strict=True))
        return [box for box in found if box]

    def _most_probable(self, left: Tensor, candidates: int) -> ScoredBox | None:
        """The box of most mass among so many candidates; None if no probability is left."""
        likeliest = left.topk(min(candidates, len(left)))
        numbers = likeliest.indices[likeliest.values > 0]
        if not len(numbers):
            return None
        masses = self._masses(self.edges.at(numbers), left)
        best = int(masses.argsort(descending=True, stable=True)[0])
        pair = int(self.upper_left[numbers[best]]), int(self.lower_right[numbers[best]])
        return self._found(*pair, float(masses[best]))

    def _same_object(self, box: ScoredBox) -> Tensor:
        """(N,) Which pairs mean the object of a box: they overlap it by half, or both corners are near."""
        upper_left, lower_right = torch.tensor([box.upper_left]), torch.tensor([box.lower_right])
        overlaps = Edges.of(upper_left, lower_right, self.grid).overlap_by_half(self.edges)
        begins_near = _near(box.upper_left, self.upper_left, self.grid)
        return overlaps | (begins_near & _near(box.lower_right, self.lower_right, self.grid))

    def _found(self, upper_left: int, lower_right: int, probability: float) -> ScoredBox | None:
        box = box_of_cells(upper_left, lower_right, self.grid)
        return ScoredBox(upper_left, lower_right, probability, box) if box else None

    def _masses(self, boxes: Edges, probabilities: Tensor) -> Tensor:
        """For each box the probability of all pairs that overlap it by half or more."""
        return boxes.column().overlap_by_half(self.edges).float() @ probabilities


def _against_sure(found: Iterable[ScoredBox], bell: float, grid: int) -> Iterator[ScoredBox]:
    """Each mass as a part of a sure model's."""
    sure = certain_probabilities(bell, grid)
    for one in found:
        down = one.lower_right // grid - one.upper_left // grid
        along = one.lower_right % grid - one.upper_left % grid
        yield replace(one, probability=min(one.probability / float(sure[down, along]), 1.0))


def _never_surer(found: Iterable[ScoredBox]) -> Iterator[ScoredBox]:
    """None has more mass than those before it."""
    most = math.inf
    for one in found:
        most = min(most, one.probability)
        yield replace(one, probability=most)


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

    def at(self, numbers: Tensor) -> Edges:
        """Some of the boxes."""
        return Edges(self.left[numbers], self.top[numbers], self.right[numbers], self.bottom[numbers])

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
def certain_probabilities(width: float, grid: int) -> Tensor:
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


def _refined(evidence: Evidence, found: ScoredBox, grid: int) -> Box:
    """The box with its corners within their cells; as it was, where that is no box. The shares are the
    model's own: a temperature below 1 would draw them to the middle of the cell."""
    first = evidence.first.softmax(-1)
    near = _near(found.upper_left, evidence.tried, grid)
    if not near.any():  # of a box that was given
        return found.box
    second = (first[evidence.tried[near], None] * evidence.second[near].softmax(-1)).sum(0)
    x1, y1 = corner_within(first, found.upper_left, grid)
    x2, y2 = corner_within(second, found.lower_right, grid)
    return Box(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else found.box


def _near(cell: int, cells: Tensor, grid: int) -> Tensor:
    """Which of the cells are within REACH of a cell."""
    return ((cells // grid - cell // grid).abs() <= REACH) & ((cells % grid - cell % grid).abs() <= REACH)


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

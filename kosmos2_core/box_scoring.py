"""Scoring of boxes: from the model's logits of the two corners to boxes with probabilities.

The model names a box by two location tokens, the cells of its upper-left and lower-right corners. The
probability of a single pair says little, since neighbouring pairs mean the same box. Therefore the
probability of a box is that of all pairs whose box has an IoU of at least 0.5 with it.

A model that was trained with Gaussian targets around each corner differs in two ways:

- It knows a corner more finely than its cell: the mean of the probabilities around the cell. With `refine`
  the corners of a box are put there.
- It spreads even a certain corner over several cells. For a small box, many of these cells mean a box with
  a lower IoU than 0.5, however certain the model is. With `sigma`, the width of the Gaussian, a probability
  is divided by the one that a certain model would give to a box of this size, so that 1 means certainty for
  boxes of every size.

These are many small operations, so they run on the CPU, wherever the model runs. The shapes in comments: N
pairs of corners, `cells` is grid * grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from kosmos2_core.boxes import Box, box_of_cells, iou

FIRST_CANDIDATES = 64  # the likeliest pairs that are compared for the best box
FURTHER_CANDIDATES = 16  # and for each further box
TRIES = 4  # candidates for each box that is wanted: some lie too close to a box that was kept
NEGLIGIBLE = 1e-7  # pairs below this probability are left out; together they come to about 1e-5
NEAR_CELLS = 2  # cells to each side of a corner that belong to it: training spreads a corner over them
LIKELY_CORNERS = 16  # first corners that may count with the second corners of one near them
TRUNCATION = 3.0  # a Gaussian ends so many sigmas from its mean
MIN_SIGMA, MAX_SIGMA = 0.05, 1.5  # in cells; narrower and wider Gaussians count as these


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search for one phrase's boxes, and of their scores.

    A first corner near one that is tried is not tried itself, but counts with the second corners of that
    one: a model that spreads a corner over several cells means the same box by all of them. So a certain
    model needs one corner, and an uncertain one needs more. All other corners that are not tried count as
    having no box, so scores are a little too low rather than too high.

    Args:
        count: How many boxes to find, each around another object.
        coverage: First corners are tried until they, with the corners near them, carry this much of the
            probability.
        reach: Corners within so many rows and columns of a tried one are near it; 0: each is tried itself.
        max_corners: At most so many of them. For each of the `count` boxes that is not found so, as many
            more are tried, away from the boxes that were found.
        max_overlap: Two boxes with a higher IoU are of one object.
        min_presence: A phrase with a lower presence gets no box.
        min_probability: A further box with a lower probability is left out.
        temperature: Divides the logits of location tokens.
        sigma: Standard deviation, in cells, of the Gaussian targets that corners were trained with; 0 if the
            targets were single cells.
        refine: Place corners more finely than by cells.
    """

    count: int = 1
    coverage: float = 0.95
    reach: int = NEAR_CELLS
    max_corners: int = 16
    max_overlap: float = 0.5
    min_presence: float = 0.0
    min_probability: float = 3e-4
    temperature: float = 1.0
    sigma: float = 0.0
    refine: bool = False

    @property
    def scaled_sigma(self) -> float:
        """The width of the Gaussian after the temperature, within its bounds."""
        return min(max(self.sigma * math.sqrt(self.temperature), MIN_SIGMA), MAX_SIGMA)


@dataclass(frozen=True, slots=True)
class ScoredBox:
    """A box of a phrase.

    Args:
        upper_left: Cell of the upper-left corner.
        lower_right: Cell of the lower-right corner.
        probability: Probability that this box is right, given that the phrase gets a box.
        box: The box in unit coordinates.
    """

    upper_left: int
    lower_right: int
    probability: float
    box: Box


@dataclass(frozen=True, slots=True)
class PhraseBoxes:
    """The boxes of one phrase.

    Args:
        presence: Probability that the phrase is in the image.
        boxes: Best first, or in the order of the pairs that were given.
    """

    presence: float
    boxes: tuple[ScoredBox, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The model's output about one phrase, before temperature and scoring.

    Args:
        presence: Probability that the phrase is in the image.
        first: Logits (cells,) of the upper-left corner.
        tried: Upper-left cells (corners,) after which the model was asked for the second corner, likeliest
            first.
        second: Logits (corners, cells) of the lower-right corner after each of them.
        values: Evidence for presence, by kind, see `kosmos2_core.presence`.
    """

    presence: float
    first: Tensor
    tried: Tensor
    second: Tensor
    values: Mapping[str, float] = field(default_factory=dict)


def score_boxes(
    evidence: Evidence, grid: int, search: SearchOptions, given: Sequence[tuple[int, int]] | None = None
) -> PhraseBoxes:
    """Return the boxes of a phrase with their probabilities.

    Args:
        evidence: The model's output about the phrase.
        grid: Cells along a side of the image.
        search: How many boxes to return, and how to score them.
        given: Pairs of cells to score, in this order; None: find the best boxes.
    """
    evidence = _with_near_corners(evidence, grid, search)
    pairs = _Pairs.from_probabilities(evidence.tried, _pair_probabilities(evidence, grid, search), grid)

    def place(box: ScoredBox) -> ScoredBox:
        return replace(box, box=_refined(evidence, box, grid)) if search.refine else box

    boxes = pairs.best(search, place) if given is None else [place(box) for box in pairs.score(given)]
    if search.sigma:
        boxes = list(_relative_to_certain(boxes, search.scaled_sigma, grid))
    if given is None:
        boxes = list(_descending(boxes))
    return PhraseBoxes(evidence.presence, tuple(boxes))


def cell_probabilities(evidence: Evidence, grid: int, search: SearchOptions) -> Tensor:
    """Return (grid, grid), row by row, the probability of each cell that the phrase's box covers it."""
    pairs = _pair_probabilities(evidence, grid, search).view(-1, grid, grid)
    covers = pairs.flip(1, 2).cumsum(1).cumsum(2).flip(1, 2)  # the second corner is not before the cell
    covers = covers * _legal(evidence.tried, grid).view(-1, grid, grid)  # nor the first one after it
    return (evidence.presence * covers.sum(0)).clamp(0, 1)


def _pair_probabilities(evidence: Evidence, grid: int, search: SearchOptions) -> Tensor:
    """Return the probabilities (corners, cells) of all pairs that start in a tried corner."""
    first = _first_probabilities(evidence, search)[evidence.tried]
    second = evidence.second / search.temperature
    second = second.masked_fill_(~_legal(evidence.tried, grid), -torch.inf).softmax(-1)
    return first[:, None] * second


def corners_to_try(first: Tensor, search: SearchOptions) -> Tensor:
    """Return the first corners to try, the likeliest first, given the logits (cells,) of all.

    A search that is less thorough tries the first ones of the same corners.
    """
    grid, cells = math.isqrt(len(first)), torch.arange(len(first))
    remaining = (first / search.temperature).softmax(-1)
    covered = 0.0
    corners: list[int] = []
    while covered < search.coverage and len(corners) < min(search.max_corners, len(cells)):
        corner = int(remaining.argmax())
        if remaining[corner] <= 0:
            break
        near = _near(corner, cells, grid, search.reach)
        covered += float(remaining[near].sum())
        remaining[near] = 0
        corners.append(corner)
    return torch.tensor(corners, dtype=torch.long)


def trim_evidence(evidence: Evidence, search: SearchOptions) -> Evidence:
    """Return the evidence that this search would have gathered, taken from that of a more thorough one."""
    count = len(corners_to_try(evidence.first, search))
    return replace(evidence, tried=evidence.tried[:count], second=evidence.second[:count])


def _with_near_corners(evidence: Evidence, grid: int, search: SearchOptions) -> Evidence:
    """Return the evidence with likely corners near a tried one, which have the second corners of that one."""
    if not search.reach or not len(evidence.tried):
        return evidence
    likeliest = evidence.first.topk(min(LIKELY_CORNERS, len(evidence.first))).indices
    others = likeliest[~torch.isin(likeliest, evidence.tried)]
    rows = (others[:, None] // grid - evidence.tried // grid).abs()
    columns = (others[:, None] % grid - evidence.tried % grid).abs()
    nearest = torch.maximum(rows, columns).min(1)
    near = nearest.values <= search.reach
    return replace(
        evidence,
        tried=torch.cat([evidence.tried, others[near]]),
        second=torch.cat([evidence.second, evidence.second[nearest.indices[near]]]),
    )


def remaining_corners(evidence: Evidence, found: PhraseBoxes, grid: int, search: SearchOptions) -> Tensor:
    """Return the first corners to try for objects that were not found yet.

    These are the likeliest cells that were not tried and belong to no box that was found, where they and the
    cells around them have enough probability for another box.
    """
    probabilities = _first_probabilities(evidence, search)
    cells = torch.arange(len(probabilities))
    probabilities[evidence.tried] = 0
    for box in found.boxes:
        probabilities[_near(box.upper_left, cells, grid)] = 0
    side = 2 * NEAR_CELLS + 1
    around = avg_pool2d(probabilities.view(1, grid, grid), side, 1, NEAR_CELLS).flatten() * side**2
    most = search.max_corners * (search.count - len(found.boxes))
    likeliest = probabilities.topk(min(most, len(cells)))
    return likeliest.indices[around[likeliest.indices] >= search.min_probability]


def _first_probabilities(evidence: Evidence, search: SearchOptions) -> Tensor:
    """Return the probabilities (cells,) of the upper-left corner."""
    return (evidence.first / search.temperature).softmax(-1)


def _legal(upper_left: Tensor, grid: int) -> Tensor:
    """Return the mask (corners, cells) of cells that are not left of or above an upper-left corner."""
    index = torch.arange(grid)
    below, right = index >= (upper_left // grid)[:, None], index >= (upper_left % grid)[:, None]
    return (below[:, :, None] & right[:, None, :]).flatten(1)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The pairs of corners that were tried for one phrase, without the negligible ones."""

    upper_left: Tensor  # (N,) cells
    lower_right: Tensor  # (N,) cells
    probabilities: Tensor  # (N,)
    edges: Edges
    grid: int

    @classmethod
    def from_probabilities(cls, tried: Tensor, probabilities: Tensor, grid: int) -> _Pairs:
        """Make pairs from the probabilities (corners, cells) of all pairs that start in a tried corner."""
        corner, lower_right = (probabilities > NEGLIGIBLE).nonzero(as_tuple=True)
        upper_left = tried[corner]
        edges = Edges.from_cells(upper_left, lower_right, grid)
        return cls(upper_left, lower_right, probabilities[corner, lower_right], edges, grid)

    def best(self, search: SearchOptions, place: Callable[[ScoredBox], ScoredBox]) -> list[ScoredBox]:
        """Return the boxes of different objects, the most probable first.

        Each is the most probable box among the likeliest pairs. All pairs that mean its object are then left
        out, so that no probability counts for two boxes.

        Args:
            search: How many boxes to return.
            place: Puts a box where it is compared with the others and returned.
        """
        remaining = self.probabilities.clone()
        kept: list[ScoredBox] = []
        for _ in range(TRIES * search.count):
            box = self._most_probable(remaining, FURTHER_CANDIDATES if kept else FIRST_CANDIDATES)
            if box is None or (kept and box.probability < search.min_probability):
                break
            candidate = place(box)
            if all(iou(candidate.box, other.box) <= search.max_overlap for other in kept):
                kept.append(candidate)
            if len(kept) == search.count:
                break
            remaining[self._same_object(box)] = 0
        return kept

    def score(self, pairs: Sequence[tuple[int, int]]) -> list[ScoredBox]:
        """Return the given pairs with their probabilities, without those that are no box."""
        upper_left, lower_right = torch.tensor(pairs, dtype=torch.long).view(-1, 2).T
        edges = Edges.from_cells(upper_left, lower_right, self.grid)
        probabilities = self._box_probabilities(edges, self.probabilities).tolist()
        boxes = (self._scored(*pair, value) for pair, value in zip(pairs, probabilities, strict=True))
        return [box for box in boxes if box]

    def _most_probable(self, remaining: Tensor, candidates: int) -> ScoredBox | None:
        """Return the most probable box among so many pairs; None if no probability remains."""
        likeliest = remaining.topk(min(candidates, len(remaining)))
        indices = likeliest.indices[likeliest.values > 0]
        if not len(indices):
            return None
        probabilities = self._box_probabilities(self.edges.take(indices), remaining)
        best = int(probabilities.argsort(descending=True, stable=True)[0])
        pair = int(self.upper_left[indices[best]]), int(self.lower_right[indices[best]])
        return self._scored(*pair, float(probabilities[best]))

    def _same_object(self, box: ScoredBox) -> Tensor:
        """Return the mask (N,) of pairs that mean a box's object: IoU at least 0.5, or both corners near."""
        upper_left, lower_right = torch.tensor([box.upper_left]), torch.tensor([box.lower_right])
        overlaps = Edges.from_cells(upper_left, lower_right, self.grid).overlap_by_half(self.edges)
        begins_near = _near(box.upper_left, self.upper_left, self.grid)
        return overlaps | (begins_near & _near(box.lower_right, self.lower_right, self.grid))

    def _scored(self, upper_left: int, lower_right: int, probability: float) -> ScoredBox | None:
        box = box_of_cells(upper_left, lower_right, self.grid)
        return ScoredBox(upper_left, lower_right, probability, box) if box else None

    def _box_probabilities(self, boxes: Edges, probabilities: Tensor) -> Tensor:
        """Return for each box the sum of `probabilities` (N,) of the pairs with an IoU of at least 0.5."""
        return boxes.column().overlap_by_half(self.edges).float() @ probabilities


def _relative_to_certain(boxes: Iterable[ScoredBox], sigma: float, grid: int) -> Iterator[ScoredBox]:
    """Divide each probability by the one that a certain model would give to a box of this size."""
    certain = certain_probabilities(sigma, grid)
    for box in boxes:
        rows = box.lower_right // grid - box.upper_left // grid
        columns = box.lower_right % grid - box.upper_left % grid
        yield replace(box, probability=min(box.probability / float(certain[rows, columns]), 1.0))


def _descending(boxes: Iterable[ScoredBox]) -> Iterator[ScoredBox]:
    """Lower each probability to that of the box before it, so that the order is by probability."""
    highest = math.inf
    for box in boxes:
        highest = min(highest, box.probability)
        yield replace(box, probability=highest)


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of boxes between cells, as integers in halves of a cell.

    Integers keep the comparison with an IoU of 0.5 exact, which many pairs of boxes meet exactly.
    """

    left: Tensor
    top: Tensor
    right: Tensor
    bottom: Tensor

    @classmethod
    def from_cells(cls, upper_left: Tensor, lower_right: Tensor, grid: int) -> Edges:
        """Make the edges of pairs of cells: `box_of_cells` for many pairs at once."""
        return cls.from_columns_and_rows(
            upper_left % grid, upper_left // grid, lower_right % grid, lower_right // grid
        )

    @classmethod
    def from_columns_and_rows(cls, left: Tensor, top: Tensor, right: Tensor, bottom: Tensor) -> Edges:
        """Make the edges of boxes between cells that are given by column (left, right) and row."""
        full = ((left == right) | (top == bottom)).int()  # the cells' outer edges, not their centres
        begin, end = 1 - full, 1 + full
        return cls(
            *((2 * index + begin).int() for index in (left, top)),
            *((2 * index + end).int() for index in (right, bottom)),
        )

    def take(self, indices: Tensor) -> Edges:
        """Return the boxes at these indices."""
        return Edges(self.left[indices], self.top[indices], self.right[indices], self.bottom[indices])

    def column(self) -> Edges:
        """Return edges (N, 1) of N boxes, to compare each with all others by broadcasting."""
        return Edges(*(edge[:, None] for edge in (self.left, self.top, self.right, self.bottom)))

    def overlap_by_half(self, other: Edges) -> Tensor:
        """Return whether the IoU of two boxes is at least 0.5; false for pairs of cells that are no box."""
        shared = (torch.minimum(self.right, other.right) - torch.maximum(self.left, other.left)).clamp_(min=0)
        height = torch.minimum(self.bottom, other.bottom) - torch.maximum(self.top, other.top)
        shared *= height.clamp_(min=0)
        both = self._area() + other._area()
        return (shared * 3 >= both) & (shared > 0)

    def _area(self) -> Tensor:
        return (self.right - self.left) * (self.bottom - self.top)


@lru_cache(maxsize=64)
def certain_probabilities(sigma: float, grid: int) -> Tensor:
    """Return the probability of a box as given by a model that is certain but spreads each corner.

    Args:
        sigma: Standard deviation of the Gaussian around each corner, in cells.
        grid: Cells along a side of the image.

    Returns:
        (grid, grid): by the rows and the columns from the first corner's cell to the second's.
    """
    reach = math.ceil(TRUNCATION * sigma)
    offsets, sizes = torch.arange(-reach, reach + 1), torch.arange(grid)
    gaussian = (-(offsets**2) / (2 * sigma**2)).softmax(0)
    # Along one side: the cells of the two corners and the probability of the two; (sizes, pairs).
    second = (sizes[:, None, None] + offsets).expand(-1, len(offsets), -1)
    first = offsets[:, None].expand_as(second)
    after = gaussian * (second >= first)
    smallest = torch.finfo(gaussian.dtype).tiny
    likely = gaussian[:, None] * after / after.sum(2, keepdim=True).clamp(min=smallest)
    first, second, likely = (values.flatten(1) for values in (first, second, likely))
    start = torch.zeros(grid, 1, 1, dtype=torch.long)
    rows = []
    for row in range(grid):  # one after the other, to save memory
        exact = Edges.from_columns_and_rows(start, start, sizes[:, None, None], start + row)
        spread = Edges.from_columns_and_rows(
            first[:, None], first[row, :, None], second[:, None], second[row, :, None]
        )
        same = exact.overlap_by_half(spread)  # (columns, pairs of rows, pairs of columns)
        rows.append((same * likely[row, :, None] * likely[:, None]).sum((1, 2)))
    return torch.stack(rows)


def _refined(evidence: Evidence, box: ScoredBox, grid: int) -> Box:
    """Return the box with its corners at the mean of the probabilities around their cells.

    These probabilities are at temperature 1: a lower one would draw the corners to the centres of their
    cells. The box stays as it was where the result would be no box, or its first corner was not tried.
    """
    first = evidence.first.softmax(-1)
    near = _near(box.upper_left, evidence.tried, grid)
    if not near.any():
        return box.box
    second = (first[evidence.tried[near], None] * evidence.second[near].softmax(-1)).sum(0)
    x1, y1 = _corner_within(first, box.upper_left, grid)
    x2, y2 = _corner_within(second, box.lower_right, grid)
    return Box(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else box.box


def _near(cell: int, cells: Tensor, grid: int, reach: int = NEAR_CELLS) -> Tensor:
    """Return which of the cells are within so many rows and columns of a cell."""
    rows, columns = (cells // grid - cell // grid).abs(), (cells % grid - cell % grid).abs()
    return (rows <= reach) & (columns <= reach)


def _corner_within(probabilities: Tensor, cell: int, grid: int) -> tuple[float, float]:
    """Return x and y of the mean of the probabilities (cells,) around a cell, in unit coordinates.

    At the edge of the grid fewer cells count, as many to either side: the mean would be drawn inwards.
    """
    row, column = divmod(cell, grid)
    down, across = (min(NEAR_CELLS, index, grid - 1 - index) for index in (row, column))
    near = probabilities.view(grid, grid)[row - down : row + down + 1, column - across : column + across + 1]
    near = near / near.sum().clamp(min=torch.finfo(near.dtype).tiny)
    x = near.sum(0) @ torch.arange(-across, across + 1, dtype=near.dtype)
    y = near.sum(1) @ torch.arange(-down, down + 1, dtype=near.dtype)
    return (column + 0.5 + float(x)) / grid, (row + 0.5 + float(y)) / grid

"""The best boxes of a phrase, with honest scores.

A box is two location tokens, and the likeliest first token need not begin the best box. So the first
corners that carry most of the probability are each tried, and the pairs are judged together. A box's mass
is the probability of all pairs that overlap it by half or more: the probability of one pair alone says
little, since neighbouring pairs mean the same box.

A model that was trained with a bell of shares around each corner says it more finely than by a cell: the
mean of the shares around the cell. `refine` puts a box's corners there; which boxes are best, and how
good, is still judged by cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kosmos2_core.boxes import Box, decode, suppress
from kosmos2_core.branches import Branches
from kosmos2_core.grammar import legal_corners
from kosmos2_core.tokenizer import Control

RIGHT = 0.5 - 1e-6  # the IoU from which a box counts as the same; many pairs meet 0.5 exactly
CANDIDATES = 64  # pairs that are judged, the likeliest ones
NEGLIGIBLE = 1e-9  # probability of a pair that is not counted; all of them together come to 1e-5 or so
REACH = 2  # cells to each side of a corner's, whose shares tell where in the cell it is


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
    refine: bool = False  # corners more finely than by cells


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


def search_boxes(
    branches: Branches,
    control: Control,
    search: Search,
    given: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> list[Found]:
    """For each branch, whose last two tokens are `</phrase><object>`: its best boxes, or the given ones, in
    their order."""
    evidence = gather(branches, control, search)
    asked = [None] * len(evidence) if given is None else given
    return [judge(one, control.grid, search, pairs) for one, pairs in zip(evidence, asked, strict=True)]


def gather(branches: Branches, control: Control, search: Search) -> list[Evidence]:
    """Ask the model. What is known after a branch's last two tokens tells presence and first corners, so that
    a box costs one step more."""
    presence = branches.logits[:, 0].float().softmax(-1)[:, control.object].tolist()
    first = _of_cells(branches.logits[:, 1], control)
    ordered = first.topk(min(search.max_corners, control.grid**2)).indices
    shares = (first / search.temperature).softmax(-1).gather(1, ordered)
    tried = [cells[: _enough(own, search)] for cells, own in zip(ordered, shares, strict=True)]
    second = _after(branches, control, tried, search)
    return [Evidence(*one) for one in zip(presence, first, tried, second, strict=True)]


def judge(
    evidence: Evidence, grid: int, search: Search, given: Sequence[tuple[int, int]] | None = None
) -> Found:
    """The best boxes, or the given ones, in their order."""
    shares = (evidence.first / search.temperature).softmax(-1)[evidence.tried]
    tried = evidence.tried[: _enough(shares, search)]
    legal = torch.stack([legal_corners(grid, cell, tried.device) for cell in tried.tolist()])
    second = (evidence.second[: len(tried)] / search.temperature).masked_fill(~legal, -torch.inf).softmax(-1)
    pairs = _Pairs(tried, (shares[: len(tried), None] * second).flatten(), grid)
    boxes = pairs.best(search) if given is None else pairs.judge(given)
    if search.refine:
        boxes = tuple(replace(one, box=_refined(evidence, one, grid)) for one in boxes)
    return Found(evidence.presence, boxes)


def _of_cells(logits: Tensor, control: Control) -> Tensor:
    """Logits (B, cells) of location tokens, copied: those of all tokens take much memory."""
    return logits[:, control.location : control.location + control.grid**2].float().clone()


def _enough(shares: Tensor, search: Search) -> int:
    """How many first corners to try, of those with these shares, the likeliest first."""
    return min(max(int((shares.cumsum(0) < search.coverage).sum()) + 1, search.count), len(shares))


def _after(branches: Branches, control: Control, tried: list[Tensor], search: Search) -> list[Tensor]:
    """For each branch, the logits (corners, cells) of the second corner after each first one."""
    rows = torch.cat([torch.full_like(cells, row) for row, cells in enumerate(tried)])
    steps = zip(torch.split(rows, search.at_once), torch.split(torch.cat(tried), search.at_once), strict=True)
    parts = [_of_cells(branches.step(some, cells + control.location), control) for some, cells in steps]
    return list(torch.split(torch.cat(parts), [len(cells) for cells in tried]))


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
    x = near.sum(0) @ torch.arange(-along, along + 1, dtype=near.dtype, device=near.device)
    y = near.sum(1) @ torch.arange(-down, down + 1, dtype=near.dtype, device=near.device)
    return (column + 0.5 + float(x)) / grid, (row + 0.5 + float(y)) / grid


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All pairs of corners that were tried for one phrase."""

    cells: Tensor  # (corners,) upper-left cells, each with all lower-right ones
    shares: Tensor  # (corners * cells,) probabilities, 0 for what is no box
    grid: int

    def best(self, search: Search) -> tuple[FoundBox, ...]:
        """The boxes of most mass among the likeliest pairs, near-duplicates left out."""
        number = self.grid**2
        likely = self.shares.topk(min(CANDIDATES, int((self.shares > 0).sum()))).indices
        pairs = [(int(self.cells[at // number]), at % number) for at in likely.tolist()]
        found = {one.box: one for one in sorted(self.judge(pairs), key=lambda one: -one.mass)}
        kept = suppress(found, search.max_overlap)
        return tuple(found[box] for box in kept[: search.count])

    def judge(self, pairs: Sequence[tuple[int, int]]) -> tuple[FoundBox, ...]:
        """Each pair with the probability of all that overlap it by half or more."""
        number = self.grid**2
        upper_left, lower_right = torch.tensor(pairs, device=self.cells.device).view(-1, 2).T
        others = (self.shares > NEGLIGIBLE).nonzero()[:, 0]
        overlap = pairwise_iou(
            decode_cells(upper_left, lower_right, self.grid),
            decode_cells(self.cells[others // number], others % number, self.grid),
        )
        mass = ((overlap >= RIGHT) * self.shares[others]).sum(1).tolist()
        boxes = [decode(*pair, self.grid) for pair in pairs]
        return tuple(
            FoundBox(*pair, share, box) for pair, share, box in zip(pairs, mass, boxes, strict=True) if box
        )


def decode_cells(upper_left: Tensor, lower_right: Tensor, grid: int) -> Tensor:
    """`boxes.decode` of many pairs (N,) at once: (N, 4). Pairs that are no box have no area."""
    top, left = upper_left // grid, upper_left % grid
    bottom, right = lower_right // grid, lower_right % grid
    full = ((left == right) | (top == bottom)).float()
    begin, end = (1 - full) / 2, (1 + full) / 2  # cell centres, or the cells' outer edges
    return torch.stack([left + begin, top + begin, right + end, bottom + end], dim=1) / grid


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (N, 4) with boxes (M, 4): (N, M)."""
    corner = torch.maximum(a[:, None, :2], b[None, :, :2])
    shared = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - corner).clamp(min=0).prod(-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1) for boxes in (a, b))
    return shared / (area_a[:, None] + area_b[None, :] - shared).clamp(min=1e-9)

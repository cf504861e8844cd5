"""The best boxes of a phrase, with honest scores.

A box is two location tokens, and the likeliest first token need not begin the best box. So the first
corners that carry most of the probability are each tried, and the pairs are judged together. A box's mass
is the probability of all pairs that overlap it by half or more: the probability of one pair alone says
little, since neighbouring pairs mean the same box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kosmos2_core.boxes import decode, suppress
from kosmos2_core.branches import Branches
from kosmos2_core.grammar import legal_corners
from kosmos2_core.tokenizer import Control

RIGHT = 0.5 - 1e-6  # the IoU from which a box counts as the same; many pairs meet 0.5 exactly
CANDIDATES = 64  # pairs that are judged, the likeliest ones


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


@dataclass(frozen=True, slots=True)
class FoundBox:
    upper_left: int
    lower_right: int
    mass: float  # probability that a box said here is this one


@dataclass(frozen=True, slots=True)
class Found:
    presence: float  # probability that a box is said at all
    boxes: tuple[FoundBox, ...]  # best first


def search_boxes(
    branches: Branches,
    control: Control,
    search: Search,
    given: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> list[Found]:
    """For each branch, whose last two tokens are `</phrase><object>`: its best boxes, or the given ones, in
    their order. What is known after each of the two tells presence and first corners, so that a box costs
    one step more."""
    presence = branches.logits[:, 0].float().softmax(-1)[:, control.object].tolist()
    first = _shares(branches.logits[:, 1], control, search)  # (N, cells)
    corners = [_likely(row, search) for row in first]
    joint = _joint(branches, control, first, corners, search)
    judged = [
        _Pairs(cells, shares.flatten(), control.grid) for cells, shares in zip(corners, joint, strict=True)
    ]
    found = [
        pairs.best(search) if given is None else pairs.judge(given[row]) for row, pairs in enumerate(judged)
    ]
    return [Found(here, boxes) for here, boxes in zip(presence, found, strict=True)]


def _shares(logits: Tensor, control: Control, search: Search, legal: Tensor | None = None) -> Tensor:
    """Probabilities (B, cells) of the next location token, where only these compete."""
    scores = logits[:, control.location : control.location + control.grid**2].float() / search.temperature
    return (scores if legal is None else scores.masked_fill(~legal, -torch.inf)).softmax(-1)


def _likely(shares: Tensor, search: Search) -> Tensor:
    """The first corners to try, likeliest first."""
    top = shares.topk(min(search.max_corners, len(shares)))
    enough = int((top.values.cumsum(0) < search.coverage).sum()) + 1
    return top.indices[: max(enough, min(search.count, len(top.indices)))]


def _joint(
    branches: Branches, control: Control, first: Tensor, corners: list[Tensor], search: Search
) -> list[Tensor]:
    """For each branch, the probability (corners tried, cells) of each pair."""
    rows = torch.cat([torch.full_like(cells, row) for row, cells in enumerate(corners)])
    cells = torch.cat(corners)
    parts = []
    for some, these in zip(
        torch.split(rows, search.at_once), torch.split(cells, search.at_once), strict=True
    ):
        logits = branches.step(some, these + control.location)
        legal = torch.stack([legal_corners(control.grid, cell, cells.device) for cell in these.tolist()])
        parts.append(first[some, these, None] * _shares(logits, control, search, legal))
    return list(torch.split(torch.cat(parts), [len(one) for one in corners]))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All pairs of corners that were tried for one phrase."""

    cells: Tensor  # (corners,) upper-left cells, each with all lower-right ones
    shares: Tensor  # (corners * cells,) probabilities
    grid: int

    def best(self, search: Search) -> tuple[FoundBox, ...]:
        """The boxes of most mass among the likeliest pairs, near-duplicates left out."""
        number = self.grid**2
        likely = self.shares.topk(min(CANDIDATES, int((self.shares > 0).sum()))).indices
        pairs = [(int(self.cells[at // number]), at % number) for at in likely.tolist()]
        found = {
            box: one
            for one in sorted(self.judge(pairs), key=lambda one: -one.mass)
            if (box := decode(one.upper_left, one.lower_right, self.grid))
        }
        kept = suppress(found, search.max_overlap)
        return tuple(found[box] for box in kept[: search.count])

    def judge(self, pairs: Sequence[tuple[int, int]]) -> tuple[FoundBox, ...]:
        """Each pair with the probability of all that overlap it by half or more."""
        number, device = self.grid**2, self.cells.device
        upper_left, lower_right = torch.tensor(pairs, device=device).view(-1, 2).T
        all_upper_left = self.cells.repeat_interleave(number)
        all_lower_right = torch.arange(number, device=device).repeat(len(self.cells))
        overlap = pairwise_iou(
            decode_cells(upper_left, lower_right, self.grid),
            decode_cells(all_upper_left, all_lower_right, self.grid),
        )
        mass = ((overlap >= RIGHT) * self.shares).sum(1).tolist()
        return tuple(FoundBox(*pair, share) for pair, share in zip(pairs, mass, strict=True))


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

"""The best boxes of a phrase, with honest scores.

A box is two location tokens, and the likeliest first token need not begin the best box. So the first
corners that carry most of the probability are each tried, and the pairs are judged together. A box's mass
is the probability of all pairs that overlap it by half or more: the probability of one pair alone says
little, since neighbouring pairs mean the same box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kosmos2_core.boxes import decode, suppress
from kosmos2_core.cache import StaticCache
from kosmos2_core.decoding import decode_one
from kosmos2_core.grammar import legal_corners
from kosmos2_core.model import Kosmos2
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
    rows_at_once: int = 32


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
    model: Kosmos2, cache: StaticCache, logits: Tensor, control: Control, search: Search
) -> list[Found]:
    """For each row, whose last two tokens are `</phrase><object>`, with the logits (B, 2, V) after each:
    its best boxes. Both come from one prefill, so that a box costs one step more. The cache is used up;
    with room for one token, rows that try one corner need no copy of it."""
    presence = logits[:, 0].float().softmax(-1)[:, control.object].tolist()
    first = _locations(logits[:, 1], control).softmax(-1)  # (B, cells)
    corners = [_likely(row, search) for row in first]
    joint = _joint(model, cache, control, first, corners, search.rows_at_once)
    return [
        Found(here, _best(cells, pairs, control.grid, search))
        for here, cells, pairs in zip(presence, corners, joint, strict=True)
    ]


def _locations(logits: Tensor, control: Control) -> Tensor:
    return logits[:, control.location : control.location + control.grid**2].float()


def _likely(shares: Tensor, search: Search) -> Tensor:
    """The first corners to try, likeliest first."""
    top = shares.topk(min(search.max_corners, len(shares)))
    enough = int((top.values.cumsum(0) < search.coverage).sum()) + 1
    return top.indices[: max(enough, min(search.count, len(top.indices)))]


def _joint(
    model: Kosmos2,
    cache: StaticCache,
    control: Control,
    first: Tensor,
    corners: list[Tensor],
    rows_at_once: int,
) -> list[Tensor]:
    """For each row, the probability (corners tried, cells) of each pair."""
    device = first.device
    once = all(len(cells) == 1 for cells in corners) and cache.length > cache.filled
    rows = torch.cat([torch.full_like(cells, row) for row, cells in enumerate(corners)])
    cells = torch.cat(corners)
    parts = []
    size = cache.rows if once else rows_at_once
    for some, these in zip(torch.split(rows, size), torch.split(cells, size), strict=True):
        room = cache if once else cache.copy(some, 1)
        logits = _locations(decode_one(model, room, these + control.location), control)
        legal = torch.stack([legal_corners(control.grid, cell, device) for cell in these.tolist()])
        second = logits.masked_fill(~legal, -torch.inf).softmax(-1)
        parts.append(first[some, these, None] * second)
    return list(torch.split(torch.cat(parts), [len(one) for one in corners]))


def _best(cells: Tensor, joint: Tensor, grid: int, search: Search) -> tuple[FoundBox, ...]:
    """The boxes of most mass among the likeliest pairs, near-duplicates left out."""
    flat = joint.flatten()
    boxes = decode_cells(
        cells.repeat_interleave(grid * grid),
        torch.arange(grid * grid, device=cells.device).repeat(len(cells)),
        grid,
    )
    candidates = flat.topk(min(CANDIDATES, int((flat > 0).sum()))).indices
    overlap = pairwise_iou(boxes[candidates], boxes)  # (candidates, pairs)
    mass = ((overlap >= RIGHT) * flat).sum(1)
    order = mass.argsort(descending=True, stable=True)
    found = {}
    for place in order.tolist():
        pair = int(candidates[place])
        corner, cell = int(cells[pair // (grid * grid)]), pair % (grid * grid)
        box = decode(corner, cell, grid)
        if box is not None:
            found[box] = FoundBox(corner, cell, float(mass[place]))
    kept = suppress(found, search.max_overlap)
    return tuple(found[box] for box in kept[: search.count])


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

"""The best boxes of a phrase: which location tokens the model is asked about.

A box is two location tokens, and the likeliest first token need not begin the best box. So the first
corners that carry most of the probability are each tried, and the pairs are scored together. Where several
boxes are wanted, corners away from the boxes that were found are tried too.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from kosmos2_core.branches import Branches
from kosmos2_core.judging import Evidence, Found, Search, corners_left, enough, judge
from kosmos2_core.tokenizer import Control

MAX_STEP = 128  # first corners tried in one step of the model

T = TypeVar("T")
Parts = Generator[None, None, T]  # work in parts: yields after each of them, and returns the result


def finish(parts: Parts[T]) -> T:
    """Do all parts of the work; return its result."""
    while True:
        try:
            next(parts)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def search_boxes(branches: Branches, control: Control, searches: Sequence[Search]) -> Parts[list[Found]]:
    """The best boxes of each branch, whose last two tokens are `</phrase><object>`."""
    evidence = yield from gather(branches, control, searches)
    found = [judge(known, control.grid, search) for known, search in zip(evidence, searches, strict=True)]
    more = [
        _more_corners(known, boxes, control.grid, search)
        for known, boxes, search in zip(evidence, found, searches, strict=True)
    ]
    second = yield from _after(branches, control, more)
    for number in (number for number, corners in enumerate(more) if len(corners)):
        extended = _extended(evidence[number], more[number], second[number])
        found[number] = judge(extended, control.grid, searches[number])
    return found


def score_boxes(
    branches: Branches, control: Control, search: Search, pairs: Sequence[Sequence[tuple[int, int]]]
) -> Parts[list[Found]]:
    """The given boxes of each branch, pairs of location tokens, with scores, in their order."""
    evidence = yield from gather(branches, control, [search] * len(pairs))
    return [judge(known, control.grid, search, boxes) for known, boxes in zip(evidence, pairs, strict=True)]


def gather(branches: Branches, control: Control, searches: Sequence[Search]) -> Parts[list[Evidence]]:
    """Ask the model about each branch. What is known after a branch's last two tokens tells presence and
    first corners, so a box costs one step more; an absent phrase costs none."""
    presence = branches.logits[:, 0].float().softmax(-1)[:, control.object].tolist()
    first = _of_cells(branches.logits[:, 1], control)
    tried = [
        _likeliest(logits, search) if share >= search.min_presence else torch.empty(0, dtype=torch.long)
        for logits, share, search in zip(first, presence, searches, strict=True)
    ]
    second = yield from _after(branches, control, tried)
    return [Evidence(*known) for known in zip(presence, first, tried, second, strict=True)]


def _likeliest(logits: Tensor, search: Search) -> Tensor:
    """The first corners to try, the likeliest first."""
    probabilities = (logits / search.temperature).softmax(-1)
    likeliest = probabilities.topk(min(search.max_corners, len(probabilities)))
    return likeliest.indices[: enough(likeliest.values, search)]


def _more_corners(evidence: Evidence, found: Found, grid: int, search: Search) -> Tensor:
    """First corners to try for further boxes; none if the phrase is absent or has enough boxes."""
    if not len(evidence.tried) or len(found.boxes) >= search.count:
        return torch.empty(0, dtype=torch.long)
    return corners_left(evidence, found, grid, search)


def _extended(evidence: Evidence, corners: Tensor, second: Tensor) -> Evidence:
    return replace(
        evidence,
        tried=torch.cat([evidence.tried, corners]),
        second=torch.cat([evidence.second, second]),
    )


def _of_cells(logits: Tensor, control: Control) -> Tensor:
    """Logits (B, cells) of location tokens, copied to where they are scored: those of all tokens take much
    memory."""
    cells = logits[:, control.location : control.location + control.grid**2]
    return cells.to("cpu", torch.float32, copy=True)


def _after(branches: Branches, control: Control, tried: Sequence[Tensor]) -> Parts[list[Tensor]]:
    """For each branch, the logits (corners, cells) of the second corner after each first one."""
    numbers = torch.cat([torch.full_like(cells, number) for number, cells in enumerate(tried)])
    asked = torch.stack([numbers, torch.cat(list(tried)) + control.location]).to(branches.logits.device)
    logits = [torch.empty(0, control.grid**2)]
    for start in range(0, len(numbers), MAX_STEP):
        logits.append(_of_cells(branches.step(*asked[:, start : start + MAX_STEP]), control))
        yield
    return list(torch.split(torch.cat(logits), [len(cells) for cells in tried]))

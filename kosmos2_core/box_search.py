"""The best boxes of a phrase: what the model is asked.

A box is two location tokens, and the likeliest first token need not begin the best box. So the first
corners that carry most of the probability are each tried, and the pairs are judged together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kosmos2_core.branches import Branches
from kosmos2_core.judging import Evidence, Found, Search, enough, judge
from kosmos2_core.tokenizer import Control


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
    tried = [cells[: enough(own, search)] for cells, own in zip(ordered, shares, strict=True)]
    second = _after(branches, control, tried, search)
    return [Evidence(*one) for one in zip(presence, first, tried, second, strict=True)]


def _of_cells(logits: Tensor, control: Control) -> Tensor:
    """Logits (B, cells) of location tokens, copied to where they are judged: those of all tokens take much
    memory."""
    cells = logits[:, control.location : control.location + control.grid**2]
    return cells.to("cpu", torch.float32, copy=True)


def _after(branches: Branches, control: Control, tried: list[Tensor], search: Search) -> list[Tensor]:
    """For each branch, the logits (corners, cells) of the second corner after each first one."""
    rows = torch.cat([torch.full_like(cells, row) for row, cells in enumerate(tried)])
    asked = torch.stack([rows, torch.cat(tried) + control.location]).to(branches.logits.device)
    parts = [_of_cells(branches.step(*some), control) for some in torch.split(asked, search.at_once, dim=1)]
    return list(torch.split(torch.cat(parts), [len(cells) for cells in tried]))

"""What may follow what in generated ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kosmos2_core.tokenizer import Control


class Grammar:
    """What may follow what: phrases that close, boxes of two legal corners, nothing else of that kind.

    Control tokens other than those of phrases and boxes, and the end, are never said.
    """

    def __init__(self, control: Control, prompt: Sequence[int] = ()) -> None:
        self.control = control
        self.open_phrase = False
        self.last: tuple[int, int] = (-1, -1)
        for number in prompt:
            self.take(number)

    def take(self, number: int) -> None:
        if number in (self.control.phrase, self.control.phrase_end):
            self.open_phrase = number == self.control.phrase
        self.last = (self.last[1], number)

    def is_control(self, number: int) -> bool:
        control = self.control
        marks = (control.phrase, control.phrase_end, control.object, control.object_end, control.another)
        return number in marks or number in control.locations

    def restrict(self, scores: Tensor) -> None:
        control, (before, last) = self.control, self.last
        opening = (control.object, control.another)
        if last in opening:
            _only(scores, control, None)
        elif last in control.locations and before in opening:
            _only(scores, control, last - control.location)
        elif last in control.locations:
            kept = scores[[control.another, control.object_end]].clone()
            scores.fill_(-torch.inf)
            scores[[control.another, control.object_end]] = kept
        else:
            self.restrict_words(scores)

    def restrict_words(self, scores: Tensor) -> None:
        control = self.control
        first = control.location
        scores[first : first + control.grid**2] = -torch.inf
        banned = [control.start, control.pad, control.unknown, control.image, control.image_end]
        banned += [control.grounding, control.another, control.object_end]
        if self.last[1] != control.phrase_end:
            banned.append(control.object)
        if self.open_phrase:
            banned += [control.phrase, control.end]
            if self.last[1] == control.phrase:
                banned.append(control.phrase_end)  # a phrase has words
        else:
            banned.append(control.phrase_end)
        scores[banned] = -torch.inf


def _only(scores: Tensor, control: Control, upper_left: int | None) -> None:
    """Location tokens alone; of a lower-right corner, those not left of or above the upper-left."""
    first, last = control.location, control.location + control.grid**2
    kept = scores[first:last].clone()
    if upper_left is not None:
        kept[~legal_corners(control.grid, upper_left, scores.device)] = -torch.inf
    scores.fill_(-torch.inf)
    scores[first:last] = kept


def legal_corners(grid: int, upper_left: int, device: torch.device) -> Tensor:
    """Which cells (grid * grid,) can be the lower-right corner of a box that starts in this one."""
    top, left = divmod(upper_left, grid)
    along = torch.arange(grid, device=device)
    return ((along >= top)[:, None] & (along >= left)[None, :]).flatten()

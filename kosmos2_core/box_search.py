"""The search for the boxes of phrases, in the batch in which the model has taken in their prompts.

The hidden states at the end of a prompt give the first corners. They are tried in one step of the model,
which gives the second corner after each; `kosmos2_core.box_scoring` turns both into boxes. The functions are
generators that yield after each step of the model, so that a caller can use it for something else in between.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from kosmos2_core.box_scoring import (
    NEAR_CELLS,
    Evidence,
    PhraseBoxes,
    SearchOptions,
    corners_to_try,
    remaining_corners,
    score_boxes,
)
from kosmos2_core.packing import LAST, PackedPrompts
from kosmos2_core.presence import (
    OBJECT,
    EvidenceReader,
    PresenceWeights,
    object_log_odds,
    sigmoid,
)
from kosmos2_core.tokenizer import ControlIds

ANOTHER_BOX = 0.5  # from this probability of another box on, a phrase means several objects
MAX_STEP = 128  # first corners that are tried in one step of the model

T = TypeVar("T")
Parts = Generator[None, None, T]  # yields after each part of the work, and returns the result


def finish(parts: Generator[Any, None, T]) -> T:
    """Do all parts of the work and return its result."""
    while True:
        try:
            next(parts)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class PhrasePack:
    """The prompts of phrases in a pack, in which there may be others for the evidence about them.

    Args:
        packed: The pack.
        phrases: Indices of the phrases among all that were given.
        numbers: Numbers of their prompts in the pack.
        values: What is known of the evidence for the presence of each, by kind; `<object>` is added.
        with_object: The evidence of `<object>` is needed.
        weights: The calibrated combination of the evidence; None: presence is the probability of `<object>`.
    """

    packed: PackedPrompts
    phrases: list[int]
    numbers: list[int]
    values: list[dict[str, float]]
    with_object: bool
    weights: PresenceWeights | None

    @classmethod
    def from_packed(
        cls, packed: PackedPrompts, reader: EvidenceReader, weights: PresenceWeights | None
    ) -> PhrasePack:
        """Select the prompts of phrases in a pack."""
        first = reader.companions
        numbers = [number for number, index in enumerate(packed.indices) if index >= first]
        phrases = [packed.indices[number] - first for number in numbers]
        values = [reader.values[phrase] for phrase in phrases]
        with_object = weights is None or OBJECT in weights.weights
        return cls(packed, phrases, numbers, values, with_object, weights)

    def presences(self, odds: Sequence[float]) -> list[float]:
        """Return the presence of each phrase, given the log-odds of `<object>`; these join the evidence."""
        for values, value in zip(self.values, odds, strict=True):
            if self.with_object:
                values[OBJECT] = value
        return [
            self.weights.presence(known) if self.weights else sigmoid(known[OBJECT]) for known in self.values
        ]


def search_boxes(
    pack: PhrasePack, control: ControlIds, searches: Sequence[SearchOptions]
) -> Parts[list[PhraseBoxes]]:
    """Find the best boxes after each prompt; try more first corners where boxes are missing."""
    grid = control.grid
    evidence = yield from gather_evidence(pack, control, searches)
    found = [score_boxes(known, grid, search) for known, search in zip(evidence, searches, strict=True)]
    more = [
        _more_corners(known, boxes, grid, search)
        for known, boxes, search in zip(evidence, found, searches, strict=True)
    ]
    second = yield from _second_corners(pack.packed, pack.numbers, control, more)
    for index in (index for index, corners in enumerate(more) if len(corners)):
        extended = _extended(evidence[index], more[index], second[index])
        found[index] = score_boxes(extended, grid, searches[index])
    return found


def gather_evidence(
    pack: PhrasePack, control: ControlIds, searches: Sequence[SearchOptions]
) -> Parts[list[Evidence]]:
    """Ask the model about the phrase of each prompt.

    The hidden states of the last two tokens, `</phrase><object>`, are known from the prefill: they give the
    presence and the first corners. So a box costs one step more, and an absent phrase none.
    """
    decoder = pack.packed.model.decoder
    ends = torch.stack([pack.packed.hidden[number][-LAST:] for number in pack.numbers])
    after_phrase, after_object = ends.unbind(1)
    first = decoder.logits(after_object, control.locations).float()
    if pack.with_object:
        odds = object_log_odds(decoder.logits(after_phrase).float(), control)
    else:  # without the logits of the whole vocabulary
        odds = first.new_zeros(len(first))
    known = torch.cat([odds[:, None], first], 1).cpu()  # one wait for the device
    presence, first = pack.presences(known[:, 0].tolist()), known[:, 1:]
    tried = _corners_where_present(first, presence, searches)
    second = yield from _second_corners(pack.packed, pack.numbers, control, tried)
    return [Evidence(*known) for known in zip(presence, first, tried, second, pack.values, strict=True)]


def following_boxes(
    packed: PackedPrompts, control: ControlIds, searches: Sequence[SearchOptions]
) -> Parts[list[PhraseBoxes]]:
    """Return the box after each prompt, where another box is more probable than the end of the boxes."""
    decoder, (after_box, after_another) = packed.model.decoder, torch.stack(list(packed.hidden)).unbind(1)
    ending = decoder.logits(after_box).float()[:, [control.another, control.object_end]]
    first = decoder.logits(after_another, control.locations).float()
    known = torch.cat([ending.softmax(-1)[:, :1], first], 1).cpu()  # one wait for the device
    another, first = known[:, 0].tolist(), known[:, 1:]
    searches = [replace(search, count=1, reach=NEAR_CELLS, min_presence=ANOTHER_BOX) for search in searches]
    tried = _corners_where_present(first, another, searches)
    second = yield from _second_corners(packed, range(len(tried)), control, tried)
    evidence = [Evidence(*known) for known in zip(another, first, tried, second, strict=True)]
    return [
        score_boxes(known, control.grid, search) for known, search in zip(evidence, searches, strict=True)
    ]


def _corners_where_present(
    first: Tensor, presence: Sequence[float], searches: Sequence[SearchOptions]
) -> list[Tensor]:
    """Return the first corners to try after each prompt, given their logits; none for what is absent."""
    return [
        corners_to_try(logits, search) if value >= search.min_presence else torch.empty(0, dtype=torch.long)
        for logits, value, search in zip(first, presence, searches, strict=True)
    ]


def _more_corners(evidence: Evidence, found: PhraseBoxes, grid: int, search: SearchOptions) -> Tensor:
    """Return first corners to try for further boxes; none if the phrase is absent or has enough boxes."""
    if not len(evidence.tried) or len(found.boxes) >= search.count:
        return torch.empty(0, dtype=torch.long)
    return remaining_corners(evidence, found, grid, search)


def _extended(evidence: Evidence, corners: Tensor, second: Tensor) -> Evidence:
    """Return the evidence with further first corners that were tried."""
    return replace(
        evidence,
        tried=torch.cat([evidence.tried, corners]),
        second=torch.cat([evidence.second, second]),
    )


def _second_corners(
    packed: PackedPrompts, numbers: Sequence[int], control: ControlIds, tried: Sequence[Tensor]
) -> Parts[list[Tensor]]:
    """Return for each phrase the logits (corners, cells) of the second corner after each first one.

    Args:
        packed: The pack.
        numbers: The numbers of the phrases' prompts in it.
        control: The control tokens.
        tried: The first corners of each phrase.
    """
    owners = torch.cat([torch.full_like(cells, number) for number, cells in zip(numbers, tried, strict=True)])
    steps = torch.stack([owners, torch.cat(list(tried)) + control.location])
    logits = [torch.empty(0, control.grid**2)]
    for start in range(0, len(owners), MAX_STEP):
        prompts, ids = steps[:, start : start + MAX_STEP]
        hidden = packed.step(prompts, ids)
        logits.append(packed.model.decoder.logits(hidden, control.locations).float().cpu())
        yield
    return list(torch.split(torch.cat(logits), [len(cells) for cells in tried]))

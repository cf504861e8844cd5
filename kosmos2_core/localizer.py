"""Locate phrases: their best boxes with scores and, where it is wanted, a second and closer look.

The work is done in parts, so that whoever shares the model can do something else between two of them: the
generators here yield after each part and return what they found.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.box_scoring import (
    Evidence,
    PhraseBoxes,
    SearchOptions,
    corners_needed,
    remaining_corners,
    score_boxes,
)
from kosmos2_core.boxes import Box, cells_of_box, suppress
from kosmos2_core.calibration import MIN_PRESENCE, Calibration
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText
from kosmos2_core.images import Pixels
from kosmos2_core.packing import EncodedImages, PackedPrompts, Prefiller, prefill_packed
from kosmos2_core.prompts import Prompt, locate_prompt_ids
from kosmos2_core.requests import Locate
from kosmos2_core.tokenizer import ControlIds, Tokenizer


@dataclass(frozen=True, eq=False)
class _Phrase:
    """A phrase of a request, and how it is asked for."""

    text: str
    start: int
    end: int
    view: EncodedImages
    row: Prompt
    search: SearchOptions
    zoom: bool


@dataclass(frozen=True)
class Localizer:
    """Finds the boxes of phrases.

    Args:
        look: encodes several views in one batch.
    """

    prefiller: Prefiller
    calibration: Calibration | None
    look: Callable[[Sequence[Sequence[Pixels]]], Sequence[EncodedImages]]

    @property
    def min_presence(self) -> float:
        """The presence threshold of requests that set none."""
        return self.calibration.min_presence if self.calibration else MIN_PRESENCE

    def locate(
        self, tokenizer: Tokenizer, jobs: Sequence[tuple[EncodedImages, Locate]]
    ) -> Parts[list[Answer]]:
        """Locate the phrases of all jobs together; then look closer where that is asked for."""
        for view, request in jobs:
            if request.zoom and len(view.images) != 1:
                raise InputError(f"zoom is for one image: this view has {len(view.images)}.")
        texts = [request.grounded() for _, request in jobs]
        phrases = [
            _Phrase(
                text.words_of(phrase),
                phrase.start,
                phrase.end,
                view,
                row,
                self._search(request),
                request.zoom,
            )
            for (view, request), text in zip(jobs, texts, strict=True)
            for phrase, row in zip(text.phrases, _rows(tokenizer, view, request), strict=True)
        ]
        located = yield from self.search([phrase.row for phrase in phrases], [one.search for one in phrases])
        found = [
            make_entity(phrase.text, phrase.start, phrase.end, boxes, self.calibration)
            for phrase, boxes in zip(phrases, located, strict=True)
        ]
        zoomed = [number for number, phrase in enumerate(phrases) if phrase.zoom and found[number].boxes]
        if zoomed:
            closer = yield from self._zoom([(phrases[number], found[number]) for number in zoomed])
            for number, better in zip(zoomed, closer, strict=True):
                found[number] = better
        rest = iter(found)
        return [
            self._answer(request, text, [next(rest) for _ in text.phrases])
            for (_, request), text in zip(jobs, texts, strict=True)
        ]

    def _search(self, request: Locate) -> SearchOptions:
        search = SearchOptions(
            count=request.max_boxes,
            max_corners=request.max_corners,
            min_presence=self.min_presence if request.min_presence is None else request.min_presence,
        )
        return self._calibrated(search)

    def _calibrated(self, search: SearchOptions) -> SearchOptions:
        return self.calibration.apply_to(search) if self.calibration else search

    def _zoom(self, phrases: Sequence[tuple[_Phrase, Entity]]) -> Parts[list[Entity]]:
        """Each phrase's boxes after a closer look at the best of them."""
        crops: list[tuple[int, Box, Pixels]] = []
        for number, (phrase, entity) in enumerate(phrases):
            crop = crop_around(entity.boxes[0])
            if crop is not None:
                pixels, crop = crop_image(phrase.view.images[0], crop)
                crops.append((number, crop, pixels))
        closer = self.look([[pixels] for _, _, pixels in crops])
        yield
        asked = [phrases[number][0] for number, _, _ in crops]
        rows = [Prompt(view.features, phrase.row.ids) for view, phrase in zip(closer, asked, strict=True)]
        found = yield from self.search(rows, [replace(phrase.search, count=1) for phrase in asked])
        better = [entity for _, entity in phrases]
        for (number, crop, _), boxes in zip(crops, found, strict=True):
            first = better[number]
            second = make_entity(first.phrase, first.start, first.end, boxes, self.calibration)
            better[number] = self._surer(first, second, crop)
        return better

    def _surer(self, first: Entity, second: Entity, crop: Box) -> Entity:
        """The first answer, its best box replaced where the closer look is surer."""
        if not second.boxes or (second.boxes[0].score or 0) <= (first.boxes[0].score or 0):
            return first
        boxes = suppress((to_whole_image(second.boxes[0], crop), *first.boxes[1:]), SearchOptions.max_overlap)
        cells = tuple(cells_of_box(box, self.prefiller.control.grid) for box in boxes)
        return replace(first, boxes=tuple(boxes), cells=cells)

    def search(self, rows: Sequence[Prompt], searches: Sequence[SearchOptions]) -> Parts[list[PhraseBoxes]]:
        """The best boxes of each prompt."""
        found: dict[int, PhraseBoxes] = {}
        most = max((search.max_corners * search.count for search in searches), default=1)
        for branches in self._prefilled(rows, most):
            yield
            asked = [searches[number] for number in branches.indices]
            boxes = yield from search_boxes(branches, self.prefiller.control, asked)
            found |= zip(branches.indices, boxes, strict=True)
        return [found[number] for number in range(len(rows))]

    def evidence(self, prompts: Sequence[Prompt], options: SearchOptions) -> Parts[list[Evidence]]:
        """Return the model's evidence for each prompt; boxes are scored on it with any calibration."""
        found: dict[int, Evidence] = {}
        for packed in self._prefilled(prompts, options.max_corners):
            yield
            searches = [options] * len(packed.indices)
            evidence = yield from gather_evidence(packed, self.prefiller.control, searches)
            found |= zip(packed.indices, evidence, strict=True)
        return [found[index] for index in range(len(prompts))]

    def score(
        self, rows: Sequence[Prompt], pairs: Sequence[Sequence[tuple[int, int]]]
    ) -> Parts[list[PhraseBoxes]]:
        """Scores of the given boxes of each prompt, pairs of location tokens."""
        search = self._calibrated(SearchOptions())
        found: dict[int, PhraseBoxes] = {}
        for branches in self._prefilled(rows, search.max_corners):
            yield
            given = [pairs[number] for number in branches.indices]
            boxes = yield from score_given_boxes(branches, self.prefiller.control, search, given)
            found |= zip(branches.indices, boxes, strict=True)
        return [found[number] for number in range(len(rows))]

    def _prefilled(self, rows: Sequence[Prompt], max_corners: int) -> Iterator[PackedPrompts]:
        return prefill_packed(self.prefiller, rows, max_corners, MAX_STEP)

    def _answer(self, request: Locate, text: GroundedText, found: Sequence[Entity]) -> Answer:
        """The answer to one request: of each phrase the boxes that are sure enough."""
        entities = []
        for entity in found:
            count = sum((box.score or 0) >= request.min_score for box in entity.boxes)  # best first
            entities.append(replace(entity, boxes=entity.boxes[:count], cells=entity.cells[:count]))
        return Answer(text.text, tuple(entities), calibrated=self.calibration is not None)


def _rows(tokenizer: Tokenizer, view: EncodedImages, request: Locate) -> list[Prompt]:
    return [Prompt(view.features, ids) for ids in locate_prompt_ids(tokenizer, request)]


def make_entity(
    phrase: str, start: int, end: int, found: PhraseBoxes, calibration: Calibration | None
) -> Entity:
    """A phrase with what was found of it; a score is the probability that a box is said, and is this one."""
    probabilities = [found.presence * min(box.probability, 1.0) for box in found.boxes]
    scores = [calibration.score(one) for one in probabilities] if calibration else probabilities
    boxes = [replace(box.box, score=score) for box, score in zip(found.boxes, scores, strict=True)]
    cells = tuple((box.upper_left, box.lower_right) for box in found.boxes)
    return Entity(phrase, start, end, tuple(boxes), found.presence, cells)


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


def search_boxes(
    branches: PackedPrompts, control: ControlIds, searches: Sequence[SearchOptions]
) -> Parts[list[PhraseBoxes]]:
    """The best boxes of each branch, whose last two tokens are `</phrase><object>`."""
    evidence = yield from gather_evidence(branches, control, searches)
    found = [
        score_boxes(known, control.grid, search) for known, search in zip(evidence, searches, strict=True)
    ]
    more = [
        _more_corners(known, boxes, control.grid, search)
        for known, boxes, search in zip(evidence, found, searches, strict=True)
    ]
    second = yield from _after(branches, control, more)
    for number in (number for number, corners in enumerate(more) if len(corners)):
        extended = _extended(evidence[number], more[number], second[number])
        found[number] = score_boxes(extended, control.grid, searches[number])
    return found


def score_given_boxes(
    branches: PackedPrompts,
    control: ControlIds,
    search: SearchOptions,
    pairs: Sequence[Sequence[tuple[int, int]]],
) -> Parts[list[PhraseBoxes]]:
    """The given boxes of each branch, pairs of location tokens, with scores, in their order."""
    evidence = yield from gather_evidence(branches, control, [search] * len(pairs))
    return [
        score_boxes(known, control.grid, search, boxes) for known, boxes in zip(evidence, pairs, strict=True)
    ]


def gather_evidence(
    branches: PackedPrompts, control: ControlIds, searches: Sequence[SearchOptions]
) -> Parts[list[Evidence]]:
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


def _likeliest(logits: Tensor, search: SearchOptions) -> Tensor:
    """The first corners to try, the likeliest first."""
    probabilities = (logits / search.temperature).softmax(-1)
    likeliest = probabilities.topk(min(search.max_corners, len(probabilities)))
    return likeliest.indices[: corners_needed(likeliest.values, search)]


def _more_corners(evidence: Evidence, found: PhraseBoxes, grid: int, search: SearchOptions) -> Tensor:
    """First corners to try for further boxes; none if the phrase is absent or has enough boxes."""
    if not len(evidence.tried) or len(found.boxes) >= search.count:
        return torch.empty(0, dtype=torch.long)
    return remaining_corners(evidence, found, grid, search)


def _extended(evidence: Evidence, corners: Tensor, second: Tensor) -> Evidence:
    return replace(
        evidence,
        tried=torch.cat([evidence.tried, corners]),
        second=torch.cat([evidence.second, second]),
    )


def _of_cells(logits: Tensor, control: ControlIds) -> Tensor:
    """Logits (B, cells) of location tokens, copied to where they are scored: those of all tokens take much
    memory."""
    cells = logits[:, control.location : control.location + control.grid**2]
    return cells.to("cpu", torch.float32, copy=True)


def _after(branches: PackedPrompts, control: ControlIds, tried: Sequence[Tensor]) -> Parts[list[Tensor]]:
    """For each branch, the logits (corners, cells) of the second corner after each first one."""
    numbers = torch.cat([torch.full_like(cells, number) for number, cells in enumerate(tried)])
    asked = torch.stack([numbers, torch.cat(list(tried)) + control.location]).to(branches.logits.device)
    logits = [torch.empty(0, control.grid**2)]
    for start in range(0, len(numbers), MAX_STEP):
        logits.append(_of_cells(branches.step(*asked[:, start : start + MAX_STEP]), control))
        yield
    return list(torch.split(torch.cat(logits), [len(cells) for cells in tried]))


ROOM = 2.5  # the cut's side, in sides of the box
SMALLEST = 0.125  # a cut of less of the image shows too little of what is around
LARGEST = 0.75  # a cut of more gains nothing


def crop_around(box: Box) -> Box | None:
    """The part of the image to look at again; None where the box is too large to gain by it."""
    side = max(ROOM * max(box.x2 - box.x1, box.y2 - box.y1), SMALLEST)
    if side > LARGEST:
        return None
    x1 = min(max((box.x1 + box.x2 - side) / 2, 0.0), 1 - side)
    y1 = min(max((box.y1 + box.y2 - side) / 2, 0.0), 1 - side)
    return Box(x1, y1, min(x1 + side, 1.0), min(y1 + side, 1.0))


def crop_image(image: Pixels, part: Box) -> tuple[Pixels, Box]:
    """These pixels of an image, and the part that they really are."""
    height, width = image.shape[:2]
    x_min, y_min, x_max, y_max = map(round, part.pixels(width, height))
    x_min, y_min = min(x_min, width - 1), min(y_min, height - 1)  # at least one pixel
    x_max, y_max = max(x_max, x_min + 1), max(y_max, y_min + 1)
    real = Box(x_min / width, y_min / height, x_max / width, y_max / height)
    return image[y_min:y_max, x_min:x_max], real


def to_whole_image(box: Box, part: Box) -> Box:
    """A box of a part of the image, as a box of the whole."""
    width, height = part.x2 - part.x1, part.y2 - part.y1
    return Box(
        part.x1 + box.x1 * width,
        part.y1 + box.y1 * height,
        min(part.x1 + box.x2 * width, 1.0),
        min(part.y1 + box.y2 * height, 1.0),
        box.score,
    )

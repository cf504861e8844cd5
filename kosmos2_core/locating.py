"""Locate phrases: their best boxes with scores and, where it is wanted, a second and closer look.

The work is done in parts, so that whoever shares the model can do something else between two of them: the
generators here yield after each part and return what they found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kosmos2_core.batch import Looked, Row, Starter
from kosmos2_core.box_search import MAX_STEP, Parts, score_boxes, search_boxes
from kosmos2_core.boxes import Box, encode, suppress
from kosmos2_core.branches import Branches, start_branches
from kosmos2_core.calibration import MIN_PRESENCE, Calibration
from kosmos2_core.errors import InputError
from kosmos2_core.image import Pixels
from kosmos2_core.judging import Found, Search
from kosmos2_core.markdown import GroundedText
from kosmos2_core.results import Answer, Entity
from kosmos2_core.tasks import Locate, locate_prompts
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_core.zoom import cut, cut_around, in_whole


@dataclass(frozen=True, eq=False)
class _Phrase:
    """A phrase of a request, and how it is asked for."""

    text: str
    start: int
    end: int
    view: Looked
    row: Row
    search: Search
    zoom: bool


@dataclass(frozen=True)
class Locator:
    """Finds the boxes of phrases.

    Args:
        look: encodes several views in one batch.
    """

    starter: Starter
    calibration: Calibration | None
    look: Callable[[Sequence[Sequence[Pixels]]], Sequence[Looked]]

    @property
    def min_presence(self) -> float:
        """The presence threshold of requests that set none."""
        return self.calibration.min_presence if self.calibration else MIN_PRESENCE

    def locate(self, tokenizer: Tokenizer, jobs: Sequence[tuple[Looked, Locate]]) -> Parts[list[Answer]]:
        """Locate the phrases of all jobs together; then look closer where that is asked for."""
        for view, request in jobs:
            if request.zoom and len(view.images) != 1:
                raise InputError(f"zoom is for one image: this view has {len(view.images)}.")
        texts = [request.grounded() for _, request in jobs]
        phrases = [
            _Phrase(text.of(phrase), phrase.start, phrase.end, view, row, self._search(request), request.zoom)
            for (view, request), text in zip(jobs, texts, strict=True)
            for phrase, row in zip(text.phrases, _rows(tokenizer, view, request), strict=True)
        ]
        located = yield from self.search([phrase.row for phrase in phrases], [one.search for one in phrases])
        found = [
            entity_of(phrase.text, phrase.start, phrase.end, boxes, self.calibration)
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

    def _search(self, request: Locate) -> Search:
        search = Search(
            count=request.max_boxes,
            max_corners=request.max_corners,
            min_presence=self.min_presence if request.min_presence is None else request.min_presence,
        )
        return self._calibrated(search)

    def _calibrated(self, search: Search) -> Search:
        return self.calibration.searching(search) if self.calibration else search

    def _zoom(self, phrases: Sequence[tuple[_Phrase, Entity]]) -> Parts[list[Entity]]:
        """Each phrase's boxes after a closer look at the best of them."""
        crops: list[tuple[int, Box, Pixels]] = []
        for number, (phrase, entity) in enumerate(phrases):
            crop = cut_around(entity.boxes[0])
            if crop is not None:
                pixels, crop = cut(phrase.view.images[0], crop)
                crops.append((number, crop, pixels))
        closer = self.look([[pixels] for _, _, pixels in crops])
        yield
        asked = [phrases[number][0] for number, _, _ in crops]
        rows = [Row(view.features, phrase.row.ids) for view, phrase in zip(closer, asked, strict=True)]
        found = yield from self.search(rows, [replace(phrase.search, count=1) for phrase in asked])
        better = [entity for _, entity in phrases]
        for (number, crop, _), boxes in zip(crops, found, strict=True):
            first = better[number]
            second = entity_of(first.phrase, first.start, first.end, boxes, self.calibration)
            better[number] = self._surer(first, second, crop)
        return better

    def _surer(self, first: Entity, second: Entity, crop: Box) -> Entity:
        """The first answer, its best box replaced where the closer look is surer."""
        if not second.boxes or (second.boxes[0].score or 0) <= (first.boxes[0].score or 0):
            return first
        boxes = suppress((in_whole(second.boxes[0], crop), *first.boxes[1:]), Search.max_overlap)
        cells = tuple(encode(box, self.starter.control.grid) for box in boxes)
        return replace(first, boxes=tuple(boxes), cells=cells)

    def search(self, rows: Sequence[Row], searches: Sequence[Search]) -> Parts[list[Found]]:
        """The best boxes of each prompt."""
        found: dict[int, Found] = {}
        most = max((search.max_corners * search.count for search in searches), default=1)
        for branches in self._prefilled(rows, most):
            yield
            asked = [searches[number] for number in branches.places]
            boxes = yield from search_boxes(branches, self.starter.control, asked)
            found |= zip(branches.places, boxes, strict=True)
        return [found[number] for number in range(len(rows))]

    def score(self, rows: Sequence[Row], pairs: Sequence[Sequence[tuple[int, int]]]) -> Parts[list[Found]]:
        """Scores of the given boxes of each prompt, pairs of location tokens."""
        search = self._calibrated(Search())
        found: dict[int, Found] = {}
        for branches in self._prefilled(rows, search.max_corners):
            yield
            given = [pairs[number] for number in branches.places]
            boxes = yield from score_boxes(branches, self.starter.control, search, given)
            found |= zip(branches.places, boxes, strict=True)
        return [found[number] for number in range(len(rows))]

    def _prefilled(self, rows: Sequence[Row], max_corners: int) -> Iterator[Branches]:
        return start_branches(self.starter, rows, max_corners, MAX_STEP)

    def _answer(self, request: Locate, text: GroundedText, found: Sequence[Entity]) -> Answer:
        """The answer to one request: of each phrase the boxes that are sure enough."""
        entities = []
        for entity in found:
            count = sum((box.score or 0) >= request.min_score for box in entity.boxes)  # best first
            entities.append(replace(entity, boxes=entity.boxes[:count], cells=entity.cells[:count]))
        return Answer(text.text, tuple(entities), calibrated=self.calibration is not None)


def _rows(tokenizer: Tokenizer, view: Looked, request: Locate) -> list[Row]:
    return [Row(view.features, ids) for ids in locate_prompts(tokenizer, request)]


def entity_of(phrase: str, start: int, end: int, found: Found, calibration: Calibration | None) -> Entity:
    """A phrase with what was found of it; a score is the probability that a box is said, and is this one."""
    probabilities = [found.presence * min(box.mass, 1.0) for box in found.boxes]
    scores = [calibration.score(one) for one in probabilities] if calibration else probabilities
    boxes = [replace(box.box, score=score) for box, score in zip(found.boxes, scores, strict=True)]
    cells = tuple((box.upper_left, box.lower_right) for box in found.boxes)
    return Entity(phrase, start, end, tuple(boxes), found.presence, cells)

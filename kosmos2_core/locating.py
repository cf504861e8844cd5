"""Locating: each phrase's best boxes, with scores; where it is wanted, after a second, closer look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kosmos2_core.batch import Looked, Row, Starter
from kosmos2_core.box_search import search_boxes
from kosmos2_core.boxes import Box, encode, suppress
from kosmos2_core.branches import start_branches
from kosmos2_core.calibration import Calibration
from kosmos2_core.errors import InputError
from kosmos2_core.image import Pixels
from kosmos2_core.judging import Found, Search
from kosmos2_core.markdown import GroundedText
from kosmos2_core.results import Answer, Entity
from kosmos2_core.tasks import Locate, locate_prompts
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_core.zoom import cut, cut_around, in_whole


@dataclass(frozen=True)
class Locator:
    starter: Starter
    calibration: Calibration | None
    look: Callable[[Sequence[Sequence[Pixels]]], Sequence[Looked]]  # several views in one batch

    def locate(self, tokenizer: Tokenizer, jobs: Sequence[tuple[Looked, Locate]]) -> list[Answer]:
        """All phrases of all jobs in one batch; then those to zoom in on, in another."""
        texts = [ask.grounded() for _, ask in jobs]
        prompts = [locate_prompts(tokenizer, ask) for _, ask in jobs]
        rows = [Row(view.features, ids) for (view, _), own in zip(jobs, prompts, strict=True) for ids in own]
        search = Search(
            count=max((ask.max_boxes for _, ask in jobs), default=1),
            max_corners=max((ask.max_corners for _, ask in jobs), default=1),
        )
        phrases = [(text.of(phrase), phrase.start, phrase.end) for text in texts for phrase in text.phrases]
        found = [
            entity_of(*phrase, one, self.calibration)
            for phrase, one in zip(phrases, self.search(rows, search), strict=True)
        ]
        asks = [(view, ask) for (view, ask), own in zip(jobs, prompts, strict=True) for _ in own]
        zoomed = [place for place, (view, ask) in enumerate(asks) if ask.zoom and found[place].boxes]
        closer = self._zoom([(asks[at][0], rows[at], found[at]) for at in zoomed], search)
        for place, better in zip(zoomed, closer, strict=True):
            found[place] = better
        rest = iter(found)
        return [
            self._located(ask, text, [next(rest) for _ in text.phrases])
            for (_, ask), text in zip(jobs, texts, strict=True)
        ]

    def _zoom(self, looks: Sequence[tuple[Looked, Row, Entity]], search: Search) -> list[Entity]:
        """Each phrase's boxes after a closer look at the best of them."""
        parts: list[tuple[int, Box, Pixels]] = []
        for at, (view, _, here) in enumerate(looks):
            if len(view.images) != 1:
                raise InputError(f"zoom is for one image: this view has {len(view.images)}.")
            part = cut_around(here.boxes[0])
            if part is not None:
                pixels, part = cut(view.images[0], part)
                parts.append((at, part, pixels))
        closer = self.look([[pixels] for _, _, pixels in parts])
        rows = [Row(view.features, looks[at][1].ids) for view, (at, _, _) in zip(closer, parts, strict=True)]
        better = [here for _, _, here in looks]
        for (at, part, _), one in zip(parts, self.search(rows, replace(search, count=1)), strict=True):
            here = better[at]
            closest = entity_of(here.phrase, here.start, here.end, one, self.calibration)
            better[at] = self._closer(here, closest, part)
        return better

    def _closer(self, here: Entity, closer: Entity, part: Box) -> Entity:
        """The first answer, its best box replaced where the closer look is surer."""
        if not closer.boxes or (closer.boxes[0].score or 0) <= (here.boxes[0].score or 0):
            return here
        box = in_whole(closer.boxes[0], part)
        kept = suppress((box, *here.boxes[1:]), Search.max_overlap)
        return replace(
            here, boxes=tuple(kept), cells=tuple(encode(one, self.starter.control.grid) for one in kept)
        )

    def search(
        self, rows: Sequence[Row], search: Search, given: Sequence[Sequence[tuple[int, int]]] | None = None
    ) -> list[Found]:
        if self.calibration:
            search = self.calibration.searching(search)
        found: dict[int, Found] = {}
        for branches in start_branches(self.starter, rows, search.max_corners, search.at_once):
            judged = None if given is None else [given[place] for place in branches.places]
            here = search_boxes(branches, self.starter.control, search, judged)
            found |= zip(branches.places, here, strict=True)
        return [found[place] for place in range(len(rows))]

    def _located(self, ask: Locate, text: GroundedText, found: Sequence[Entity]) -> Answer:
        """The answer to one request: of each phrase as many boxes as are wanted and sure enough."""
        entities = []
        for here in found:
            good = sum((box.score or 0) >= ask.min_score for box in here.boxes[: ask.max_boxes])
            entities.append(replace(here, boxes=here.boxes[:good], cells=here.cells[:good]))  # best first
        return Answer(text.text, tuple(entities), calibrated=self.calibration is not None)


def entity_of(phrase: str, start: int, end: int, found: Found, calibration: Calibration | None) -> Entity:
    """A phrase with what was found of it; a score is the probability that a box is said, and is this one."""
    probabilities = [found.presence * min(one.mass, 1.0) for one in found.boxes]
    scores = [calibration.score(one) for one in probabilities] if calibration else probabilities
    boxes = [replace(one.box, score=score) for one, score in zip(found.boxes, scores, strict=True)]
    cells = tuple((one.upper_left, one.lower_right) for one in found.boxes)
    return Entity(phrase, start, end, tuple(boxes), found.presence, cells)

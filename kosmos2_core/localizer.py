"""Locating: find the best boxes of phrases, with scores and, on request, a zoomed second look.

The model names a box by two location tokens, and the likeliest first token need not begin the best box. So
first corners are tried until they, with those near them, carry most of the probability, and all pairs are
scored together (`kosmos2_core.box_scoring`). Where several boxes are wanted, corners away from the boxes that
were found are tried too.

The work is done in parts, so that a caller can use the model for something else in between: the generators
yield after each pass through the model and return their result at the end; `finish` runs them through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.box_scoring import (
    NEAR_CELLS,
    Evidence,
    PhraseBoxes,
    ScoredBox,
    SearchOptions,
    cell_probabilities,
    score_boxes,
)
from kosmos2_core.box_search import (
    MAX_STEP,
    Parts,
    PhrasePack,
    following_boxes,
    gather_evidence,
    search_boxes,
)
from kosmos2_core.boxes import Box, iou
from kosmos2_core.calibration import MIN_PRESENCE, Calibration
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText
from kosmos2_core.images import Pixels
from kosmos2_core.packing import EncodedImages, Prefiller, distinct
from kosmos2_core.presence import (
    EvidenceOptions,
    EvidenceReader,
    check_evidence,
)
from kosmos2_core.prompts import Prompt, locate_prompt_ids
from kosmos2_core.requests import Locate
from kosmos2_core.tokenizer import ControlIds, Tokenizer
from kosmos2_core.zoom import crop_around, crop_image, replace_best_box

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _PhraseQuery:
    """A phrase of a request, and how it is searched for."""

    phrase: str
    start: int
    end: int
    view: EncodedImages
    prompt: Prompt
    search: SearchOptions
    zoom: bool


@dataclass
class _BoxSet:
    """The boxes of a phrase that may mean several objects, in the order in which the model gives them.

    Args:
        search: How the phrase is searched for.
        boxes: The boxes so far.
        likelihood: Probability that the phrase has so many boxes, given that it has one.
    """

    search: SearchOptions
    boxes: list[ScoredBox]
    likelihood: float = 1.0

    def prompt_after(self, prompt: Prompt, control: ControlIds) -> Prompt:
        """Return the prompt with the boxes after it, and the token that says that another one follows."""
        ids = list(prompt.ids)
        for box in self.boxes:
            ids += [control.location + box.upper_left, control.location + box.lower_right, control.another]
        return Prompt(prompt.images, ids)

    def add(self, following: PhraseBoxes) -> bool:
        """Add the box that follows, if there is one. Return whether more can follow it."""
        for box in following.boxes:
            if any(iou(box.box, other.box) > self.search.max_overlap for other in self.boxes):
                return False
            self.likelihood *= following.presence
            self.boxes.append(replace(box, probability=self.likelihood * box.probability))
            return len(self.boxes) < self.search.count
        return False

    @property
    def ranked(self) -> tuple[ScoredBox, ...]:
        """The boxes, the most probable first."""
        return tuple(sorted(self.boxes, key=lambda box: -box.probability))


@dataclass(frozen=True)
class Localizer:
    """Finds and scores the boxes of phrases.

    Args:
        prefiller: Takes prompts in.
        tokenizer: The model's tokenizer.
        calibration: The checkpoint's calibration; None: scores are the model's probabilities.
        encode: Encodes the images of several views in one batch, for zooming.

    Raises:
        ModelError: The calibration uses evidence that this tokenizer cannot give.
    """

    prefiller: Prefiller
    tokenizer: Tokenizer
    calibration: Calibration | None
    encode: Callable[[Sequence[Sequence[Pixels]]], Sequence[EncodedImages]]

    def __post_init__(self) -> None:
        check_evidence(self.evidence_options, self.tokenizer)

    @property
    def evidence_options(self) -> EvidenceOptions:
        """The evidence that the presence of phrases follows from."""
        weights = self.calibration.presence if self.calibration else None
        return weights.options if weights else EvidenceOptions()

    @property
    def min_presence(self) -> float:
        """The presence threshold of requests that set none."""
        return self.calibration.min_presence if self.calibration else MIN_PRESENCE

    @property
    def control(self) -> ControlIds:
        """The control tokens of the model's tokenizer."""
        return self.prefiller.control

    def locate(self, jobs: Sequence[tuple[EncodedImages, Locate]]) -> Parts[list[Answer]]:
        """Answer requests about views, all in one batch; then zoom where a request asks for it.

        Raises:
            InputError: A request wants zoom in a view that is not one image, or names nothing to locate.
        """
        for view, request in jobs:
            if request.zoom and len(view.images) != 1:
                raise InputError(f"zoom is for one image: this view has {len(view.images)}.")
        texts = [request.grounded() for _, request in jobs]
        queries = [
            query
            for (view, request), text in zip(jobs, texts, strict=True)
            for query in self._queries(view, request, text)
        ]
        boxes = yield from self.search(
            [query.prompt for query in queries], [query.search for query in queries]
        )
        boxes = yield from self._complete_sets(queries, boxes)
        entities = [
            make_entity(query.phrase, query.start, query.end, phrase_boxes, self.calibration)
            for query, phrase_boxes in zip(queries, boxes, strict=True)
        ]
        zoomed = [index for index, query in enumerate(queries) if query.zoom and entities[index].boxes]
        if zoomed:
            closer = yield from self._zoom([(queries[index], entities[index]) for index in zoomed])
            for index, entity in zip(zoomed, closer, strict=True):
                entities[index] = entity
        remaining = iter(entities)
        return [
            self._answer(request, text, [next(remaining) for _ in text.phrases])
            for (_, request), text in zip(jobs, texts, strict=True)
        ]

    def search(
        self, prompts: Sequence[Prompt], searches: Sequence[SearchOptions]
    ) -> Parts[list[PhraseBoxes]]:
        """Return the best boxes after each prompt, which ends with `</phrase><object>`.

        Equal searches after equal prompts are done once.
        """
        chosen, numbers = distinct(
            (prompt.key, search) for prompt, search in zip(prompts, searches, strict=True)
        )

        def work(pack: PhrasePack) -> Parts[list[PhraseBoxes]]:
            return search_boxes(pack, self.control, [searches[chosen[index]] for index in pack.phrases])

        corners = max((search.max_corners * search.count for search in searches), default=1)
        chosen_prompts = [prompts[index] for index in chosen]
        found = yield from self._for_each_pack(chosen_prompts, corners, None, work)
        return [found[number] for number in numbers]

    def score(
        self, prompts: Sequence[Prompt], pairs: Sequence[Sequence[tuple[int, int]]]
    ) -> Parts[list[PhraseBoxes]]:
        """Return the given boxes after each prompt, pairs of cells, with their probabilities."""
        search = self._calibrated(SearchOptions(reach=0))  # the boxes are given: none is searched around
        evidence = yield from self.evidence(prompts, search)
        grid = self.control.grid
        return [score_boxes(known, grid, search, given) for known, given in zip(evidence, pairs, strict=True)]

    def evidence(
        self, prompts: Sequence[Prompt], search: SearchOptions, options: EvidenceOptions | None = None
    ) -> Parts[list[Evidence]]:
        """Return the model's output about the phrase that each prompt ends with: its presence and place.

        Boxes can be scored on it with any calibration. Equal prompts have the same evidence.

        Args:
            prompts: The prompts, which end with `</phrase><object>`.
            search: Which corners are tried.
            options: The evidence for presence, which is then the probability of `<object>` itself; None: the
                evidence and the presence of the calibration.
        """
        chosen, numbers = distinct(prompt.key for prompt in prompts)

        def work(pack: PhrasePack) -> Parts[list[Evidence]]:
            return gather_evidence(pack, self.control, [search] * len(pack.phrases))

        found = yield from self._for_each_pack(
            [prompts[index] for index in chosen], search.max_corners, options, work
        )
        return [found[number] for number in numbers]

    def cell_probabilities(self, view: EncodedImages, request: Locate) -> Parts[list[Tensor]]:
        """Return for each phrase (grid, grid) the probability of each cell that its box covers it."""
        queries = self._queries(view, request, request.grounded())
        search = self._calibrated(SearchOptions(reach=0, max_corners=request.max_corners))
        prompts = [query.prompt for query in queries]
        evidence = yield from self.evidence(prompts, search)
        return [cell_probabilities(known, self.control.grid, search) for known in evidence]

    def _for_each_pack(
        self,
        prompts: Sequence[Prompt],
        corners: int,
        options: EvidenceOptions | None,
        work: Callable[[PhrasePack], Parts[list[T]]],
    ) -> Parts[list[T]]:
        """Take prompts in and do the work for those in each pack; return the results in the prompts' order.

        Args:
            prompts: The prompts.
            corners: Number of first corners that are tried for one prompt in a step.
            options: The evidence for presence, see `evidence`.
            work: Returns one result for each phrase of a pack.
        """
        weights = self.calibration.presence if self.calibration and options is None else None
        evidence = options or self.evidence_options
        reader = EvidenceReader(self.prefiller.model, self.tokenizer, prompts, evidence)
        results: dict[int, T] = {}
        taken = self.prefiller.prefill_packed(
            [known.prompt for known in reader.prompts],
            corners,
            MAX_STEP,
            [known.last for known in reader.prompts],
        )
        for packed in taken:
            yield
            reader.read(packed)
            pack = PhrasePack.from_packed(packed, reader, weights)
            if pack.phrases:
                results |= zip(pack.phrases, (yield from work(pack)), strict=True)
        return [results[index] for index in range(len(prompts))]

    def _complete_sets(
        self, queries: Sequence[_PhraseQuery], found: Sequence[PhraseBoxes]
    ) -> Parts[list[PhraseBoxes]]:
        """Give phrases that mean several objects, such as `the red mugs`, one box for each of them.

        The model says that a phrase means several by the token for another box after the first one. Each
        further box is searched for after those before it, until the model gives no other box.
        """
        sets = {
            index: _BoxSet(query.search, [boxes.boxes[0]])
            for index, (query, boxes) in enumerate(zip(queries, found, strict=True))
            if query.search.count > 1 and boxes.boxes
        }
        growing = list(sets)
        while growing:
            prompts = [sets[index].prompt_after(queries[index].prompt, self.control) for index in growing]
            following = yield from self._search_following(prompts, [sets[index].search for index in growing])
            growing = [
                index for index, boxes in zip(growing, following, strict=True) if sets[index].add(boxes)
            ]
        return [
            replace(boxes, boxes=sets[index].ranked)
            if index in sets and len(sets[index].boxes) > 1
            else boxes
            for index, boxes in enumerate(found)
        ]

    def _search_following(
        self, prompts: Sequence[Prompt], searches: Sequence[SearchOptions]
    ) -> Parts[list[PhraseBoxes]]:
        """Return the box that follows each prompt, which ends with a box and the token for another one.

        The presence is the probability that there is another box; if it is low, there is none in the result.
        """
        results: dict[int, PhraseBoxes] = {}
        corners = max(search.max_corners for search in searches)
        for packed in self.prefiller.prefill_packed(prompts, corners, MAX_STEP):
            yield
            chosen = [searches[index] for index in packed.indices]
            following = yield from following_boxes(packed, self.control, chosen)
            results |= zip(packed.indices, following, strict=True)
        return [results[index] for index in range(len(prompts))]

    def _queries(self, view: EncodedImages, request: Locate, text: GroundedText) -> list[_PhraseQuery]:
        search = self._calibrated(
            SearchOptions(
                count=request.max_boxes,
                reach=NEAR_CELLS if request.max_boxes == 1 else 0,  # several boxes may begin near each other
                max_corners=request.max_corners,
                min_presence=self.min_presence if request.min_presence is None else request.min_presence,
            )
        )
        prompts = [Prompt(view.features, ids) for ids in locate_prompt_ids(self.tokenizer, request)]
        return [
            _PhraseQuery(
                *(text.words_of(phrase), phrase.start, phrase.end), view, prompt, search, request.zoom
            )
            for phrase, prompt in zip(text.phrases, prompts, strict=True)
        ]

    def _calibrated(self, search: SearchOptions) -> SearchOptions:
        return self.calibration.apply_to(search) if self.calibration else search

    def _answer(self, request: Locate, text: GroundedText, entities: Sequence[Entity]) -> Answer:
        """Return the answer to a request, without boxes below its minimum score."""
        kept = []
        for entity in entities:
            count = sum((box.score or 0) >= request.min_score for box in entity.boxes)  # best first
            kept.append(replace(entity, boxes=entity.boxes[:count], cells=entity.cells[:count]))
        calibrated = self.calibration is not None
        return Answer(text.text, tuple(kept), calibrated=calibrated, evidence=self.evidence_options.kinds)

    def _zoom(self, found: Sequence[tuple[_PhraseQuery, Entity]]) -> Parts[list[Entity]]:
        """Search again in a crop around the best box of each phrase; return the better entities."""
        crops: list[tuple[int, Box, Pixels]] = []  # index, part of the image, pixels
        for index, (query, entity) in enumerate(found):
            part = crop_around(entity.boxes[0])
            if part is not None:
                pixels, part = crop_image(query.view.images[0], part)
                crops.append((index, part, pixels))
        views = self.encode([[pixels] for _, _, pixels in crops])
        yield
        queries = [found[index][0] for index, _, _ in crops]
        prompts = [
            Prompt(view.features, query.prompt.ids) for view, query in zip(views, queries, strict=True)
        ]
        boxes = yield from self.search(prompts, [replace(query.search, count=1) for query in queries])
        better = [entity for _, entity in found]
        for (index, part, _), phrase_boxes in zip(crops, boxes, strict=True):
            first = better[index]
            second = make_entity(first.phrase, first.start, first.end, phrase_boxes, self.calibration)
            better[index] = replace_best_box(first, second, part, self.control.grid)
        return better


def make_entity(
    phrase: str, start: int, end: int, found: PhraseBoxes, calibration: Calibration | None
) -> Entity:
    """Make an entity of a phrase and its boxes.

    The score of a box is the probability that the phrase gets a box, times the probability that it is this
    one, after the calibration.
    """
    probabilities = [found.presence * min(box.probability, 1.0) for box in found.boxes]
    scores = [calibration.score(value) for value in probabilities] if calibration else probabilities
    boxes = [replace(box.box, score=score) for box, score in zip(found.boxes, scores, strict=True)]
    cells = tuple((box.upper_left, box.lower_right) for box in found.boxes)
    return Entity(phrase, start, end, tuple(boxes), found.presence, cells)

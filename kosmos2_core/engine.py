"""The one door: images and requests in, answers out.

    engine = Engine.load("models/tabletop-tiny")
    view = engine.look(image)                                  # the image is encoded once
    answer, = view.run(Locate("put [the red mug] into [the bowl]"))
    answer.phrases[0].boxes[0]

Everything asked in one call is one batch: images are encoded together, each image's prefix is computed
once, and all prompts that share it start from a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from kosmos2_core.box_search import Found, Search, search_boxes
from kosmos2_core.boxes import Box, decode
from kosmos2_core.cache import StaticCache
from kosmos2_core.decoding import Decoding, check_length, extend, generate, make_cache, pad_left, prefill
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.hub import checkpoint_folder
from kosmos2_core.image import Source, load_image, preprocess
from kosmos2_core.markdown import GroundedText
from kosmos2_core.model import Kosmos2
from kosmos2_core.results import Answer, Entity
from kosmos2_core.tasks import IMAGE, Generating, Locate, Request, locate_prompts, prompt_of
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_core.tokens import parse_ids
from kosmos2_core.weights import load_model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT = Decoding()
MAX_ROWS = 64  # in one batch; bounds the memory for keys and values


@dataclass(frozen=True, eq=False)
class View:
    """Images that were looked at: their tokens in the decoder, and what asks about them."""

    engine: Engine
    features: tuple[Tensor, ...]  # (queries, D) each

    def run(self, *requests: Request, decoding: Decoding = DEFAULT) -> list[Answer]:
        return self.engine.run([(self, request) for request in requests], decoding)


@dataclass(frozen=True)
class _Row:
    """One prompt of the batch: what is before it, and its ids with IMAGE where the view's next image is."""

    view: View
    ids: list[int]

    @property
    def leading(self) -> int:
        """Images that the prompt does not place: they come first."""
        return len(self.view.features) - self.ids.count(IMAGE)


@dataclass(frozen=True)
class _Started:
    """A batch of prompts, taken in."""

    cache: StaticCache
    logits: Tensor  # (B, last, V) after the last tokens
    prompts: list[list[int]]


class Engine:
    def __init__(self, model: Kosmos2, tokenizer: Tokenizer) -> None:
        if tokenizer.size > model.config.text_config.vocab_size:
            raise ModelError(
                f"the tokenizer has {tokenizer.size} ids, the model {model.config.text_config.vocab_size}:"
                " they are not of one checkpoint."
            )
        self.model, self.tokenizer, self.control = model, tokenizer, tokenizer.control

    @classmethod
    def load(
        cls,
        name: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        offline: bool = False,
    ) -> Engine:
        """An engine of a checkpoint: its folder, or its name on the hub. auto: the GPU where there is one,
        in bfloat16; else the checkpoint's precision on the CPU."""
        if dtype not in ("auto", *DTYPES):
            raise InputError(f"dtype {dtype} is not known: say auto, {', '.join(DTYPES)}.")
        cuda = torch.cuda.is_available()
        if device.startswith("cuda") and not cuda:
            raise InputError(f"device {device} is not there: torch {torch.__version__} sees no GPU; say cpu.")
        try:
            chosen = torch.device(("cuda" if cuda else "cpu") if device == "auto" else device)
        except RuntimeError:
            raise InputError(f"device {device} is not known: say auto, cpu, cuda or cuda:1.") from None
        precision = torch.bfloat16 if dtype == "auto" and chosen.type == "cuda" else DTYPES.get(dtype)
        folder = checkpoint_folder(name, revision, offline)
        return cls(load_model(folder, chosen, precision), Tokenizer.load(folder))

    @torch.inference_mode()
    def look(self, *images: Source) -> View:
        """Encode images, in one batch; several are one prompt's, in this order."""
        if not images:
            return View(self, ())
        size = self.model.config.vision_config.image_size
        pixels = torch.stack([preprocess(load_image(image), size) for image in images])
        return View(self, tuple(self.model.encode(pixels.to(self.device))))

    @property
    def device(self) -> torch.device:
        return self.model.decoder.embedding.weight.device

    @torch.inference_mode()
    def run(self, jobs: Sequence[tuple[View, Request]], decoding: Decoding = DEFAULT) -> list[Answer]:
        """Answer many requests about many views in as few batches as there are kinds of them."""
        answers: dict[int, Answer] = {}
        located = [(at, view, ask) for at, (view, ask) in enumerate(jobs) if isinstance(ask, Locate)]
        asked = [(at, view, ask) for at, (view, ask) in enumerate(jobs) if not isinstance(ask, Locate)]
        prompts = [locate_prompts(self.tokenizer, ask) for _, _, ask in located]
        rows = [_Row(view, ids) for (_, view, _), own in zip(located, prompts, strict=True) for ids in own]
        boxes = max((ask.max_boxes for _, _, ask in located), default=1)
        corners = max((ask.max_corners for _, _, ask in located), default=1)
        found = iter(self._search(rows, Search(count=boxes, max_corners=corners)))
        for at, _, ask in located:
            text = ask.grounded()
            answers[at] = self._located(ask, text, [next(found) for _ in text.phrases])
        said = self._generate(
            [_Row(view, prompt_of(self.tokenizer, ask)) for _, view, ask in asked], decoding
        )
        for (at, _, _), (ids, finished) in zip(asked, said, strict=True):
            answers[at] = self._said(ids, finished)
        return [answers[at] for at in range(len(jobs))]

    @torch.inference_mode()
    def stream(self, view: View, request: Generating, decoding: Decoding = DEFAULT) -> Iterator[Answer]:
        """The answer so far, after each token; stop asking to cancel."""
        row = _Row(view, prompt_of(self.tokenizer, request))
        [(_, started)] = self._start([row], decoding.max_new_tokens)
        ids: list[int] = []
        for [number] in self._steps(started, decoding):
            if number is None:
                yield self._said(ids, finished=True)
                return
            ids.append(number)
            yield self._said(ids, finished=False)

    def _search(self, rows: Sequence[_Row], search: Search) -> list[Found]:
        found: dict[int, Found] = {}
        for places, at in self._start(rows, more=1, last=2):
            here = search_boxes(self.model, at.cache, at.logits, self.control, search)
            found |= zip(places, here, strict=True)
        return [found[place] for place in range(len(rows))]

    def _generate(self, rows: Sequence[_Row], decoding: Decoding) -> list[tuple[list[int], bool]]:
        said: dict[int, tuple[list[int], bool]] = {}
        for places, started in self._start(rows, decoding.max_new_tokens):
            steps = list(self._steps(started, decoding))
            for place, row in zip(places, zip(*steps, strict=True), strict=True):
                ids = [number for number in row if number is not None]
                said[place] = ids, len(ids) < len(row)
        return [said[place] for place in range(len(rows))]

    def _steps(self, at: _Started, decoding: Decoding) -> Iterator[list[int | None]]:
        return generate(self.model, at.cache, at.logits[:, -1], self.control, decoding, at.prompts)

    def _start(self, rows: Sequence[_Row], more: int, last: int = 1) -> Iterator[tuple[list[int], _Started]]:
        """Prefill rows, batch by batch: their places, and where they stand, with room for `more` tokens
        and the logits after the `last` ones. A batch has one number of leading images."""
        if any(row.leading < 0 for row in rows):
            raise InputError("the prompt has more places for images than there are images: give one each.")
        order = sorted(range(len(rows)), key=lambda place: rows[place].leading)
        for leading, group in groupby(order, key=lambda place: rows[place].leading):
            alike = list(group)
            for start in range(0, len(alike), MAX_ROWS):
                places = alike[start : start + MAX_ROWS]
                yield places, self._start_batch([rows[place] for place in places], leading, more, last)

    def _start_batch(self, rows: Sequence[_Row], leading: int, more: int, last: int) -> _Started:
        views = list(dict.fromkeys(row.view for row in rows))
        begin = self._ids([IMAGE] * leading, start=True)
        ends = [self._ids(row.ids) for row in rows]
        if len(views) == len(rows):  # nothing to share: one pass
            images = [image for row in rows for image in row.view.features]
            x, real = self._embed([begin + end for end in ends], images)
            cache = make_cache(self.model, len(rows), x.shape[1] + more)
            logits = prefill(self.model, cache, x, real, last)
            return _Started(cache, logits, [begin + end for end in ends])

        rest = [image for row in rows for image in row.view.features[leading:]]
        common = 0 if rest else shared_length(ends, last)
        prefix, ends = begin + ends[0][:common], [end[common:] for end in ends]
        first = [image for view in views for image in view.features[:leading]]
        shared = make_cache(self.model, len(views), len(prefix))
        extend(self.model, shared, self._embed([prefix] * len(views), first)[0])

        x, real = self._embed(ends, rest)
        check_length(self.model, len(prefix) + x.shape[1] + more)
        of_view = torch.tensor([views.index(row.view) for row in rows], device=self.device)
        cache = shared.copy(of_view, x.shape[1] + more)
        return _Started(cache, prefill(self.model, cache, x, real, last), [prefix + end for end in ends])

    def _room(self, rows: int, length: int) -> StaticCache:
        return make_cache(self.model, rows, length)

    def _ids(self, ids: Sequence[int], start: bool = False) -> list[int]:
        """With each IMAGE spelt out. Its slots carry the ids that the peer puts there."""
        unknown, queries = self.control.unknown, self.model.config.latent_query_num
        spelt = [self.control.start] if start else []
        for number in ids:
            if number == IMAGE:
                spelt += [
                    self.control.image,
                    *range(unknown + 1, unknown + 1 + queries),
                    self.control.image_end,
                ]
            else:
                spelt.append(number)
        return spelt

    def _embed(self, rows: Sequence[list[int]], images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings of rows, padded on the left, with images in their slots; and where they are real."""
        ids, real = pad_left(rows, self.control.pad, self.device)
        if not images:
            return self.model.embed(ids), real
        begins, ends = ids == self.control.image, ids == self.control.image_end
        slots = (begins.long().cumsum(1) > ends.long().cumsum(1)) & ~begins
        return self.model.embed(ids, torch.stack(list(images)), slots), real

    def _located(self, ask: Locate, text: GroundedText, found: Sequence[Found]) -> Answer:
        entities = []
        for phrase, here in zip(text.phrases, found, strict=True):
            scored = [
                (box, (one.upper_left, one.lower_right))
                for one in here.boxes[: ask.max_boxes]
                if (box := self._box(one.upper_left, one.lower_right, here.presence * min(one.mass, 1.0)))
                and (box.score or 0) >= ask.min_score
            ]
            boxes, cells = tuple(box for box, _ in scored), tuple(cell for _, cell in scored)
            entities.append(Entity(text.of(phrase), phrase.start, phrase.end, boxes, here.presence, cells))
        return Answer(text.text, tuple(entities))

    def _said(self, ids: Sequence[int], finished: bool) -> Answer:
        spoken = parse_ids(self.tokenizer, ids)
        entities = tuple(
            Entity(
                *(spoken.text[one.start : one.end], one.start, one.end),
                boxes=tuple(box for pair in one.pairs if (box := self._box(*pair))),
                cells=one.pairs,
            )
            for one in spoken.phrases
        )
        return Answer(spoken.text, entities, spoken.dropped, finished)

    def _box(self, upper_left: int, lower_right: int, score: float | None = None) -> Box | None:
        box = decode(upper_left, lower_right, self.control.grid)
        return box and Box(box.x1, box.y1, box.x2, box.y2, score)


def shared_length(rows: Sequence[Sequence[int]], left: int) -> int:
    """How many ids all rows begin with alike, some of each left over."""
    longest = max(min(map(len, rows)) - left, 0)
    return next((at for at in range(longest) if len({row[at] for row in rows}) > 1), longest)

"""The one door: images and requests in, answers out.

    engine = Engine.load("models/tabletop-tiny")
    view = engine.look(image)                                  # the image is encoded once
    answer, = view.run(Locate("put [the red mug] into [the bowl]"))
    answer.phrases[0].boxes[0]

Everything asked in one call is one batch: images are encoded together, and each image's prefix is computed
once; phrases to locate follow it as branches of one sequence, other prompts start from a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kosmos2_core.answers import Answer, Entity, Option
from kosmos2_core.beam_search import beam_search
from kosmos2_core.box_scoring import PhraseBoxes
from kosmos2_core.boxes import box_of_cells
from kosmos2_core.calibration import Calibration, read_calibration
from kosmos2_core.checkpoint import checkpoint_folder, load_model
from kosmos2_core.decoding import Decoding, generate
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.grounded_text import ParsedText, parse_ids, trailing_phrase
from kosmos2_core.images import Source, load_image, preprocess
from kosmos2_core.localizer import Localizer, Parts, finish, make_entity
from kosmos2_core.model import Kosmos2
from kosmos2_core.packing import MAX_ROWS, EncodedImages, PrefilledBatch, Prefiller
from kosmos2_core.prompts import Prompt, prompt_ids
from kosmos2_core.requests import GenerationRequest, Locate, Request, Score
from kosmos2_core.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT = Decoding()


@dataclass(frozen=True, eq=False)
class View(EncodedImages):
    """Images that were looked at, and what asks about them."""

    engine: Engine

    def run(self, *requests: Request, decoding: Decoding = DEFAULT) -> list[Answer]:
        return self.engine.run([(self, request) for request in requests], decoding)


Job = tuple[View | Sequence[Source], Request]


class Engine:
    def __init__(self, model: Kosmos2, tokenizer: Tokenizer, calibration: Calibration | None = None) -> None:
        if tokenizer.size > model.config.text_config.vocab_size:
            raise ModelError(
                f"the tokenizer has {tokenizer.size} ids, the model {model.config.text_config.vocab_size}:"
                " they are not of one checkpoint."
            )
        self.model, self.tokenizer, self.control = model, tokenizer, tokenizer.control
        self.calibration = calibration
        self.prefiller = Prefiller(model, tokenizer.control)
        self.localizer = Localizer(self.prefiller, calibration, self.look_many)

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
        chosen = choose_device(device)
        precision = torch.bfloat16 if dtype == "auto" and chosen.type == "cuda" else DTYPES.get(dtype)
        folder = checkpoint_folder(name, revision, offline)
        tokenizer, calibration = Tokenizer.load(folder), read_calibration(folder)
        return cls(load_model(folder, chosen, precision), tokenizer, calibration)

    @property
    def device(self) -> torch.device:
        return self.model.decoder.embedding.weight.device

    @property
    def min_presence(self) -> float:
        """The presence below which a phrase gets no box, unless a request says otherwise."""
        return self.localizer.min_presence

    def look(self, *images: Source) -> View:
        """Encode images, in one batch; several are one prompt's, in this order."""
        return self.look_many([images])[0]

    @torch.inference_mode()
    def look_many(self, views: Sequence[Sequence[Source]]) -> list[View]:
        """Several views, all their images in one batch."""
        loaded = [tuple(load_image(image) for image in images) for images in views]
        size = self.model.config.vision_config.image_size
        pixels = [preprocess(image, size) for images in loaded for image in images]
        batch = torch.from_numpy(np.stack(pixels)).to(self.device) if pixels else None
        features = iter(() if batch is None else self.model.encode(batch))
        return [View(images, tuple(next(features) for _ in images), self) for images in loaded]

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job], decoding: Decoding = DEFAULT) -> list[Answer]:
        """Answer many requests, each about a view or about images, in as few batches as there are kinds of
        them. Images given twice are encoded twice: look once, ask often."""
        fresh = iter(self.look_many([seen for seen, _ in jobs if not isinstance(seen, View)]))
        views = [seen if isinstance(seen, View) else next(fresh) for seen, _ in jobs]
        asked = [(at, view, ask) for at, (view, (_, ask)) in enumerate(zip(views, jobs, strict=True))]
        locate = [(at, view, ask) for at, view, ask in asked if isinstance(ask, Locate)]
        score = [(at, view, ask) for at, view, ask in asked if isinstance(ask, Score)]
        others = [(at, view, ask) for at, view, ask in asked if not isinstance(ask, Locate | Score)]
        answers = [
            *finish(self.localizer.locate(self.tokenizer, [(view, ask) for _, view, ask in locate])),
            *self._score([(view, ask) for _, view, ask in score]),
            *self._say([(view, ask) for _, view, ask in others], decoding),
        ]
        places = [at for at, _, _ in (*locate, *score, *others)]
        ordered = dict(zip(places, answers, strict=True))
        return [ordered[at] for at in range(len(jobs))]

    @torch.inference_mode()
    def locate_in_parts(self, jobs: Sequence[tuple[Sequence[Source], Locate]]) -> Parts[list[Answer]]:
        """The same answers as `run` gives, in parts: yields after each pass through the model, and returns
        the answers. Between two parts the engine can answer something else."""
        views = self.look_many([images for images, _ in jobs])
        yield
        requests = [request for _, request in jobs]
        return (yield from self.localizer.locate(self.tokenizer, list(zip(views, requests, strict=True))))

    @torch.inference_mode()
    def stream(
        self, seen: View | Sequence[Source], request: GenerationRequest, decoding: Decoding = DEFAULT
    ) -> Iterator[Answer]:
        """The answer so far, after each token, and at last all of it with scores; stop asking to cancel."""
        if decoding.beams > 1:
            raise InputError("beam search knows its answer only at the end: stream with one beam.")
        view = seen if isinstance(seen, View) else self.look(*seen)
        row = Prompt(view.features, prompt_ids(self.tokenizer, request))
        [started] = self.prefiller.prefill([row], decoding.max_new_tokens)
        lead, finished = trailing_phrase(self.control, row.ids), False
        ids: list[int] = []
        for [number] in self._steps(started, decoding):
            finished = number is None
            if number is not None:
                ids.append(number)
                yield self._answer(parse_ids(self.tokenizer, lead + ids), finished=False)
        yield self._judged([row], [(ids, finished)], decoding)[0]

    @torch.inference_mode()
    def generate_ids(self, view: View, request: GenerationRequest, decoding: Decoding = DEFAULT) -> list[int]:
        """What is said, before it is read: for comparison with other implementations."""
        row = Prompt(view.features, prompt_ids(self.tokenizer, request))
        [started] = self.prefiller.prefill([row], decoding.max_new_tokens if decoding.beams == 1 else 0)
        return self._ids_of(started, decoding)[0][0]

    # Scoring given answers.

    def _score(self, jobs: Sequence[tuple[View, Score]]) -> list[Answer]:
        rows, wanted = [], []
        for view, ask in jobs:
            prompt = prompt_ids(self.tokenizer, ask.prompt)
            for option in ask.options:
                wanted.append(self.tokenizer.encode(option))
                rows.append(Prompt(view.features, prompt + wanted[-1]))
        likely: dict[int, float] = {}
        last = max((len(ids) for ids in wanted), default=0) + 1
        for at in self.prefiller.prefill(rows, more=0, last=last, most=16):
            for row, place in enumerate(at.indices):
                ids = torch.tensor(wanted[place], device=self.device)
                shares = at.logits[row, -len(ids) - 1 : -1].float().log_softmax(-1)
                likely[place] = float(shares.gather(1, ids[:, None]).sum())
        scored = (Option("", likely[place], len(wanted[place])) for place in range(len(rows)))
        return [self._scored([replace(next(scored), text=text) for text in ask.options]) for _, ask in jobs]

    @staticmethod
    def _scored(options: list[Option]) -> Answer:
        return Answer(max(options, key=lambda one: one.mean).text, options=tuple(options))

    # Saying.

    def _say(self, jobs: Sequence[tuple[View, GenerationRequest]], decoding: Decoding) -> list[Answer]:
        rows = [Prompt(view.features, prompt_ids(self.tokenizer, ask)) for view, ask in jobs]
        said: dict[int, tuple[list[int], bool]] = {}
        beams = decoding.beams
        more = decoding.max_new_tokens if beams == 1 else 0
        for at in self.prefiller.prefill(rows, more, most=max(MAX_ROWS // beams, 1)):
            said |= zip(at.indices, self._ids_of(at, decoding), strict=True)
        return self._judged(rows, [said[place] for place in range(len(rows))], decoding)

    def _ids_of(self, at: PrefilledBatch, decoding: Decoding) -> list[tuple[list[int], bool]]:
        """Each row's ids, and whether it ended by itself."""
        if decoding.beams > 1:
            return beam_search(self.model, at.cache, at.logits[:, -1], self.control, decoding, at.prompts)
        rows = list(zip(*self._steps(at, decoding), strict=True))
        return [([number for number in row if number is not None], None in row) for row in rows]

    def _steps(self, at: PrefilledBatch, decoding: Decoding) -> Iterator[list[int | None]]:
        return generate(self.model, at.cache, at.logits[:, -1], self.control, decoding, at.prompts)

    def _judged(
        self, rows: Sequence[Prompt], said: Sequence[tuple[list[int], bool]], decoding: Decoding
    ) -> list[Answer]:
        """Answers of generated ids; their boxes get scores by asking for each phrase where it is said."""
        leads = [trailing_phrase(self.control, row.ids) for row in rows]
        spoken = [parse_ids(self.tokenizer, lead + ids) for lead, (ids, _) in zip(leads, said, strict=True)]
        found: Iterator[PhraseBoxes] = iter(())
        if decoding.scores:
            asked, given = [], []
            for row, lead, (ids, _), words in zip(rows, leads, said, spoken, strict=True):
                before = row.ids[: len(row.ids) - len(lead)]
                for phrase in words.phrases:
                    until = (lead + ids)[: phrase.closed]
                    asked.append(Prompt(row.images, [*before, *until, self.control.object]))
                    given.append(phrase.pairs)
            found = iter(finish(self.localizer.score(asked, given)))
        return [
            self._answer(words, finished, found if decoding.scores else None)
            for words, (_, finished) in zip(spoken, said, strict=True)
        ]

    def _answer(
        self, spoken: ParsedText, finished: bool, found: Iterator[PhraseBoxes] | None = None
    ) -> Answer:
        entities = []
        for one in spoken.phrases:
            named = spoken.text[one.start : one.end], one.start, one.end
            if found is None:
                boxes = tuple(box for pair in one.pairs if (box := box_of_cells(*pair, self.control.grid)))
                entities.append(Entity(*named, boxes, cells=one.pairs))
            else:
                entities.append(make_entity(*named, next(found), self.calibration))
        calibrated = found is not None and self.calibration is not None
        return Answer(
            spoken.text, tuple(entities), dropped=spoken.dropped, finished=finished, calibrated=calibrated
        )


def choose_device(name: str) -> torch.device:
    """auto: the GPU where there is one."""
    cuda = torch.cuda.is_available()
    if name.startswith("cuda") and not cuda:
        raise InputError(f"device {name} is not there: torch {torch.__version__} sees no GPU; say cpu.")
    try:
        return torch.device(("cuda" if cuda else "cpu") if name == "auto" else name)
    except RuntimeError:
        raise InputError(f"device {name} is not known: say auto, cpu, cuda or cuda:1.") from None

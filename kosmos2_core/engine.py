"""The engine: images and requests in, answers out.

    engine = Engine.load("models/tabletop-tiny")
    view = engine.look(image)                                  # the image is encoded once
    [answer] = view.run(Locate("put [the red mug] into [the bowl]"))
    answer.phrases[0].boxes[0]

All requests of one call are computed together: images are encoded in one batch, and the prefix that prompts
about an image share is computed once. Phrases to locate follow it in one packed sequence, other prompts start
from a copy (`kosmos2_core.packing`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kosmos2_core.answers import Answer, Entity, Option
from kosmos2_core.beam_search import beam_search
from kosmos2_core.box_scoring import PhraseBoxes
from kosmos2_core.box_search import Parts, finish
from kosmos2_core.calibration import Calibration, read_calibration
from kosmos2_core.checkpoint import checkpoint_folder, is_quantized, load_model, tensor_files
from kosmos2_core.config import read_config
from kosmos2_core.decoding import Decoding, generate
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.grounded_text import ParsedText, boxes_of, parse_ids, trailing_phrase
from kosmos2_core.images import ImageSource, Pixels, load_image, preprocess
from kosmos2_core.localizer import Localizer, make_entity
from kosmos2_core.model import Kosmos2
from kosmos2_core.packing import MAX_PROMPTS, EncodedImages, PrefilledBatch, Prefiller, distinct
from kosmos2_core.prompts import Prompt, prompt_ids
from kosmos2_core.quantized import MIN_WIDTH, Kernel, choose_kernel
from kosmos2_core.requests import GenerationRequest, Locate, Request, Score
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_core.weight_files import WeightFiles

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTIZATIONS = ("auto", "none", "int8")
DEFAULT_DECODING = Decoding()
MAX_SCORED_OPTIONS = 16  # in one batch: the logits of all their tokens are kept


@dataclass(frozen=True, eq=False)
class View(EncodedImages):
    """Images that an engine encoded; ask as many requests about them as you like.

    Args:
        engine: The engine that encoded them, and answers.
    """

    engine: Engine

    def run(self, *requests: Request, decoding: Decoding = DEFAULT_DECODING) -> list[Answer]:
        """Answer requests about these images, see `Engine.run`."""
        return self.engine.run([(self, request) for request in requests], decoding)

    def stream(self, request: GenerationRequest, decoding: Decoding = DEFAULT_DECODING) -> Iterator[Answer]:
        """Answer a request about these images token by token, see `Engine.stream`."""
        return self.engine.stream(self, request, decoding)


Images = View | Sequence[ImageSource]
Job = tuple[Images, Request]
AnswerSoFar = Callable[[int], Answer]  # by the index of a job


class Engine:
    """A model that answers requests about images.

    Attributes:
        keep_images: How many of the images that were given with requests, not as views, keep their encoding
            for the next requests about the same pixels. They are the ones that were used last. Set it
            before the first request.
        weights: The files that the model was loaded from; None: it was not loaded from files.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        calibration: The checkpoint's calibration; None: scores are the model's probabilities.

    Raises:
        ModelError: The tokenizer has more ids than the model, or cannot give the evidence that the
            calibration uses.
    """

    def __init__(self, model: Kosmos2, tokenizer: Tokenizer, calibration: Calibration | None = None) -> None:
        if tokenizer.size > model.config.text_config.vocab_size:
            raise ModelError(
                f"the tokenizer has {tokenizer.size} ids, the model {model.config.text_config.vocab_size}:"
                " they do not belong to the same checkpoint."
            )
        self.model, self.tokenizer, self.control = model, tokenizer, tokenizer.control
        self.calibration = calibration
        self.keep_images = 0
        self.weights: WeightFiles | None = None
        self._recent: OrderedDict[bytes, Tensor] = OrderedDict()  # by the content of the image
        self.prefiller = Prefiller(model, tokenizer.control)
        self.localizer = Localizer(self.prefiller, tokenizer, calibration, self.look_many)

    @classmethod
    def load(
        cls,
        name: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        offline: bool = False,
        quantize: str = "auto",
    ) -> Engine:
        """Load the engine of a checkpoint.

        Args:
            name: A folder, or a name on the Hugging Face hub.
            device: `cpu`, `cuda`, `cuda:1`, ...; `auto`: the GPU if there is one.
            dtype: A key of DTYPES; `auto`: bfloat16 on a GPU, on the CPU the checkpoint's precision.
            revision: A revision on the hub; None: the main branch.
            offline: Never use the network.
            quantize: A key of QUANTIZATIONS. `int8`: weights of eight bits, see `kosmos2_core.quantized`;
                `none`: the precision of `dtype`; `auto`: int8 where that is faster.

        Raises:
            InputError: The device or the precision is not known, or does not work here.
            ModelError: The checkpoint cannot be found or used.
        """
        if dtype not in ("auto", *DTYPES):
            raise InputError(f"dtype {dtype} is not known: choose auto, {', '.join(DTYPES)}.")
        chosen = choose_device(device)
        precision = torch.bfloat16 if dtype == "auto" and chosen.type == "cuda" else DTYPES.get(dtype)
        check_quantization(quantize, chosen, dtype)
        folder = checkpoint_folder(name, revision, offline)
        tokenizer, calibration = Tokenizer.load(folder), read_calibration(folder)
        kernel = choose_quantization(quantize, chosen, dtype, folder)
        weights = WeightFiles(tensor_files(folder).values())
        engine = cls(load_model(folder, chosen, precision, kernel), tokenizer, calibration)
        engine.weights = weights
        return engine

    @property
    def device(self) -> torch.device:
        """The device that the model runs on."""
        return self.model.device

    @property
    def precision(self) -> str:
        """The precision that the model computes in, such as `float32` or `int8 (onednn)`."""
        return self.model.precision

    @property
    def min_presence(self) -> float:
        """The presence below which a phrase gets no box, unless a request sets another one."""
        return self.localizer.min_presence

    def look(self, *images: ImageSource) -> View:
        """Encode the images of one prompt, in this order. Most requests are about one image."""
        return self.look_many([images])[0]

    @torch.inference_mode()
    def look_many(self, views: Sequence[Sequence[ImageSource]]) -> list[View]:
        """Encode the images of several views in one batch, equal images once."""
        return self._look(views, keep=False)

    def _views(self, images: Sequence[Images]) -> list[View]:
        """Return a view of all images; those that are none yet are encoded in one batch."""
        encoded = iter(self._look([given for given in images if not isinstance(given, View)]))
        return [given if isinstance(given, View) else next(encoded) for given in images]

    def _look(self, views: Sequence[Sequence[ImageSource]], keep: bool = True) -> list[View]:
        """Encode the images that are not known yet, and keep them beyond this call."""
        sources = [image for images in views for image in images]
        first, numbers = distinct(map(id, sources))
        opened = [load_image(sources[index]) for index in first]
        features = self._encode(opened, keep)
        remaining = iter(numbers)
        of_views = [[next(remaining) for _ in images] for images in views]
        return [
            View(tuple(opened[index] for index in indices), tuple(features[index] for index in indices), self)
            for indices in of_views
        ]

    def _encode(self, images: Sequence[Pixels], keep: bool) -> list[Tensor]:
        """Return the tokens (queries, D) of each image; those of equal images are one tensor."""
        alone = len(images) == 1 and not self.keep_images  # nothing to compare it with
        size = self.model.config.vision_config.image_size
        inputs = [preprocess(image, size) for image in images]
        keys = [b"" if alone else _content_key(pixels) for pixels in inputs]
        known = {key: self._recent[key] for key in keys if key in self._recent}
        new = {key: pixels for key, pixels in zip(keys, inputs, strict=True) if key not in known}
        if new:
            features = self.model.encode(torch.from_numpy(np.stack(list(new.values()))).to(self.device))
            known |= zip(new, features.unbind(), strict=True)
        if keep and self.keep_images:
            self._keep({key: known[key] for key in keys})
        return [known[key] for key in keys]

    def _keep(self, used: Mapping[bytes, Tensor]) -> None:
        """Keep the encodings of the images that were used last, for later calls."""
        for key, features in used.items():
            if self._recent.pop(key, None) is None:
                features = features.clone()  # a view would keep the encodings of the whole batch
            self._recent[key] = features
        while len(self._recent) > self.keep_images:
            self._recent.popitem(last=False)

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job], decoding: Decoding = DEFAULT_DECODING) -> list[Answer]:
        """Answer many requests.

        Equal images are encoded once, and equal requests about them are computed once; sampled answers
        are the exception. To ask about an image again later, use `look`, and ask about the view.

        Args:
            jobs: Pairs of a view, or images, and a request about it.
            decoding: How texts are generated.

        Returns:
            The answers, in the order of the jobs. Each is the same as if it were asked alone.
        """
        views = self._views([images for images, _ in jobs])
        locate: dict[int, tuple[View, Locate]] = {}
        score: dict[int, tuple[View, Score]] = {}
        generation: dict[int, tuple[View, GenerationRequest]] = {}
        for index, (view, (_, request)) in enumerate(zip(views, jobs, strict=True)):
            if isinstance(request, Locate):
                locate[index] = view, request
            elif isinstance(request, Score):
                score[index] = view, request
            else:
                generation[index] = view, request
        located = finish(self.localizer.locate(list(locate.values())))
        scored = self._score(list(score.values()))
        generated = self._generate(list(generation.values()), decoding)
        answers = dict(zip((*locate, *score, *generation), (*located, *scored, *generated), strict=True))
        return [answers[index] for index in range(len(jobs))]

    @torch.inference_mode()
    def locate_in_parts(self, jobs: Sequence[tuple[Images, Locate]]) -> Parts[list[Answer]]:
        """Answer Locate requests as `run` does, in parts.

        The generator yields after each pass through the model and returns the answers. Between two parts
        the engine can answer other requests.
        """
        views = self._views([images for images, _ in jobs])
        yield
        requests = [request for _, request in jobs]
        return (yield from self.localizer.locate(list(zip(views, requests, strict=True))))

    @torch.inference_mode()
    def heatmaps_in_parts(self, images: Images, request: Locate) -> Parts[list[NDArray[np.float32]]]:
        """Return where each phrase of a request may be, in parts as `locate_in_parts`.

        Returns:
            For each phrase (grid, grid) the probability of each cell that the phrase's box covers it.
        """
        [view] = self._views([images])
        yield
        maps = yield from self.localizer.cell_probabilities(view, request)
        return [probabilities.numpy() for probabilities in maps]

    @torch.inference_mode()
    def generate_in_parts(
        self,
        jobs: Sequence[tuple[Images, GenerationRequest]],
        decoding: Decoding = DEFAULT_DECODING,
        stopped: Collection[int] = (),
    ) -> Generator[AnswerSoFar | None, None, list[Answer]]:
        """Answer requests in one batch, a token of each at a time.

        The generator yields after each pass through the model: after tokens the function that returns the
        answer so far of each job, else None. It returns the whole answers with scores.

        Args:
            jobs: Pairs of a view, or images, and a request about it.
            decoding: How texts are generated.
            stopped: Indices of jobs whose answer shall end; more may be added between two parts.

        Raises:
            InputError: The decoding uses beam search, which knows its answer only at the end.
        """
        if decoding.beams > 1:
            raise InputError("beam search knows its answer only at the end: stream with one beam.")
        views = self._views([images for images, _ in jobs])
        yield None
        prompts, numbers = self._distinct_prompts(views, [request for _, request in jobs], decoding)
        leads = [trailing_phrase(self.control, prompt.ids) for prompt in prompts]
        ids: list[list[int]] = [[] for _ in prompts]
        finished = [False] * len(prompts)

        def so_far(job: int) -> Answer:
            number = numbers[job]
            return self._answer(parse_ids(self.tokenizer, leads[number] + ids[number]), finished=False)

        def is_stopped(number: int) -> bool:
            return bool(stopped) and all(
                job in stopped for job, other in enumerate(numbers) if other == number
            )

        for batch in self.prefiller.prefill(prompts, decoding.max_new_tokens):
            for tokens in self._steps(batch, decoding, is_stopped):
                for number, token in zip(batch.indices, tokens, strict=True):
                    if token is not None:
                        ids[number].append(token)
                    elif not is_stopped(number):
                        finished[number] = True
                yield so_far if any(token is not None for token in tokens) else None
        answers = yield from self._scored_answers(prompts, list(zip(ids, finished, strict=True)), decoding)
        return [answers[number] for number in numbers]

    @torch.inference_mode()
    def stream(
        self,
        images: Images,
        request: GenerationRequest,
        decoding: Decoding = DEFAULT_DECODING,
    ) -> Iterator[Answer]:
        """Yield the answer so far after each token, and at last the whole answer with scores.

        To cancel, stop iterating.

        Raises:
            InputError: The decoding uses beam search, which knows its answer only at the end.
        """
        parts = self.generate_in_parts([(images, request)], decoding)
        while True:
            try:
                answer_so_far = next(parts)
            except StopIteration as stop:
                yield stop.value[0]
                return
            if answer_so_far:
                yield answer_so_far(0)

    @torch.inference_mode()
    def generate_ids(
        self, view: View, request: GenerationRequest, decoding: Decoding = DEFAULT_DECODING
    ) -> list[int]:
        """Return the generated ids before they are parsed, to compare with other implementations."""
        prompt = Prompt(view.features, prompt_ids(self.tokenizer, request))
        [batch] = self.prefiller.prefill([prompt], decoding.max_new_tokens if decoding.beams == 1 else 0)
        return self._decode(batch, decoding)[0][0]

    # Score requests.

    def _score(self, jobs: Sequence[tuple[View, Score]]) -> list[Answer]:
        prompts, options = [], []
        for view, request in jobs:
            ids = prompt_ids(self.tokenizer, request.prompt)
            for option in request.options:
                options.append(self.tokenizer.encode(option))
                prompts.append(Prompt(view.features, ids + options[-1]))
        log_probabilities = iter(self._log_probabilities(prompts, options))
        lengths = iter(map(len, options))
        answers = []
        for _, request in jobs:
            scored = tuple(Option(text, next(log_probabilities), next(lengths)) for text in request.options)
            answers.append(Answer(max(scored, key=lambda option: option.mean).text, options=scored))
        return answers

    def _log_probabilities(self, prompts: Sequence[Prompt], options: Sequence[Sequence[int]]) -> list[float]:
        """Return the log-probability of the ids of each option, which its prompt ends with."""
        results: dict[int, float] = {}
        first, numbers = distinct(
            (prompt.key, len(ids)) for prompt, ids in zip(prompts, options, strict=True)
        )
        prompts, options = [prompts[index] for index in first], [options[index] for index in first]
        last = max(map(len, options), default=0) + 1
        for batch in self.prefiller.prefill(prompts, room=0, last=last, at_most=MAX_SCORED_OPTIONS):
            chosen = [options[index] for index in batch.indices]
            lengths = list(map(len, chosen))
            hidden = [row[-length - 1 : -1] for row, length in zip(batch.hidden, lengths, strict=True)]
            ids = torch.tensor([token for option in chosen for token in option], device=self.device)
            log_probabilities = self.model.decoder.logits(torch.cat(hidden)).float().log_softmax(-1)
            of_options = torch.split(log_probabilities.gather(1, ids[:, None]), lengths)
            results |= zip(
                batch.indices, torch.stack([values.sum() for values in of_options]).tolist(), strict=True
            )
        return [results[number] for number in numbers]

    # Requests that generate text.

    def _generate(self, jobs: Sequence[tuple[View, GenerationRequest]], decoding: Decoding) -> list[Answer]:
        if decoding.beams == 1:
            return finish(self.generate_in_parts(jobs, decoding))
        views, requests = [view for view, _ in jobs], [request for _, request in jobs]
        prompts, numbers = self._distinct_prompts(views, requests, decoding)
        generated: dict[int, tuple[list[int], bool]] = {}
        for batch in self.prefiller.prefill(prompts, room=0, at_most=max(MAX_PROMPTS // decoding.beams, 1)):
            generated |= zip(batch.indices, self._decode(batch, decoding), strict=True)
        in_order = [generated[index] for index in range(len(prompts))]
        answers = finish(self._scored_answers(prompts, in_order, decoding))
        return [answers[number] for number in numbers]

    def _distinct_prompts(
        self, views: Sequence[View], requests: Sequence[GenerationRequest], decoding: Decoding
    ) -> tuple[list[Prompt], list[int]]:
        """Return the prompts without repetitions, and the number of each request's prompt among them."""
        asked = [
            Prompt(view.features, prompt_ids(self.tokenizer, request))
            for view, request in zip(views, requests, strict=True)
        ]
        sampled = decoding.temperature > 0  # each a sample of its own
        first, numbers = distinct(range(len(asked)) if sampled else [prompt.key for prompt in asked])
        return [asked[index] for index in first], list(numbers)

    def _decode(self, batch: PrefilledBatch, decoding: Decoding) -> list[tuple[list[int], bool]]:
        """Return the generated ids after each prompt, and whether they ended before a limit."""
        if decoding.beams > 1:
            hidden = batch.hidden[:, -1]
            return beam_search(self.model, batch.cache, hidden, self.control, decoding, batch.prompts)
        sequences = list(zip(*self._steps(batch, decoding), strict=True))
        return [([token for token in ids if token is not None], None in ids) for ids in sequences]

    def _steps(
        self, batch: PrefilledBatch, decoding: Decoding, is_stopped: Callable[[int], bool] | None = None
    ) -> Iterator[list[int | None]]:
        """Generate after the prompts of a batch; `is_stopped` is asked by the index of a prompt."""
        stopped = (lambda row: is_stopped(batch.indices[row])) if is_stopped else None
        hidden = batch.hidden[:, -1]
        return generate(self.model, batch.cache, hidden, self.control, decoding, batch.prompts, stopped)

    def _scored_answers(
        self, prompts: Sequence[Prompt], generated: Sequence[tuple[list[int], bool]], decoding: Decoding
    ) -> Parts[list[Answer]]:
        """Return the answers of generated ids, their boxes with scores.

        The scores are those that Locate would give: each phrase is asked for where it is in the text.
        """
        leads = [trailing_phrase(self.control, prompt.ids) for prompt in prompts]
        parsed = [
            parse_ids(self.tokenizer, lead + ids) for lead, (ids, _) in zip(leads, generated, strict=True)
        ]
        boxes: Iterator[PhraseBoxes] | None = None
        if decoding.scores:
            queries, pairs = [], []
            for prompt, lead, (ids, _), text in zip(prompts, leads, generated, parsed, strict=True):
                before = prompt.ids[: len(prompt.ids) - len(lead)]
                for phrase in text.phrases:
                    until = (lead + ids)[: phrase.ids_to_end]
                    queries.append(Prompt(prompt.images, [*before, *until, self.control.object]))
                    pairs.append(phrase.pairs)
            boxes = iter((yield from self.localizer.score(queries, pairs)))
        return [
            self._answer(text, finished, boxes) for text, (_, finished) in zip(parsed, generated, strict=True)
        ]

    def _answer(self, text: ParsedText, finished: bool, boxes: Iterator[PhraseBoxes] | None = None) -> Answer:
        """Return the answer of a generated text; `boxes` gives the scored boxes of its next phrases."""
        entities = []
        for phrase in text.phrases:
            span = text.text[phrase.start : phrase.end], phrase.start, phrase.end
            if boxes is None:
                entities.append(Entity(*span, boxes_of(phrase, self.control.grid), cells=phrase.pairs))
            else:
                entities.append(make_entity(*span, next(boxes), self.calibration))
        if boxes is None:
            return Answer(text.text, tuple(entities), (), text.dropped, finished)
        evidence, calibrated = self.localizer.evidence_options.kinds, self.calibration is not None
        return Answer(text.text, tuple(entities), (), text.dropped, finished, calibrated, evidence)


def _content_key(pixels: NDArray[np.float32]) -> bytes:
    """Return a key that equal preprocessed images share: they are small, however large the image is."""
    return hashlib.blake2b(pixels.data).digest()


def check_quantization(quantize: str, device: torch.device, dtype: str) -> None:
    """Raise an InputError if a quantisation is not known or does not work with this device and precision."""
    if quantize == "int4":
        raise InputError("int4 would not be faster than int8 on this machine: choose int8 or auto.")
    if quantize not in QUANTIZATIONS:
        raise InputError(f"quantize {quantize} is not known: choose {', '.join(QUANTIZATIONS)}.")
    if quantize != "int8":
        return
    if device.type != "cpu":
        raise InputError(f"int8 is for CPUs, and the device is {device}: choose none or auto.")
    if dtype not in ("auto", "float32"):
        raise InputError(f"int8 computes in float32, and dtype is {dtype}: leave one of the two out.")
    if choose_kernel() is None:
        raise InputError("there is no fast int8 kernel for this processor: choose none or auto.")


def choose_quantization(quantize: str, device: torch.device, dtype: str, folder: Path) -> Kernel | None:
    """Return the kernel for quantised products with a checkpoint; None: its weights are not quantised."""
    if quantize == "none" or device.type != "cpu" or dtype not in ("auto", "float32"):
        return None
    if quantize == "auto" and not is_quantized(folder):
        width = read_config(folder / "config.json").text_config.embed_dim
        if dtype != "auto" or width < MIN_WIDTH:
            return None
    return choose_kernel()


def choose_device(name: str) -> torch.device:
    """Return a device by name; `auto` is the GPU if there is one.

    Raises:
        InputError: There is no such device.
    """
    cuda = torch.cuda.is_available()
    if name.startswith("cuda") and not cuda:
        raise InputError(f"device {name} is not available: torch {torch.__version__} sees no GPU; use cpu.")
    device = None
    with suppress(RuntimeError):
        device = torch.device(("cuda" if cuda else "cpu") if name == "auto" else name)
    if device is None or device.type == "meta":  # which has shapes and no numbers
        raise InputError(f"device {name} is not known: choose auto, cpu, cuda or cuda:1.")
    return device

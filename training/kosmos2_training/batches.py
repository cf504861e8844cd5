"""Records to tensors: what there is to learn from an item, and the batch of a training step.

An image is encoded once. Everything that is said about it follows in one sequence, in branches. A token sees
the image and the earlier tokens of its own branch, so each item counts as if it were alone with the image.

    image | <grounding><phrase> the mug</phrase><object>... | Question: ... Answer: ... | ...

Prompts are made by the same functions as at inference, so a model is asked what it was taught.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import GroundedText, encode_boxes, encode_grounded, write_markdown
from kosmos2_core.images import preprocess
from kosmos2_core.packing import image_ids, image_slots, pack, packed_mask
from kosmos2_core.prompts import locate_prompt_ids, prompt_ids
from kosmos2_core.requests import DESCRIBE_PROMPTS, Ask, Caption, Describe, Locate
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.records import Item, Record
from kosmos2_training.patch_targets import ObjectClasses, PatchTargets, patch_targets

Corner = tuple[float, float]  # x, y, in unit coordinates
NO_CORNER = (math.nan, math.nan)


@dataclass(frozen=True)
class AnsweredPrompt:
    """A prompt with its answer, to follow an image.

    Args:
        ids: of the prompt and the answer.
        answer_length: the number of ids at the end that are the answer and are learnt.
        corners: the true corners of the answer's location tokens, by their index in `ids`.
    """

    ids: list[int]
    answer_length: int
    corners: dict[int, Corner]


def answered_prompts(tokenizer: Tokenizer, item: Item, rng: np.random.Generator) -> list[AnsweredPrompt]:
    """Return the prompt of an item with its answer; for `locate`, one for each phrase, as they are asked."""
    match item.task:
        case "locate":
            prompts = locate_prompt_ids(tokenizer, Locate(write_markdown(item.text)))
            return [
                # The last id of the prompt is <object>. It says that there is a box, so it is learnt, too.
                _answered_prompt(
                    tokenizer, prompt[:-1], encode_boxes(tokenizer, phrase.boxes or ()), phrase.boxes
                )
                for prompt, phrase in zip(prompts, item.text.phrases, strict=True)
            ]
        case "caption":
            prompt = prompt_ids(tokenizer, Caption(item.detailed, ground=bool(item.text.phrases)))
        case "describe":
            [phrase] = item.text.phrases
            [box] = phrase.boxes or ()
            prompt = prompt_ids(tokenizer, Describe(box, str(rng.choice(DESCRIBE_PROMPTS))))
            return [_with_text(tokenizer, prompt, GroundedText(item.text.words_of(phrase)))]
        case "ask":
            assert item.question is not None  # the records' reader checks it
            prompt = prompt_ids(tokenizer, Ask(write_markdown(item.question), ground=bool(item.text.phrases)))
        case _:
            prompt = [tokenizer.control.grounding] if item.text.phrases else []
    return [_with_text(tokenizer, prompt, item.text)]


def _with_text(tokenizer: Tokenizer, prompt: list[int], answer: GroundedText) -> AnsweredPrompt:
    boxes = tuple(box for phrase in answer.phrases for box in phrase.boxes or ())
    return _answered_prompt(tokenizer, prompt, encode_grounded(tokenizer, answer), boxes)


def _answered_prompt(
    tokenizer: Tokenizer, prompt: list[int], answer: list[int], boxes: tuple[Box, ...] | None
) -> AnsweredPrompt:
    answer = [*answer, tokenizer.control.end]
    corners = _corners(boxes or ())
    indexed = enumerate(answer, start=len(prompt))
    by_index = {index: next(corners) for index, token in indexed if token in tokenizer.control.locations}
    return AnsweredPrompt(prompt + answer, len(answer), by_index)


def _corners(boxes: tuple[Box, ...]) -> Iterator[Corner]:
    for box in boxes:
        yield box.x1, box.y1
        yield box.x2, box.y2


@dataclass(frozen=True)
class BatchShape:
    """The sizes of a model that a batch depends on."""

    image_size: int
    patches: int  # along a side
    queries: int  # image tokens
    tokens: int  # largest number for an image and its texts


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """B images with T tokens each, and M tokens to learn; each is predicted at the token before it."""

    pixels: Tensor  # (B, 3, size, size)
    ids: Tensor  # (B, T)
    positions: Tensor  # (B, T)
    owners: Tensor  # (B, T), see kosmos2_core.packing.PackedIds
    slots: Tensor  # (B, T), true where the image tokens go
    rows: Tensor  # (M,), the image of each token to learn
    indices: Tensor  # (M,), where in the sequence it is predicted
    targets: Tensor  # (M,), its id
    corners: Tensor  # (M, 2), the true corner of a location token, in unit coordinates; NaN for words
    patches: PatchTargets | None  # the object in each patch
    latents: PatchTargets | None  # the object in each image token's cell

    def to(self, device: torch.device) -> TrainingBatch:
        """Move all tensors to a device, without waiting for it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {
            name: value.to(device, non_blocking=True) for name, value in values.items() if value is not None
        }
        return replace(self, **moved)

    @property
    def mask(self) -> Tensor:
        """(B, 1, T, T), true where a token sees another one."""
        return packed_mask(self.owners)


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """One image, and what is learnt from it."""

    pixels: NDArray[np.float32]
    examples: Sequence[AnsweredPrompt]
    patches: PatchTargets | None
    latents: PatchTargets | None


def make_sample(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    record: Record,
    tokenizer: Tokenizer,
    shape: BatchShape,
    object_classes: ObjectClasses | None,
    rng: np.random.Generator,
) -> TrainingSample:
    """Return the sample of a record.

    Args:
        mask: the instance mask, for the targets of the auxiliary losses.
        object_classes: the classes of the auxiliary losses; None: no targets for them.
    """
    chosen = choose_examples(tokenizer, record.items, shape, rng)
    patches = latents = None
    if object_classes is not None:
        patches = patch_targets(record, mask, shape.patches, shape.image_size, object_classes)
        side = math.isqrt(shape.queries)
        if side * side == shape.queries:
            latents = patch_targets(record, mask, side, shape.image_size, object_classes)
    return TrainingSample(preprocess(image, shape.image_size), chosen, patches, latents)


def choose_examples(
    tokenizer: Tokenizer, items: Iterable[Item], shape: BatchShape, rng: np.random.Generator
) -> list[AnsweredPrompt]:
    """Return the examples of items in random order, as many as there is room for, but at least one."""
    room = shape.tokens - shape.queries - 3
    ordered = list(items)
    chosen: list[AnsweredPrompt] = []
    for index in rng.permutation(len(ordered)):
        for example in answered_prompts(tokenizer, ordered[index], rng):
            if len(example.ids) <= room or not chosen:
                chosen.append(example)
                room -= len(example.ids)
        if room < 8:
            break
    return chosen


def collate(samples: Sequence[TrainingSample], tokenizer: Tokenizer, shape: BatchShape) -> TrainingBatch:
    """Return the batch of some samples."""
    control = tokenizer.control
    prefix = [control.start, *image_ids(control, shape.queries)]
    packed = pack([(prefix, [example.ids for example in sample.examples]) for sample in samples], control.pad)
    learnt: list[tuple[int, int, int]] = []
    corners: list[tuple[float, float]] = []
    examples = (example for sample in samples for example in sample.examples)
    spans = zip(packed.sequences.tolist(), packed.begins.tolist(), strict=True)
    for example, (row, begin) in zip(examples, spans, strict=True):
        for index in range(len(example.ids) - example.answer_length, len(example.ids)):
            before = begin + index - 1 if index else len(prefix) - 1
            learnt.append((row, before, example.ids[index]))
            corners.append(example.corners.get(index, NO_CORNER))
    rows, indices, targets = torch.tensor(learnt).T
    return TrainingBatch(
        torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        *(packed.ids, packed.positions, packed.owners, image_slots(packed.ids, control)),
        *(rows, indices, targets, torch.tensor(corners)),
        PatchTargets.stack([sample.patches for sample in samples]),
        PatchTargets.stack([sample.latents for sample in samples]),
    )

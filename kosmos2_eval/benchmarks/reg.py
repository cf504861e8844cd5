"""Referring expression generation on RefCOCOg: what is in this box?

`<grounding><phrase> It</phrase><object>..</object> is`, for each box once; all expressions that people
gave it are the truth. Examples (`few_shot`) are boxes of the training split, drawn anew for each question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.requests import Complete, Describe
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released
from kosmos2_eval.benchmarks.caption_scores import caption_figures
from kosmos2_eval.benchmarks.official_files import as_published, box_of_xywh, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.benchmarks.refcoco import ANNOTATIONS, IMAGES, annotated


@dataclass
class Region:
    name: str  # COCO's number of the annotation
    file: Path
    box: Box
    expressions: list[str] = field(default_factory=list)


def read(data: Path, choice: Choice) -> list[Question]:
    regions = regions_of(data, choice.split)
    if not choice.few_shot:
        return [Question(one.name, (one.file,), (Describe(one.box),), one.expressions) for one in regions]
    training = [one for one in regions_of(data, "train") if one.file.is_file()]
    return list(_with_examples(regions, training, choice))


def regions_of(data: Path, split: str) -> list[Region]:
    file = find(data, f"mdetr_annotations/finetune_refcocog_{split}.json", ANNOTATIONS)
    folder = find(data, "train2014", IMAGES)
    regions: dict[str, Region] = {}
    with as_published(file):
        for image, annotation in annotated(json_of(file)):
            for box in box_of_xywh(annotation["bbox"], image["width"], image["height"]):
                name = str(annotation["original_id"])
                region = regions.setdefault(name, Region(name, folder / image["file_name"], box))
                region.expressions.append(image["caption"])
    return list(regions.values())


def _with_examples(
    regions: Sequence[Region], training: Sequence[Region], choice: Choice
) -> Iterator[Question]:
    """The same examples for a question in every run."""
    for number, region in enumerate(regions):
        others = np.random.default_rng((choice.seed, number)).permutation(len(training))
        near = (training[at] for at in others if training[at].file != region.file)
        examples = list(islice(near, choice.few_shot))
        if len(examples) < choice.few_shot:
            raise InputError(
                f"{len(examples)} examples with an image are there for a question: train2014 is not whole."
            )
        request = Complete(
            prompt(region.box), tuple(prompt(one.box, one.expressions[0]) for one in examples), ground=True
        )
        images = (*(one.file for one in examples), region.file)
        yield Question(region.name, images, (request,), region.expressions)


def prompt(box: Box, expression: str = "") -> str:
    """`It is`, and what it is."""
    return write_markdown(GroundedText(f"It is {expression}".rstrip(), (Phrase(0, 2, (box,)),)))


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    truths: list[Any] = [one.truth for one in questions]
    return caption_figures(truths, [one.text for one in said], ("METEOR", "CIDEr"))


REG = Benchmark(
    "REG, RefCOCOg",
    ("val", "test"),
    read,
    score,
    paper.of_shots,
    released(max_new_tokens=64),
    shots=(0, 2, 4),
)

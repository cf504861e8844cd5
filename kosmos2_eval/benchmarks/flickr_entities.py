"""Phrases of Flickr30k Entities, as MDETR prepared them: where is each phrase of a caption?

The release asks for each phrase with the caption before it: `<grounding> Two men play<phrase>
guitar</phrase>`. It is found at k if any of the first k boxes that were said fits any true box (ANY-BOX).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kosmos2_core.boxes import Box
from kosmos2_core.requests import Complete, Locate
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released, share
from kosmos2_eval.benchmarks.official_files import as_published, box_of_xywh, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.benchmarks.refcoco import ANNOTATIONS, HALF, LONGEST, annotated, best_iou, marked

IMAGES = "Flickr30k's flickr30k-images.tar.gz (its form: shannon.cs.illinois.edu/DenotationGraph)"
RANKS = (1, 5, 10)

Span = tuple[int, int]


def read(data: Path, choice: Choice) -> list[Question]:
    file = find(data, f"mdetr_annotations/final_flickr_separateGT_{choice.split}.json", ANNOTATIONS)
    folder = find(data, "flickr30k-images", IMAGES)
    with as_published(file):
        content = json_of(file)
        truths = boxes_of_spans(content)
        return [one for image in content["images"] for one in _questions(folder, image, truths[image["id"]])]


def boxes_of_spans(content: dict[str, Any]) -> defaultdict[int, defaultdict[Span, tuple[Box, ...]]]:
    """For each captioned image, the true boxes of each span of its caption. A box may be of several spans,
    and a span of several boxes."""
    boxes: defaultdict[int, defaultdict[Span, tuple[Box, ...]]] = defaultdict(lambda: defaultdict(tuple))
    for image, annotation in annotated(content):
        box = box_of_xywh(annotation["bbox"], float(image["width"]), float(image["height"]))
        for start, end in annotation["tokens_positive"]:
            boxes[image["id"]][start, end] += box
    return boxes


def _questions(
    folder: Path, image: dict[str, Any], truths: dict[Span, tuple[Box, ...]]
) -> Iterator[Question]:
    for number, [(start, end), *_] in enumerate(image["tokens_positive_eval"]):
        text = marked(image["caption"], start, end)
        yield Question(
            f"{image['id']}/{number}",
            (folder / image["file_name"],),
            (Complete(text, ground=True),),
            truths[start, end],
            ours=Locate(text, max_boxes=max(RANKS), min_presence=0.0),  # no phrase is absent
        )


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    return [
        share(
            f"R@{rank}",
            questions,
            [
                float(best_iou(one.boxes[:rank], question.truth) >= HALF)
                for question, one in zip(questions, said, strict=True)
            ],
        )
        for rank in RANKS
    ]


FLICKR30K = Benchmark(
    "Flickr30k Entities",
    ("val", "test"),
    read,
    score,
    partial(paper.of_split, "flickr30k"),
    released(LONGEST),
)

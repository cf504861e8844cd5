"""Grounding benchmarks: RefCOCO, RefCOCO+, RefCOCOg and Flickr30k Entities, with MDETR's annotations.

RefCOCO asks for a referring expression alone, `<grounding><phrase> the red mug</phrase>`, and scores the
first box. Flickr30k asks for every phrase after the words of its caption that precede it, `<grounding> Two
men play<phrase> guitar</phrase>`; it counts as found at k if any of the first k boxes matches any true box
(ANY-BOX).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kosmos2_core.boxes import Box, iou
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.requests import Complete, Locate
from kosmos2_eval.benchmarks.benchmark import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkPart,
    BenchmarkScore,
    Question,
    mean_score,
    published_by_split,
    released_decoding,
)
from kosmos2_eval.benchmarks.official_files import as_published, box_of_xywh, find, json_of
from kosmos2_eval.metrics import RIGHT

ANNOTATIONS = "MDETR's mdetr_annotations.tar.gz (zenodo.org/record/4729015)"
COCO_IMAGES = "COCO's train2014.zip (images.cocodataset.org)"
FLICKR_IMAGES = "Flickr30k's flickr30k-images.tar.gz (its form: shannon.cs.illinois.edu/DenotationGraph)"
MAX_TOKENS = 500  # of an answer, as in the scripts of the release
HALF = RIGHT - 1e-9  # an IoU of exactly 0.5 counts, however it is rounded
RANKS = (1, 5, 10)

Span = tuple[int, int]


def annotated(content: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return pairs of `image` and annotation; an `image` of MDETR is an image with one expression."""
    images = {image["id"]: image for image in content["images"]}
    return [(images[annotation["image_id"]], annotation) for annotation in content["annotations"]]


def marked_text(text: str, start: int, end: int) -> str:
    """Return grounded Markdown of a text up to the end of a phrase, which is marked."""
    return write_markdown(GroundedText(text[:end], (Phrase(start, end),)))


def best_iou(boxes: Sequence[Box], truth: Sequence[Box]) -> float:
    """Return the best IoU of any box with any true box; 0 without either."""
    return max((iou(box, true_box) for box in boxes for true_box in truth), default=0.0)


# RefCOCO, RefCOCO+, RefCOCOg.


def read_refcoco(name: str, data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the expressions of a split."""
    file = find(data, f"mdetr_annotations/finetune_{name}_{part.split}.json", ANNOTATIONS)
    folder = find(data, "train2014", COCO_IMAGES)
    with as_published(file):
        return [
            _refcoco_question(folder / image["file_name"], image, annotation)
            for image, annotation in annotated(json_of(file))
        ]


def _refcoco_question(file: Path, image: dict[str, Any], annotation: dict[str, Any]) -> Question:
    text = marked_text(image["caption"], 0, len(image["caption"]))
    truth = box_of_xywh(annotation["bbox"], image["width"], image["height"])
    ours = Locate(text, min_presence=0.0)  # no expression is absent, so each gets its best box
    return Question(str(image["id"]), (file,), (Complete(text, ground=True),), truth, ours=ours)


def score_refcoco(questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]) -> list[BenchmarkScore]:
    """Score the first box of every answer."""
    overlaps = [
        best_iou(answer.boxes[:1], question.truth)
        for question, answer in zip(questions, answers, strict=True)
    ]
    right = [float(overlap >= HALF) for overlap in overlaps]
    return [mean_score("accuracy", questions, right), mean_score("mean IoU", questions, overlaps)]


def _refcoco(name: str) -> Benchmark:
    read: Callable[[Path, BenchmarkPart], list[Question]] = partial(read_refcoco, name)
    return Benchmark(read, score_refcoco, published_by_split(name), released_decoding(MAX_TOKENS))


REFCOCO, REFCOCO_PLUS, REFCOCOG = map(_refcoco, ("refcoco", "refcoco+", "refcocog"))


# Flickr30k Entities.


def read_flickr(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the phrases of all captions of a split."""
    file = find(data, f"mdetr_annotations/final_flickr_separateGT_{part.split}.json", ANNOTATIONS)
    folder = find(data, "flickr30k-images", FLICKR_IMAGES)
    with as_published(file):
        content = json_of(file)
        truths = boxes_of_spans(content)
        return [
            question
            for image in content["images"]
            for question in _flickr_questions(folder, image, truths[image["id"]])
        ]


def boxes_of_spans(content: dict[str, Any]) -> defaultdict[int, defaultdict[Span, tuple[Box, ...]]]:
    """Return the true boxes of every span of a caption, by the id of the captioned image.

    A box may belong to several spans, and a span may have several boxes.
    """
    boxes: defaultdict[int, defaultdict[Span, tuple[Box, ...]]] = defaultdict(lambda: defaultdict(tuple))
    for image, annotation in annotated(content):
        box = box_of_xywh(annotation["bbox"], float(image["width"]), float(image["height"]))
        for start, end in annotation["tokens_positive"]:
            boxes[image["id"]][start, end] += box
    return boxes


def _flickr_questions(
    folder: Path, image: dict[str, Any], truths: dict[Span, tuple[Box, ...]]
) -> Iterator[Question]:
    for number, [(start, end), *_] in enumerate(image["tokens_positive_eval"]):
        text = marked_text(image["caption"], start, end)
        yield Question(
            f"{image['id']}/{number}",
            (folder / image["file_name"],),
            (Complete(text, ground=True),),
            truths[start, end],
            ours=Locate(text, max_boxes=max(RANKS), min_presence=0.0),  # no phrase is absent
        )


def score_flickr(questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]) -> list[BenchmarkScore]:
    """Score the first k boxes of every answer, for every k."""
    return [
        mean_score(
            f"R@{rank}",
            questions,
            [
                float(best_iou(answer.boxes[:rank], question.truth) >= HALF)
                for question, answer in zip(questions, answers, strict=True)
            ],
        )
        for rank in RANKS
    ]


FLICKR30K = Benchmark(
    read_flickr,
    score_flickr,
    published_by_split("flickr30k"),
    released_decoding(MAX_TOKENS),
)

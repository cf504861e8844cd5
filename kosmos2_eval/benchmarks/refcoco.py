"""Referring expressions of RefCOCO, RefCOCO+ and RefCOCOg, as MDETR prepared them: where is it?

The release asks for each expression alone, `<grounding><phrase> the red mug</phrase>`; the first box counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kosmos2_core.boxes import Box, iou
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.requests import Complete, Locate
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released, share
from kosmos2_eval.benchmarks.official_files import as_published, box_of_xywh, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.metrics import RIGHT

ANNOTATIONS = "MDETR's mdetr_annotations.tar.gz (zenodo.org/record/4729015)"
IMAGES = "COCO's train2014.zip (images.cocodataset.org)"
LONGEST = 500  # tokens of an answer, as in the release's scripts
HALF = RIGHT - 1e-9  # an overlap of a half counts, however it is rounded


def read(name: str, data: Path, choice: Choice) -> list[Question]:
    file = find(data, f"mdetr_annotations/finetune_{name}_{choice.split}.json", ANNOTATIONS)
    folder = find(data, "train2014", IMAGES)
    with as_published(file):
        return [
            _question(folder / image["file_name"], image, annotation)
            for image, annotation in annotated(json_of(file))
        ]


def annotated(content: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each annotation behind its `image`, which is MDETR's word for an image with one expression."""
    images = {image["id"]: image for image in content["images"]}
    return [(images[one["image_id"]], one) for one in content["annotations"]]


def _question(file: Path, image: dict[str, Any], annotation: dict[str, Any]) -> Question:
    text = marked(image["caption"], 0, len(image["caption"]))
    truth = box_of_xywh(annotation["bbox"], image["width"], image["height"])
    ours = Locate(text, min_presence=0.0)  # the benchmark has no absent phrases, so each gets its best box
    return Question(str(image["id"]), (file,), (Complete(text, ground=True),), truth, ours=ours)


def marked(text: str, start: int, end: int) -> str:
    """Grounded Markdown of a text up to the phrase that is to be found."""
    return write_markdown(GroundedText(text[:end], (Phrase(start, end),)))


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    overlaps = [
        best_iou(one.boxes[:1], question.truth) for question, one in zip(questions, said, strict=True)
    ]
    right = [float(overlap >= HALF) for overlap in overlaps]
    return [share("accuracy", questions, right), share("mean IoU", questions, overlaps)]


def best_iou(boxes: Sequence[Box], truth: Sequence[Box]) -> float:
    """Of the pair that fits best; 0 where there is no box."""
    return max((iou(box, true) for box in boxes for true in truth), default=0.0)


def _benchmark(name: str, title: str, splits: tuple[str, ...]) -> Benchmark:
    reader: Callable[[Path, Choice], list[Question]] = partial(read, name)
    figures = partial(paper.of_split, name)
    return Benchmark(title, splits, reader, score, figures, released(LONGEST))


REFCOCO = _benchmark("refcoco", "RefCOCO", ("val", "testA", "testB"))
REFCOCO_PLUS = _benchmark("refcoco+", "RefCOCO+", ("val", "testA", "testB"))
REFCOCOG = _benchmark("refcocog", "RefCOCOg", ("val", "test"))

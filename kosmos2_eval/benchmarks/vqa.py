"""Questions of VQAv2: `Question: ... Answer:`, the likeliest answer, judged by ten people's.

The answers of test-dev are not public: what was said is written as the evaluation server takes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kosmos2_core.grounded_text import GroundedText, write_markdown
from kosmos2_core.requests import Ask
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released, shares
from kosmos2_eval.benchmarks.official_files import as_published, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.benchmarks.vqa_accuracy import accuracy

SOURCE = "VQA v2.0 (visualqa.org/download.html)"
# Of each split: its folder of images, and how their names begin.
IMAGES = {
    "val": ("val2014", "COCO_val2014_"),
    "test-dev": ("test2015", "COCO_test2015_"),
    "test": ("test2015", "COCO_test2015_"),
}
UNKNOWN = "the answers are not public: hand submission.json to the evaluation server."


def read(data: Path, choice: Choice) -> list[Question]:
    folder, begin = IMAGES[choice.split]
    name = begin.removeprefix("COCO_").rstrip("_") if choice.split == "val" else f"{choice.split}2015"
    file = find(data, f"vqa/v2_OpenEnded_mscoco_{name}_questions.json", SOURCE)
    images = find(data, folder, f"COCO's {folder}.zip (images.cocodataset.org)")
    truths = _answers(data) if choice.split == "val" else {}
    with as_published(file):
        return [
            Question(
                str(one["question_id"]),
                (images / f"{begin}{one['image_id']:012}.jpg",),
                (Ask(plain(one["question"])),),
                *truths.get(one["question_id"], (None, "")),
            )
            for one in json_of(file)["questions"]
        ]


def _answers(data: Path) -> dict[int, tuple[list[str], str]]:
    """Of each question, ten people's answers, and their kind: yes/no, number, other."""
    file = find(data, "vqa/v2_mscoco_val2014_annotations.json", SOURCE)
    with as_published(file):
        return {
            one["question_id"]: ([said["answer"] for said in one["answers"]], one["answer_type"])
            for one in json_of(file)["annotations"]
        }


def plain(text: str) -> str:
    """Markdown of a text in which nothing is marked."""
    return write_markdown(GroundedText(text))


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    judged = [(question, one) for question, one in zip(questions, said, strict=True) if question.truth]
    values = [accuracy(one.text, question.truth) for question, one in judged]
    figures = shares("accuracy", [question for question, _ in judged], values)
    return figures if judged else [replace(one, remark=UNKNOWN) for one in figures]


def submission(questions: Sequence[Question], said: Sequence[Said]) -> str:
    """The file that the evaluation server takes."""
    results: list[Any] = [
        {"question_id": int(question.id), "answer": one.text.strip()}
        for question, one in zip(questions, said, strict=True)
    ]
    return json.dumps(results) + "\n"


VQAV2 = Benchmark(
    "VQAv2",
    ("val", "test-dev", "test"),
    read,
    score,
    partial(paper.of_split, "vqav2"),
    released(max_new_tokens=10),
    submission=submission,
)

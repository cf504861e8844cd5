"""OCRBench: a thousand questions about text in images; right is what has the true text in it.

The prompt is VLMEvalKit's, whose leaderboard the published figure is from; the rule is OCRBench's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kosmos2_core.requests import Ask
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released, share, shares
from kosmos2_eval.benchmarks.official_files import as_published, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.benchmarks.vqa import plain

SOURCE = "OCRBench (github.com/Yuliang-Liu/MultimodalOCR)"
FORMULAS = "HME100k"  # a data set in it, where spaces do not count and letters' case does
FURTHER = re.compile(r"Question:.*?Answer:|Question:.*", re.DOTALL)  # what a model asks itself


def read(data: Path, choice: Choice) -> list[Question]:
    file = find(data, "OCRBench/OCRBench.json", SOURCE)
    folder = find(data, "OCRBench/OCRBench_Images", SOURCE)
    with as_published(file):
        return [
            Question(
                str(number),  # their own numbers are of each data set
                (folder / one["image_path"],),
                (Ask(plain(one["question"]), ground=True),),
                (
                    one["dataset_name"],
                    [one["answers"]] if isinstance(one["answers"], str) else one["answers"],
                ),
                one["type"],
            )
            for number, one in enumerate(json_of(file))
        ]


def has_text(said: str, name: str, answers: Sequence[str]) -> bool:
    """Whether one of the answers to a question of this data set is in what was said."""

    def even(text: str) -> str:
        text = text.strip().replace("\n", " ")
        return text.replace(" ", "") if name == FORMULAS else text.lower()

    return any(even(answer) in even(said) for answer in answers)


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    """As if there were a thousand: the published score is how many are right."""
    right = [
        float(has_text(FURTHER.sub("", one.text), *question.truth))
        for question, one in zip(questions, said, strict=True)
    ]
    return [share("score", questions, right, scale=1000), *shares("accuracy", questions, right)]


OCRBENCH = Benchmark(
    "OCRBench",
    ("all",),
    read,
    score,
    partial(paper.of_split, "ocrbench"),
    released(max_new_tokens=512),
)

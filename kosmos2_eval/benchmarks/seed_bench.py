"""SEED-Bench, its questions about an image: the choice of most log-probability a token after `Answer:`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kosmos2_core.requests import Ask, Score
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released, shares
from kosmos2_eval.benchmarks.official_files import as_published, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.benchmarks.vqa import plain

SOURCE = "AILab-CVC/SEED-Bench on the hub"
LETTERS = "ABCD"


def read(data: Path, choice: Choice) -> list[Question]:
    file = find(data, "SEED-Bench/SEED-Bench.json", SOURCE)
    folder = find(data, "SEED-Bench/SEED-Bench-image", f"SEED-Bench-image.zip of {SOURCE}")
    with as_published(file):
        content = json_of(file)
        kinds = {number: kind for kind, number in content["question_type"].items()}
        return [
            Question(
                str(one["question_id"]),
                (folder / one["data_id"],),
                (Score(Ask(plain(_line(one["question"]))), _choices(one)),),
                LETTERS.index(one["answer"]),
                kinds[one["question_type_id"]],
            )
            for one in content["questions"]
            if one["data_type"] == "image"
        ]


def _choices(question: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_line(question[f"choice_{letter.lower()}"]).strip() for letter in LETTERS)


def _line(text: str) -> str:
    return text.replace("\n", " ")


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    """Share of questions whose true choice is the likeliest."""
    right = [float(one.likeliest == question.truth) for question, one in zip(questions, said, strict=True)]
    return shares("accuracy", questions, right)


SEED_BENCH = Benchmark(
    "SEED-Bench",
    ("image",),
    read,
    score,
    partial(paper.of_split, "seed-bench"),
    released(max_new_tokens=1),
)

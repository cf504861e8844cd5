"""ScienceQA's questions with an image: lettered options in the prompt, the letter of the answer.

Prompt and reading of the answer are VLMEvalKit's, whose leaderboard the published figure is from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kosmos2_core.requests import Ask
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released, shares
from kosmos2_eval.benchmarks.official_files import as_published, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.benchmarks.vqa import plain

SOURCE = "ScienceQA (github.com/lupantech/ScienceQA, tools/download.sh)"
LETTERS = "ABCDEFGHIJ"
MARKS = re.compile(r"[.()\[\],:;!*#{}]")
VERBOSE = 3  # words from which on a lone A may be an article


def read(data: Path, choice: Choice) -> list[Question]:
    file = find(data, "scienceqa/problems.json", SOURCE)
    splits = find(data, "scienceqa/pid_splits.json", SOURCE)
    folder = find(data, f"scienceqa/{choice.split}", SOURCE)
    with as_published(splits):
        names = json_of(splits)[choice.split]
    with as_published(file):
        problems = json_of(file)
        return [
            _question(name, folder / name / problems[name]["image"], problems[name])
            for name in names
            if problems[name]["image"]
        ]


def _question(name: str, image: Path, problem: dict[str, Any]) -> Question:
    truth = (problem["answer"], problem["choices"])
    return Question(name, (image,), (Ask(plain(prompt(problem)), ground=True),), truth, problem["subject"])


def prompt(problem: dict[str, Any]) -> str:
    hint = f"Hint: {problem['hint']}\n" if problem["hint"] else ""
    options = "".join(
        f"{letter}. {option}\n" for letter, option in zip(LETTERS, problem["choices"], strict=False)
    )
    return (
        f"{hint}{problem['question']}\n{options}\n"
        "Answer with the option’s letter from the given choices directly. "
    )


def chosen(said: str, options: Sequence[str]) -> int | None:
    """The option that an answer names: by its one letter, else by the one option whose words it has."""
    words = MARKS.sub(" ", said).split()
    letters = [place for place, letter in enumerate(LETTERS[: len(options)]) if letter in words]
    if len(letters) == 1:
        return None if letters == [0] and len(words) > VERBOSE else letters[0]
    lower = [option.lower() for option in options]
    if letters or len(said) > 2 * sum(map(len, lower)):
        return None
    named = [place for place, option in enumerate(lower) if option in said.lower()]
    return named[0] if len(named) == 1 else None


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    right = []
    for question, one in zip(questions, said, strict=True):
        answer, options = question.truth
        right.append(float(chosen(one.text, options) == answer))
    return shares("accuracy", questions, right)


SCIENCEQA = Benchmark(
    "ScienceQA",
    ("test", "val"),
    read,
    score,
    partial(paper.of_split, "scienceqa"),
    released(max_new_tokens=512),
)

"""Our results beside the published ones: as JSON, without times, and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.answers import AnswerStore
from kosmos2_eval.benchmarks.benchmark import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkPart,
    BenchmarkScore,
    Question,
)
from kosmos2_eval.benchmarks.runner import OURS, RELEASED

NAME_WIDTH, PUBLISHED_WIDTH, COLUMN_WIDTH = 26, 9, 20  # letters
MAX_NAMED = 5  # missing images and failed questions that are named


def results_of(
    benchmark: Benchmark,
    part: BenchmarkPart,
    questions: Sequence[Question],
    store: AnswerStore,
    missing: Iterable[Path],
) -> dict[str, Any]:
    """Return the content of results.json.

    Scores are computed from the questions that have an answer; the others are counted, and some are named.

    Args:
        benchmark: the benchmark.
        part: the evaluated part.
        questions: all questions of the part.
        store: all answers.
        missing: image files that do not exist.
    """
    answered, _ = answered_questions(questions, store, RELEASED)
    ways = [RELEASED, *([OURS] if any(question.ours for question in answered) else [])]
    scores = {way: benchmark.score(*answered_questions(questions, store, way)) for way in ways}
    published = benchmark.published(part)
    failed = [
        f"{question.id}: {store.failed[question.id]}" for question in questions if question.id in store.failed
    ]
    return {
        **store.about,
        "questions": len(questions),
        "answered": len(answered),
        "remarks": [
            *_left_out(list(map(str, missing)), failed),
            *(score.remark for score in scores[RELEASED] if score.remark),
        ],
        "figures": [
            {"name": row[0].name, "paper": published.get(row[0].name)}
            | {way: _numbers(score) for way, score in zip(ways, row, strict=True)}
            for row in zip(*scores.values(), strict=True)
        ],
    }


def answered_questions(
    questions: Sequence[Question], store: AnswerStore, way: str
) -> tuple[list[Question], list[BenchmarkAnswer]]:
    """Return the questions that have an answer, and these answers."""
    answered = [question for question in questions if question.id in store.answers]
    return answered, [store.answers[question.id][way] for question in answered]


def _left_out(missing: Sequence[str], failed: Sequence[str]) -> Iterator[str]:
    if missing:
        names = ", ".join(missing[:MAX_NAMED])
        yield f"{_counted(len(missing), 'image')} missing; their questions are left out: {names}."
    if failed:
        reasons = " ".join(failed[:MAX_NAMED])
        yield f"{_counted(len(failed), 'question')} left out because of errors: {reasons}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


def _numbers(score: BenchmarkScore) -> dict[str, Any]:
    """Return a score with four digits: the size of a batch changes the last digits of a model's numbers."""
    value, error = (None if number is None else round(number, 4) for number in (score.value, score.error))
    return {"value": value, "error": error, "count": score.count}


def check_complete(questions: Iterable[Question], store: AnswerStore) -> None:
    """Check that every question was asked by some process.

    Raises:
        InputError: a question has neither an answer nor an error.
    """
    missing = [
        question.id
        for question in questions
        if question.id not in store.answers and question.id not in store.failed
    ]
    if missing:
        raise InputError(
            f"{_counted(len(missing), 'question')} not answered in {store.folder}, {missing[0]} first: all"
            " processes must use this folder and the same data."
        )


def table(title: str, results: Mapping[str, Any]) -> str:
    """Return a table with a row per score: the published value, then ours with their standard errors."""
    ways = [way for way in (RELEASED, OURS) if any(way in row for row in results["figures"])]
    heads = {RELEASED: "released decoding" if OURS in ways else "measured", OURS: "box search"}
    lines = [f"{title}, {results['answered']} of {results['questions']} questions, {results['model']}", ""]
    columns = "".join(f"{heads[way]:>{COLUMN_WIDTH}}" for way in ways)
    lines.append(f"{'':<{NAME_WIDTH}}{'paper':>{PUBLISHED_WIDTH}}{columns}")
    for row in results["figures"]:
        cells = "".join(f"{_cell(row[way]):>{COLUMN_WIDTH}}" for way in ways)
        lines.append(f"{row['name']:<{NAME_WIDTH}}{_number(row['paper']):>{PUBLISHED_WIDTH}}{cells}")
    return "\n".join(lines)


def _cell(numbers: Mapping[str, Any]) -> str:
    error = "" if numbers["error"] is None else f" ± {numbers['error']:5.2f}"
    return f"{_number(numbers['value'])}{error}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

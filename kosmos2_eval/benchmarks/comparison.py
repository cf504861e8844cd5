"""Our figures beside the paper's: as JSON, without times, and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.answer_files import Answers
from kosmos2_eval.benchmarks.asking import OURS, RELEASED
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure
from kosmos2_eval.benchmarks.question import Question, Said

NAME, NUMBER, COLUMN = 26, 9, 20  # letters
FEW = 5  # of what was left out, so many are named


def results_of(
    benchmark: Benchmark,
    choice: Choice,
    questions: Sequence[Question],
    answers: Answers,
    missing: Iterable[Path],
) -> dict[str, Any]:
    """Figures of all questions that have an answer; the others are counted, and the first of them named."""
    asked, _ = answered(questions, answers, RELEASED)
    ways = [RELEASED, *([OURS] if any(one.ours for one in asked) else [])]
    figures = {way: benchmark.score(*answered(questions, answers, way)) for way in ways}
    paper = benchmark.paper(choice)
    failed = [f"{one.id}: {answers.failed[one.id]}" for one in questions if one.id in answers.failed]
    return {
        **answers.about,
        "questions": len(questions),
        "answered": len(asked),
        "remarks": [*_left_out(list(map(str, missing)), failed), *_remarks(figures.get(RELEASED, []))],
        "figures": [
            {"name": rows[0].name, "paper": paper.get(rows[0].name)}
            | {way: _numbers(one) for way, one in zip(ways, rows, strict=True)}
            for rows in zip(*figures.values(), strict=True)
        ],
    }


def answered(questions: Sequence[Question], answers: Answers, way: str) -> tuple[list[Question], list[Said]]:
    """The questions that have an answer, and their answers."""
    asked = [one for one in questions if one.id in answers.said]
    return asked, [answers.said[one.id][way] for one in asked]


def _left_out(missing: Sequence[str], failed: Sequence[str]) -> Iterator[str]:
    """The first of them are named."""
    if missing:
        names = ", ".join(missing[:FEW])
        yield f"{_counted(len(missing), 'image')} missing, and questions with them left out: {names}."
    if failed:
        yield f"{_counted(len(failed), 'question')} left out, not to be asked: {' '.join(failed[:FEW])}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what} is" if number == 1 else f"{number} {what}s are"


def _remarks(figures: Iterable[Figure]) -> list[str]:
    return [one.remark for one in figures if one.remark]


def _numbers(figure: Figure) -> dict[str, Any]:
    """Rounded, since what is asked at once changes the last digits of a model's numbers."""
    value, error = (None if one is None else round(one, 4) for one in (figure.value, figure.error))
    return {"value": value, "error": error, "count": figure.count}


def check_complete(questions: Iterable[Question], answers: Answers) -> None:
    """Whether each question that could be asked was, by whatever process."""
    silent = [one.id for one in questions if one.id not in answers.said and one.id not in answers.failed]
    if silent:
        raise InputError(
            f"{_counted(len(silent), 'question')} not answered in {answers.folder}, {silent[0]} first: all"
            " processes must share this folder, and have the same data."
        )


def table(title: str, results: Mapping[str, Any]) -> str:
    """Figures below each other; the paper's, then ours, each with its standard error."""
    ways = [way for way in (RELEASED, OURS) if any(way in row for row in results["figures"])]
    heads = {RELEASED: "released decoding" if OURS in ways else "measured", OURS: "box search"}
    lines = [f"{title}, {results['answered']} of {results['questions']} questions, {results['model']}", ""]
    lines.append(f"{'':<{NAME}}{'paper':>{NUMBER}}" + "".join(f"{heads[way]:>{COLUMN}}" for way in ways))
    for row in results["figures"]:
        cells = "".join(f"{_cell(row[way]):>{COLUMN}}" for way in ways)
        lines.append(f"{row['name']:<{NAME}}{_number(row['paper']):>{NUMBER}}{cells}")
    return "\n".join(lines)


def _cell(numbers: Mapping[str, Any]) -> str:
    error = "" if numbers["error"] is None else f" ± {numbers['error']:5.2f}"
    return f"{_number(numbers['value'])}{error}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

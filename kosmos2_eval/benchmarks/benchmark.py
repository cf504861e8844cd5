"""A benchmark: what it reads, how it decodes, and the figures it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kosmos2_core.decoding import Decoding
from kosmos2_eval.benchmarks.question import Question, Said
from kosmos2_eval.metrics import mean, standard_error


@dataclass(frozen=True)
class Choice:
    """Which part of a benchmark."""

    split: str
    few_shot: int = 0  # examples before each question
    seed: int = 0  # of their choice


@dataclass(frozen=True)
class Figure:
    name: str
    value: float | None  # in the paper's unit; None: it could not be computed here
    error: float | None  # standard error
    count: int  # of what it is a mean of
    remark: str = ""  # what a reader of it should know, in one sentence


@dataclass(frozen=True)
class Benchmark:
    title: str
    splits: tuple[str, ...]  # the first one where none is named
    read: Callable[[Path, Choice], list[Question]]
    score: Callable[[Sequence[Question], Sequence[Said]], list[Figure]]
    paper: Callable[[Choice], Mapping[str, float]]  # its figures, by the same names
    decoding: Decoding
    shots: tuple[int, ...] = (0,)  # how many examples it may have
    submission: Callable[[Sequence[Question], Sequence[Said]], str] | None = None  # for a server that judges


def released(max_new_tokens: int, beams: int = 1) -> Decoding:
    """As the public release decodes. Boxes are judged by their order, so nobody needs scores of them."""
    return Decoding(max_new_tokens, beams, released=True, scores=False)


def share(name: str, questions: Sequence[Question], values: Sequence[float], scale: float = 100) -> Figure:
    """A mean, in percent, whose error takes the questions about one image to go wrong together."""
    numbers = {group: number for number, group in enumerate({one.group: None for one in questions})}
    middle = mean(values)
    error = standard_error(values, [numbers[one.group] for one in questions])
    return Figure(
        name,
        None if middle is None else scale * middle,
        None if error is None else scale * error,
        len(values),
    )


def shares(
    name: str, questions: Sequence[Question], values: Sequence[float], scale: float = 100
) -> list[Figure]:
    """Of all questions, then of each kind in the order in which they come."""
    figures = [share(name, questions, values, scale)]
    for kind in dict.fromkeys(one.kind for one in questions if one.kind):
        own = [place for place, one in enumerate(questions) if one.kind == kind]
        figures.append(share(kind, [questions[at] for at in own], [values[at] for at in own], scale))
    return figures

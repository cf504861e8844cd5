"""The parts of a benchmark: questions, answers, decoding, scores and the published values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kosmos2_core.answers import Answer
from kosmos2_core.boxes import Box
from kosmos2_core.decoding import Decoding
from kosmos2_core.grounded_text import GroundedText, write_markdown
from kosmos2_core.requests import Request
from kosmos2_eval.metrics import mean, standard_error


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    Args:
        id: the same in every run; a question that has an answer is not asked again.
        images: in the order of the prompt; the image that is asked about comes last.
        requests: the requests that the paper makes; several if each option has its own prompt.
        truth: the true answer, in a type of the benchmark; the model never sees it.
        kind: results are also given by kind.
        ours: the same question as this project would ask it.
    """

    id: str
    images: tuple[Path, ...]
    requests: tuple[Request, ...]
    truth: Any
    kind: str = ""
    ours: Request | None = None

    @property
    def group(self) -> object:
        """A key that statistically dependent questions (about one image) have in common."""
        return self.images[-1] if self.images else self.id


@dataclass(frozen=True)
class BenchmarkAnswer:
    """The parts of an answer that benchmarks score.

    Args:
        text: the generated text.
        boxes: boxes of the first phrase, in the order in which they were generated.
        options: mean log-probability per token of every option.
    """

    text: str = ""
    boxes: tuple[Box, ...] = ()
    options: tuple[float, ...] = ()

    @property
    def best_option(self) -> int:
        """Index of the most probable option."""
        return max(range(len(self.options)), key=self.options.__getitem__)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        boxes = [[box.x1, box.y1, box.x2, box.y2] for box in self.boxes]
        return {"text": self.text, "boxes": boxes, "options": list(self.options)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> BenchmarkAnswer:
        """Return the answer that `to_json` wrote."""
        boxes = tuple(Box(*corners) for corners in fields["boxes"])
        return cls(fields["text"], boxes, tuple(fields["options"]))

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> BenchmarkAnswer:
        """Combine the answers to the requests of one question.

        The model may generate the phrase again with more boxes: they follow the first ones, as in the
        evaluation of the release.
        """
        answer = answers[0]
        phrase = answer.phrases[0].phrase if answer.phrases else ""
        boxes = (box for entity in answer.phrases if entity.phrase == phrase for box in entity.boxes)
        options = tuple(option.mean for answer in answers for option in answer.options)
        return cls(answer.text, tuple(replace(box, score=None) for box in boxes), options)


@dataclass(frozen=True)
class BenchmarkPart:
    """Which part of a benchmark to run.

    Args:
        split: name of the split.
        few_shot: number of examples before each question.
        seed: seed for the choice of examples.
    """

    split: str
    few_shot: int = 0
    seed: int = 0


@dataclass(frozen=True)
class BenchmarkScore:
    """One result of a benchmark.

    Args:
        name: the same name as the published value has.
        value: in the unit of the paper; None if it cannot be computed on this machine.
        error: its standard error.
        count: number of values of which it is the mean.
        remark: a sentence that a reader of the result should know.
    """

    name: str
    value: float | None
    error: float | None
    count: int
    remark: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the paper.

    Args:
        read: reads the questions of a part from the folder of official files.
        score: computes results from questions and answers.
        published: returns the published values of a part by name.
        decoding: how answers are generated.
        submission: makes the file for an evaluation server, if the true answers are not public.
    """

    read: Callable[[Path, BenchmarkPart], list[Question]]
    score: Callable[[Sequence[Question], Sequence[BenchmarkAnswer]], list[BenchmarkScore]]
    published: Callable[[BenchmarkPart], Mapping[str, float]]
    decoding: Decoding
    submission: Callable[[Sequence[Question], Sequence[BenchmarkAnswer]], str] | None = None


def released_decoding(max_new_tokens: int, beams: int = 1) -> Decoding:
    """Return the decoding of the public release, without scores: boxes are ranked by their order."""
    return Decoding(max_new_tokens, beams, released=True, scores=False)


def plain_text(text: str) -> str:
    """Return grounded Markdown of a text in which nothing is marked."""
    return write_markdown(GroundedText(text))


# Scores.


def mean_score(
    name: str, questions: Sequence[Question], values: Sequence[float], scale: float = 100
) -> BenchmarkScore:
    """Return the mean of one value per question, in percent, with a standard error over images."""
    numbers = {group: number for number, group in enumerate({question.group: None for question in questions})}
    value = mean(values)
    error = standard_error(values, [numbers[question.group] for question in questions])
    return BenchmarkScore(
        name,
        None if value is None else scale * value,
        None if error is None else scale * error,
        len(values),
    )


def mean_scores(name: str, questions: Sequence[Question], values: Sequence[float]) -> list[BenchmarkScore]:
    """Return the mean over all questions, then by kind in the order in which kinds appear."""
    scores = [mean_score(name, questions, values)]
    for kind in dict.fromkeys(question.kind for question in questions if question.kind):
        indices = [index for index, question in enumerate(questions) if question.kind == kind]
        of_kind = [questions[index] for index in indices]
        scores.append(mean_score(kind, of_kind, [values[index] for index in indices]))
    return scores


# Published values, by the names of our scores. RefCOCO, Flickr30k and SEED-Bench: the public release.
# Captions, VQA, REG and language: the paper. ScienceQA and OCRBench: the public leaderboard of VLMEvalKit.

RECALLS = ("R@1", "R@5", "R@10")
PUBLISHED: dict[str, dict[str, Mapping[str, float]]] = {
    "refcoco": {
        "val": {"accuracy": 52.32},
        "testA": {"accuracy": 57.42},
        "testB": {"accuracy": 47.26},
    },
    "refcoco+": {
        "val": {"accuracy": 45.48},
        "testA": {"accuracy": 50.73},
        "testB": {"accuracy": 42.24},
    },
    "refcocog": {"val": {"accuracy": 60.57}, "test": {"accuracy": 61.65}},
    "flickr30k": {
        "val": dict(zip(RECALLS, (77.8, 79.2, 79.3), strict=True)),
        "test": dict(zip(RECALLS, (78.7, 80.1, 80.1), strict=True)),
    },
    "caption": {"test": {"CIDEr": 66.7}},
    "vqav2": {"test-dev": {"accuracy": 45.6}},
    "seed-bench": {
        "image": {
            "accuracy": 50.0,
            "Scene Understanding": 63.36,
            "Instance Identity": 57.07,
            "Instance Location": 43.96,
            "Spatial Relation": 37.90,
            "Instance Interaction": 55.67,
            "Visual Reasoning": 60.72,
        }
    },
    "scienceqa": {"test": {"accuracy": 32.7}},
    "ocrbench": {"all": {"score": 244}},
    "language": {
        task: {"accuracy": accuracy}
        for task, accuracy in {
            "storycloze": 72.0,
            "hellaswag": 49.4,
            "winograd": 69.1,
            "winogrande": 55.6,
            "piqa": 72.9,
            "boolq": 62.0,
            "cb": 30.4,
            "copa": 67.0,
        }.items()
    },
}
PUBLISHED_REG = {  # by the number of examples
    0: {"METEOR": 12.2, "CIDEr": 60.3},
    2: {"METEOR": 13.8, "CIDEr": 62.2},
    4: {"METEOR": 14.1, "CIDEr": 62.3},
}


def published_by_split(name: str) -> Callable[[BenchmarkPart], Mapping[str, float]]:
    """Return a function that looks up the published values of a split of a benchmark."""
    return lambda part: PUBLISHED[name].get(part.split, {})


def published_by_shots(part: BenchmarkPart) -> Mapping[str, float]:
    """Return the published values of REG for a number of examples."""
    return PUBLISHED_REG.get(part.few_shot, {})

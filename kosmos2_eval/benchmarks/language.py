"""Eight tasks of language alone: of several texts, the one whose end has most log-probability a token.

Wordings are those of the authors' public few-shot evaluation (of structured prompting, Hao et al., 2022). In
Winograd and Winogrande the options differ within the sentence, and what is judged is how it goes on.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kosmos2_core.requests import Complete, Score
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, released
from kosmos2_eval.benchmarks.official_files import as_published, find, lines_of, rows_of, text_of
from kosmos2_eval.benchmarks.question import Question
from kosmos2_eval.benchmarks.seed_bench import score
from kosmos2_eval.benchmarks.vqa import plain

CB_LABELS = ("entailment", "contradiction", "neutral")
JOINTS = {"cause": "because", "effect": "so"}


@dataclass(frozen=True)
class Cloze:
    """How each option begins and how it ends; the end is judged."""

    options: tuple[tuple[str, str], ...]
    truth: int

    @property
    def requests(self) -> tuple[Score, ...]:
        """Options that begin alike are asked for at once."""
        beginnings = dict.fromkeys(beginning for beginning, _ in self.options)
        if len(beginnings) == 1:
            return (Score(Complete(plain(*beginnings)), tuple(ending for _, ending in self.options)),)
        return tuple(Score(Complete(plain(beginning)), (ending,)) for beginning, ending in self.options)


def of_endings(beginning: str, endings: list[str], truth: int) -> Cloze:
    return Cloze(tuple((beginning, ending) for ending in endings), truth)


def storycloze(file: Path) -> Iterator[Cloze]:
    for row in rows_of(file):
        story = " ".join(row[f"InputSentence{number}"] for number in (1, 2, 3, 4))
        endings = [row[f"RandomFifthSentenceQuiz{number}"] for number in (1, 2)]
        yield of_endings(story, endings, int(row["AnswerRightEnding"]) - 1)


def hellaswag(file: Path) -> Iterator[Cloze]:
    for one in lines_of(file):
        yield of_endings(one["ctx"], one["endings"], int(one["label"]))


def winograd(file: Path) -> Iterator[Cloze]:
    for schema in ElementTree.fromstring(text_of(file)).iter("schema"):
        before, after = (_words(schema.findtext(f"text/{part}")) for part in ("txt1", "txt2"))
        options = [_words(answer.text) for answer in schema.iterfind("answers/answer")]
        truth = "AB".index(_words(schema.findtext("correctAnswer")).rstrip("."))
        yield Cloze(tuple((f"{before} {option}".strip(), after) for option in options), truth)


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def winogrande(file: Path) -> Iterator[Cloze]:
    for one in lines_of(file):
        before, _, after = one["sentence"].partition("_")
        options = tuple((before + one[name], after) for name in ("option1", "option2"))
        yield Cloze(options, int(one["answer"]) - 1)


def piqa(file: Path) -> Iterator[Cloze]:
    labels = find(file.parent, "valid-labels.lst", SOURCES["piqa"][1])
    for one, label in zip(lines_of(file), text_of(labels).split(), strict=True):
        yield of_endings(one["goal"], [one["sol1"], one["sol2"]], int(label))


def boolq(file: Path) -> Iterator[Cloze]:
    for one in lines_of(file):
        question = f"After reading this passage, I have a question: {one['question']}? True or False?"
        yield of_endings(f"Passage: {one['passage']} {question}", ["False", "True"], int(one["label"]))


def cb(file: Path) -> Iterator[Cloze]:
    for one in lines_of(file):
        question = f"{one['premise']} Question: {one['hypothesis']}. True, False, or Neither? Answer:"
        yield of_endings(question, ["True", "False", "Neither"], CB_LABELS.index(one["label"]))


def copa(file: Path) -> Iterator[Cloze]:
    for one in lines_of(file):
        premise = f"{one['premise'].removesuffix('.')} {JOINTS[one['question']]}"
        choices = [one[name][0].lower() + one[name][1:] for name in ("choice1", "choice2")]
        yield of_endings(premise, choices, int(one["label"]))


# Of each task: where its file is, where to get it, and how it is read.
SUPERGLUE = "SuperGLUE (super.gluebenchmark.com/tasks)"
SOURCES: dict[str, tuple[str, str, Callable[[Path], Iterator[Cloze]]]] = {
    "storycloze": (
        "storycloze/cloze_test_test__spring2016 - cloze_test_ALL_test.csv",
        "the Story Cloze Test, Spring 2016 (its form: cs.rochester.edu/nlp/rocstories)",
        storycloze,
    ),
    "hellaswag": ("hellaswag/hellaswag_val.jsonl", "github.com/rowanz/hellaswag, data", hellaswag),
    "winograd": ("winograd/WSCollection.xml", "cs.nyu.edu/~davise/papers/WinogradSchemas", winograd),
    "winogrande": ("winogrande_1.1/dev.jsonl", "winogrande_1.1.zip (winogrande.allenai.org)", winogrande),
    "piqa": ("piqa/valid.jsonl", "github.com/ybisk/ybisk.github.io, piqa/data", piqa),
    "boolq": ("BoolQ/val.jsonl", SUPERGLUE, boolq),
    "cb": ("CB/val.jsonl", SUPERGLUE, cb),
    "copa": ("COPA/val.jsonl", SUPERGLUE, copa),
}


def read(data: Path, choice: Choice) -> list[Question]:
    place, source, clozes = SOURCES[choice.split]
    file = find(data, place, source)
    with as_published(file):
        return [
            Question(str(number), (), cloze.requests, cloze.truth)
            for number, cloze in enumerate(clozes(file), 1)
        ]


LANGUAGE = Benchmark(
    "Language",
    tuple(SOURCES),
    read,
    score,
    partial(paper.of_split, "language"),
    released(max_new_tokens=1),
)

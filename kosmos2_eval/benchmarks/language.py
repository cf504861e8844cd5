"""Eight tasks of language alone: of several texts, choose the one whose ending has the highest probability.

Probability is the mean log-probability per token. The wordings are those of the authors' public few-shot
evaluation (structured prompting, Hao et al., 2022). In Winograd and Winogrande the options differ within the
sentence, and the rest of the sentence is scored.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kosmos2_core.requests import Complete, Score
from kosmos2_eval.benchmarks.benchmark import (
    Benchmark,
    BenchmarkPart,
    Question,
    plain_text,
    published_by_split,
    released_decoding,
)
from kosmos2_eval.benchmarks.official_files import as_published, find, lines_of, rows_of, text_of
from kosmos2_eval.benchmarks.visual_questions import score_options

CB_LABELS = ("entailment", "contradiction", "neutral")
CONJUNCTIONS = {"cause": "because", "effect": "so"}  # of COPA


@dataclass(frozen=True)
class Cloze:
    """A text with several options.

    Args:
        options: the beginning and the ending of every option; the ending is scored.
        truth: index of the true option.
    """

    options: tuple[tuple[str, str], ...]
    truth: int

    @property
    def requests(self) -> tuple[Score, ...]:
        """The requests for all options; options with the same beginning are one request."""
        beginnings = dict.fromkeys(beginning for beginning, _ in self.options)
        if len(beginnings) == 1:
            return (Score(Complete(plain_text(*beginnings)), tuple(ending for _, ending in self.options)),)
        return tuple(Score(Complete(plain_text(beginning)), (ending,)) for beginning, ending in self.options)


def cloze_of_endings(beginning: str, endings: list[str], truth: int) -> Cloze:
    """Return a text whose options differ in their ending."""
    return Cloze(tuple((beginning, ending) for ending in endings), truth)


# Readers of the tasks' files.


def storycloze(file: Path) -> Iterator[Cloze]:
    """Yield stories of four sentences with two endings."""
    for row in rows_of(file):
        story = " ".join(row[f"InputSentence{number}"] for number in (1, 2, 3, 4))
        endings = [row[f"RandomFifthSentenceQuiz{number}"] for number in (1, 2)]
        yield cloze_of_endings(story, endings, int(row["AnswerRightEnding"]) - 1)


def hellaswag(file: Path) -> Iterator[Cloze]:
    """Yield contexts with four endings."""
    for entry in lines_of(file):
        yield cloze_of_endings(entry["ctx"], entry["endings"], int(entry["label"]))


def winograd(file: Path) -> Iterator[Cloze]:
    """Yield sentences in which each option replaces the pronoun."""
    for schema in ElementTree.fromstring(text_of(file)).iter("schema"):
        before, after = (_words(schema.findtext(f"text/{part}")) for part in ("txt1", "txt2"))
        options = [_words(answer.text) for answer in schema.iterfind("answers/answer")]
        truth = "AB".index(_words(schema.findtext("correctAnswer")).rstrip("."))
        yield Cloze(tuple((f"{before} {option}".strip(), after) for option in options), truth)


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def winogrande(file: Path) -> Iterator[Cloze]:
    """Yield sentences in which each option fills the gap."""
    for entry in lines_of(file):
        before, _, after = entry["sentence"].partition("_")
        options = tuple((before + entry[name], after) for name in ("option1", "option2"))
        yield Cloze(options, int(entry["answer"]) - 1)


def piqa(file: Path) -> Iterator[Cloze]:
    """Yield goals with two solutions."""
    labels = find(file.parent, "valid-labels.lst", SOURCES["piqa"][1])
    for entry, label in zip(lines_of(file), text_of(labels).split(), strict=True):
        yield cloze_of_endings(entry["goal"], [entry["sol1"], entry["sol2"]], int(label))


def boolq(file: Path) -> Iterator[Cloze]:
    """Yield passages with a question whose answer is True or False."""
    for entry in lines_of(file):
        question = f"After reading this passage, I have a question: {entry['question']}? True or False?"
        text = f"Passage: {entry['passage']} {question}"
        yield cloze_of_endings(text, ["False", "True"], int(entry["label"]))


def cb(file: Path) -> Iterator[Cloze]:
    """Yield premises with a hypothesis that is True, False or Neither."""
    for entry in lines_of(file):
        text = f"{entry['premise']} Question: {entry['hypothesis']}. True, False, or Neither? Answer:"
        yield cloze_of_endings(text, ["True", "False", "Neither"], CB_LABELS.index(entry["label"]))


def copa(file: Path) -> Iterator[Cloze]:
    """Yield premises with two causes or effects."""
    for entry in lines_of(file):
        premise = f"{entry['premise'].removesuffix('.')} {CONJUNCTIONS[entry['question']]}"
        choices = [entry[name][0].lower() + entry[name][1:] for name in ("choice1", "choice2")]
        yield cloze_of_endings(premise, choices, int(entry["label"]))


# The path, the source and the reader of each task's file.
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


def read_language(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the texts of a task; the name of the split is the name of the task."""
    path, source, read = SOURCES[part.split]
    file = find(data, path, source)
    with as_published(file):
        return [
            Question(str(number), (), cloze.requests, cloze.truth)
            for number, cloze in enumerate(read(file), 1)
        ]


LANGUAGE = Benchmark(
    read_language,
    score_options,
    published_by_split("language"),
    released_decoding(max_new_tokens=1),
)

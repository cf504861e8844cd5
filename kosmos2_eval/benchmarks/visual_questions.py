"""Benchmarks of questions about images: VQAv2, SEED-Bench, ScienceQA and OCRBench.

VQAv2: `Question: ... Answer:`, the most probable answer, scored by the answers of ten people. The true
answers of test-dev are not public; a file for the evaluation server is written. SEED-Bench: the option with
the highest log-probability per token after `Answer:`. ScienceQA and OCRBench: prompts and reading of answers
are those of VLMEvalKit, whose leaderboard has the published values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kosmos2_core.requests import Ask, Score
from kosmos2_eval.benchmarks.benchmark import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkPart,
    BenchmarkScore,
    Question,
    mean_score,
    mean_scores,
    plain_text,
    published_by_split,
    released_decoding,
)
from kosmos2_eval.benchmarks.official_files import as_published, find, json_of

# VQAv2.

VQA_SOURCE = "VQA v2.0 (visualqa.org/download.html)"
# The folder of images of each split, and the beginning of their names.
VQA_IMAGES = {
    "val": ("val2014", "COCO_val2014_"),
    "test-dev": ("test2015", "COCO_test2015_"),
    "test": ("test2015", "COCO_test2015_"),
}
NOT_PUBLIC = "the true answers are not public: submit submission.json to the evaluation server."


def read_vqa(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the questions of a split; those of val have the answers of ten people."""
    folder, prefix = VQA_IMAGES[part.split]
    name = prefix.removeprefix("COCO_").rstrip("_") if part.split == "val" else f"{part.split}2015"
    file = find(data, f"vqa/v2_OpenEnded_mscoco_{name}_questions.json", VQA_SOURCE)
    images = find(data, folder, f"COCO's {folder}.zip (images.cocodataset.org)")
    truths = _vqa_truths(data) if part.split == "val" else {}
    with as_published(file):
        return [
            Question(
                str(entry["question_id"]),
                (images / f"{prefix}{entry['image_id']:012}.jpg",),
                (Ask(plain_text(entry["question"])),),
                *truths.get(entry["question_id"], (None, "")),
            )
            for entry in json_of(file)["questions"]
        ]


def _vqa_truths(data: Path) -> dict[int, tuple[list[str], str]]:
    """Return ten people's answers and their kind (yes/no, number, other) by the id of the question."""
    file = find(data, "vqa/v2_mscoco_val2014_annotations.json", VQA_SOURCE)
    with as_published(file):
        return {
            entry["question_id"]: ([answer["answer"] for answer in entry["answers"]], entry["answer_type"])
            for entry in json_of(file)["annotations"]
        }


def score_vqa(questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]) -> list[BenchmarkScore]:
    """Score answers by the rules of the VQA evaluation server."""
    scored = [pair for pair in zip(questions, answers, strict=True) if pair[0].truth]
    values = [vqa_accuracy(answer.text, question.truth) for question, answer in scored]
    scores = mean_scores("accuracy", [question for question, _ in scored], values)
    return scores if scored else [replace(score, remark=NOT_PUBLIC) for score in scores]


def vqa_submission(questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]) -> str:
    """Return the file that the evaluation server takes."""
    results: list[Any] = [
        {"question_id": int(question.id), "answer": answer.text.strip()}
        for question, answer in zip(questions, answers, strict=True)
    ]
    return json.dumps(results) + "\n"


VQAV2 = Benchmark(
    read_vqa,
    score_vqa,
    published_by_split("vqav2"),
    released_decoding(max_new_tokens=10),
    submission=vqa_submission,
)

# VQA accuracy, by the rules of the evaluation server. Ten people answered each question; an answer gets a
# third of a point for each person with the same answer, up to one point. Each person is left out once, so
# that people can be scored by the same rule.

# Punctuation is removed where it stands beside a space, or if the text has a number with a comma; elsewhere
# it becomes a space.
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
COMMA = re.compile(r"\d,\d")
PERIOD = re.compile(r"\.(?!\d)")
MAX_PERIODS = 32  # number of periods that the server removes
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(DIGIT_WORDS)}
ARTICLES = ("a", "an", "the")
# Contractions that are recognised without any one of their apostrophes. The server's list lacks some.
CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've
    mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
    they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd
    where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
    wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[: mark.start()] + word[mark.end() :]: word
    for word in CONTRACTED.split()
    for mark in re.finditer("'", word)
} | {"somebody'd": "somebodyd"}


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """Return the accuracy of an answer, from 0 to 1.

    Answers are normalised only if the people do not all give the same answer.
    """
    answer, truths = _without_breaks(answer), [_without_breaks(truth) for truth in truths]
    if len(set(truths)) > 1:
        answer, truths = normalise_answer(answer), [normalise_answer(truth) for truth in truths]
    same = sum(truth == answer for truth in truths)
    accuracies = [min(1.0, (same - (truth == answer)) / 3) for truth in truths]
    return sum(accuracies) / len(accuracies)


def normalise_answer(text: str) -> str:
    """Return an answer without punctuation and articles, with digits, and with apostrophes."""
    words = (NUMBERS.get(word, word) for word in _without_punctuation(text).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _without_punctuation(text: str) -> str:
    out = text
    numbers = COMMA.search(text) is not None
    for mark in PUNCTUATION:
        dropped = numbers or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if dropped else " ")
    return PERIOD.sub("", out, count=MAX_PERIODS)


def _without_breaks(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


# SEED-Bench.

SEED_SOURCE = "AILab-CVC/SEED-Bench on the hub"
SEED_LETTERS = "ABCD"


def read_seed_bench(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the questions about single images."""
    file = find(data, "SEED-Bench/SEED-Bench.json", SEED_SOURCE)
    folder = find(data, "SEED-Bench/SEED-Bench-image", f"SEED-Bench-image.zip of {SEED_SOURCE}")
    with as_published(file):
        content = json_of(file)
        kinds = {number: kind for kind, number in content["question_type"].items()}
        return [
            Question(
                str(entry["question_id"]),
                (folder / entry["data_id"],),
                (Score(Ask(plain_text(_on_one_line(entry["question"]))), _seed_choices(entry)),),
                SEED_LETTERS.index(entry["answer"]),
                kinds[entry["question_type_id"]],
            )
            for entry in content["questions"]
            if entry["data_type"] == "image"
        ]


def _seed_choices(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_on_one_line(entry[f"choice_{letter.lower()}"]).strip() for letter in SEED_LETTERS)


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ")


def score_options(questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]) -> list[BenchmarkScore]:
    """Score the most probable option of every question."""
    right = [
        float(answer.best_option == question.truth)
        for question, answer in zip(questions, answers, strict=True)
    ]
    return mean_scores("accuracy", questions, right)


SEED_BENCH = Benchmark(
    read_seed_bench,
    score_options,
    published_by_split("seed-bench"),
    released_decoding(max_new_tokens=1),
)

# ScienceQA: questions with an image; options with letters in the prompt, the letter as the answer.

SCIENCE_SOURCE = "ScienceQA (github.com/lupantech/ScienceQA, tools/download.sh)"
SCIENCE_LETTERS = "ABCDEFGHIJ"
MARKS = re.compile(r"[.()\[\],:;!*#{}]")
MAX_LETTER_WORDS = 3  # in a longer answer, a single A may be an article


def read_scienceqa(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the questions of a split that have an image."""
    file = find(data, "scienceqa/problems.json", SCIENCE_SOURCE)
    splits = find(data, "scienceqa/pid_splits.json", SCIENCE_SOURCE)
    folder = find(data, f"scienceqa/{part.split}", SCIENCE_SOURCE)
    with as_published(splits):
        names = json_of(splits)[part.split]
    with as_published(file):
        problems = json_of(file)
        return [
            _science_question(name, folder / name / problems[name]["image"], problems[name])
            for name in names
            if problems[name]["image"]
        ]


def _science_question(name: str, image: Path, problem: dict[str, Any]) -> Question:
    request = Ask(plain_text(_science_prompt(problem)), ground=True)
    return Question(name, (image,), (request,), (problem["answer"], problem["choices"]), problem["subject"])


def _science_prompt(problem: dict[str, Any]) -> str:
    hint = f"Hint: {problem['hint']}\n" if problem["hint"] else ""
    options = "".join(
        f"{letter}. {option}\n" for letter, option in zip(SCIENCE_LETTERS, problem["choices"], strict=False)
    )
    return (
        f"{hint}{problem['question']}\n{options}\n"
        "Answer with the option’s letter from the given choices directly. "
    )


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """Return the option that an answer names, or None if it does not name exactly one.

    An answer names an option by its letter, or else by its words.
    """
    words = MARKS.sub(" ", answer).split()
    letters = [index for index, letter in enumerate(SCIENCE_LETTERS[: len(options)]) if letter in words]
    if len(letters) == 1:
        return None if letters == [0] and len(words) > MAX_LETTER_WORDS else letters[0]
    lower = [option.lower() for option in options]
    if letters or len(answer) > 2 * sum(map(len, lower)):
        return None
    named = [index for index, option in enumerate(lower) if option in answer.lower()]
    return named[0] if len(named) == 1 else None


def score_scienceqa(
    questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]
) -> list[BenchmarkScore]:
    """Score the option that every answer names."""
    right = []
    for question, answer in zip(questions, answers, strict=True):
        truth, options = question.truth
        right.append(float(chosen_option(answer.text, options) == truth))
    return mean_scores("accuracy", questions, right)


SCIENCEQA = Benchmark(
    read_scienceqa,
    score_scienceqa,
    published_by_split("scienceqa"),
    released_decoding(max_new_tokens=512),
)

# OCRBench: a thousand questions about text in images. An answer that contains a true text is right.

OCR_SOURCE = "OCRBench (github.com/Yuliang-Liu/MultimodalOCR)"
FORMULAS = "HME100k"  # a data set of formulas, in which spaces do not count and upper case does
NEXT_QUESTION = re.compile(r"Question:.*?Answer:|Question:.*", re.DOTALL)  # that a model asks itself


def read_ocrbench(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read all questions."""
    file = find(data, "OCRBench/OCRBench.json", OCR_SOURCE)
    folder = find(data, "OCRBench/OCRBench_Images", OCR_SOURCE)
    with as_published(file):
        return [
            Question(
                str(number),  # the ids in the file repeat for each data set
                (folder / entry["image_path"],),
                (Ask(plain_text(entry["question"]), ground=True),),
                (
                    entry["dataset_name"],
                    [entry["answers"]] if isinstance(entry["answers"], str) else entry["answers"],
                ),
                entry["type"],
            )
            for number, entry in enumerate(json_of(file))
        ]


def contains_truth(answer: str, data_set: str, truths: Sequence[str]) -> bool:
    """Return whether an answer contains one of the true texts, by the rule of OCRBench."""

    def comparable(text: str) -> str:
        text = text.strip().replace("\n", " ")
        return text.replace(" ", "") if data_set == FORMULAS else text.lower()

    return any(comparable(truth) in comparable(answer) for truth in truths)


def score_ocrbench(questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]) -> list[BenchmarkScore]:
    """Return the published kind of score, right answers of a thousand, and accuracy by kind."""
    right = [
        float(contains_truth(NEXT_QUESTION.sub("", answer.text), *question.truth))
        for question, answer in zip(questions, answers, strict=True)
    ]
    return [
        mean_score("score", questions, right, scale=1000),
        *mean_scores("accuracy", questions, right),
    ]


OCRBENCH = Benchmark(
    read_ocrbench,
    score_ocrbench,
    published_by_split("ocrbench"),
    released_decoding(max_new_tokens=512),
)

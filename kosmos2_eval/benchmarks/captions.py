"""Caption benchmarks: captions of Flickr30k and descriptions of regions (REG) of RefCOCOg.

Flickr30k, in Karpathy's split, asks `An image of` and takes the best of five beams. REG asks
`<grounding><phrase> It</phrase><object>..</object> is` once for each box; the truth is all expressions that
people gave for it. Its examples (`few_shot`) are boxes of the training split, drawn separately for each
question.

METEOR and CIDEr are computed by pycocoevalcap, as the published values were. Both need the words of the Penn
Treebank tokenizer, which needs Java, as does METEOR. Without Java, words are split by a rule that differs
only in rare cases, and METEOR is left out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.requests import Caption, Complete, Describe
from kosmos2_eval.benchmarks.benchmark import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkPart,
    BenchmarkScore,
    Question,
    published_by_shots,
    published_by_split,
    released_decoding,
)
from kosmos2_eval.benchmarks.grounding import ANNOTATIONS, COCO_IMAGES, FLICKR_IMAGES, annotated
from kosmos2_eval.benchmarks.official_files import as_published, box_of_xywh, find, json_of
from kosmos2_eval.metrics import standard_error

CAPTIONS = "Karpathy's caption_datasets.zip (cs.stanford.edu/people/karpathy/deepimagesent)"
MAX_TOKENS = 64

# Captions of Flickr30k.


def read_captions(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the images of a split with their five captions."""
    file = find(data, "karpathy/dataset_flickr30k.json", CAPTIONS)
    folder = find(data, "flickr30k-images", FLICKR_IMAGES)
    with as_published(file):
        return [
            Question(
                str(image["imgid"]),
                (folder / image["filename"],),
                (Caption(ground=False),),
                [sentence["raw"] for sentence in image["sentences"]],
            )
            for image in json_of(file)["images"]
            if image["split"] == part.split
        ]


def score_texts(
    names: Sequence[str], questions: Sequence[Question], answers: Sequence[BenchmarkAnswer]
) -> list[BenchmarkScore]:
    """Score the texts of answers by `METEOR`, `CIDEr` or both."""
    truths = [question.truth for question in questions]
    return caption_scores(truths, [answer.text for answer in answers], names)


CAPTION = Benchmark(
    read_captions,
    partial(score_texts, ("CIDEr",)),
    published_by_split("caption"),
    released_decoding(MAX_TOKENS, beams=5),
)


# Regions of RefCOCOg.


@dataclass
class AnnotatedRegion:
    """An annotated object.

    Args:
        name: COCO's id of the annotation.
        file: the image.
        box: the object in the image.
        expressions: what people called it.
    """

    name: str
    file: Path
    box: Box
    expressions: list[str] = field(default_factory=list)


def read_regions(data: Path, part: BenchmarkPart) -> list[Question]:
    """Read the regions of a split, each with `few_shot` examples of the training split."""
    regions = _regions(data, part.split)
    if not part.few_shot:
        return [
            Question(region.name, (region.file,), (Describe(region.box),), region.expressions)
            for region in regions
        ]
    training = [region for region in _regions(data, "train") if region.file.is_file()]
    return list(_with_examples(regions, training, part))


def _regions(data: Path, split: str) -> list[AnnotatedRegion]:
    file = find(data, f"mdetr_annotations/finetune_refcocog_{split}.json", ANNOTATIONS)
    folder = find(data, "train2014", COCO_IMAGES)
    regions: dict[str, AnnotatedRegion] = {}
    with as_published(file):
        for image, annotation in annotated(json_of(file)):
            for box in box_of_xywh(annotation["bbox"], image["width"], image["height"]):
                name = str(annotation["original_id"])
                region = regions.setdefault(name, AnnotatedRegion(name, folder / image["file_name"], box))
                region.expressions.append(image["caption"])
    return list(regions.values())


def _with_examples(
    regions: Sequence[AnnotatedRegion], training: Sequence[AnnotatedRegion], part: BenchmarkPart
) -> Iterator[Question]:
    """Yield questions with examples; a question has the same examples in every run."""
    for number, region in enumerate(regions):
        order = np.random.default_rng((part.seed, number)).permutation(len(training))
        candidates = (training[index] for index in order if training[index].file != region.file)
        examples = list(islice(candidates, part.few_shot))
        if len(examples) < part.few_shot:
            raise InputError(
                f"a question has only {len(examples)} examples with an image: train2014 is not complete."
            )
        request = Complete(
            region_prompt(region.box),
            tuple(region_prompt(example.box, example.expressions[0]) for example in examples),
            ground=True,
        )
        images = (*(example.file for example in examples), region.file)
        yield Question(region.name, images, (request,), region.expressions)


def region_prompt(box: Box, expression: str = "") -> str:
    """Return `It is EXPRESSION` with the box at `It`."""
    return write_markdown(GroundedText(f"It is {expression}".rstrip(), (Phrase(0, 2, (box,)),)))


REG = Benchmark(
    read_regions,
    partial(score_texts, ("METEOR", "CIDEr")),
    published_by_shots,
    released_decoding(MAX_TOKENS),
)


# METEOR and CIDEr.

NEEDS_JAVA = "needs Java (`apt install default-jre-headless`), which is not installed"
WORD = re.compile(
    r"(?:[a-z]\.){2,}|n't\b|'(?:s|m|d|re|ve|ll)\b|\w+?(?=n't\b)|\w+(?:-\w+|[.,:](?=\d)\w+)*|[^\w\s]"
)
DROPPED = frozenset("'`.?!,:-;\"")
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

TextsById = dict[int, list[str]]


def caption_scores(
    truths: Sequence[Sequence[str]], texts: Sequence[str], names: Sequence[str]
) -> list[BenchmarkScore]:
    """Return scores in percent.

    Args:
        truths: the true texts of every generated text.
        texts: the generated texts.
        names: `METEOR`, `CIDEr` or both.
    """
    java = shutil.which("java") is not None
    split = java_words if java else plain_words
    references = split(
        {number: [_on_one_line(text) for text in of_id] for number, of_id in enumerate(truths)}
    )
    candidates = split({number: [_on_one_line(text)] for number, text in enumerate(texts)})
    return [_caption_score(name, references, candidates, java) for name in names]


def _caption_score(name: str, references: TextsById, candidates: TextsById, java: bool) -> BenchmarkScore:
    if not candidates or (name == "METEOR" and not java):
        return BenchmarkScore(name, None, None, 0, "" if java else f"{name} {NEEDS_JAVA}.")
    try:
        value, values = (meteor if name == "METEOR" else cider)(references, candidates)
    except (OSError, ValueError) as error:  # from METEOR's Java process, for example without memory
        return BenchmarkScore(name, None, None, 0, f"{name} could not be computed: Java failed ({error}).")
    deviation = standard_error(values, range(len(values)))
    remark = "" if java else f"{name} is computed from words that a rule splits: the tokenizer {NEEDS_JAVA}."
    scaled = None if deviation is None else 100 * deviation
    return BenchmarkScore(name, 100 * value, scaled, len(values), remark)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def java_words(texts: TextsById) -> TextsById:
    """Split words with the Penn Treebank tokenizer.

    This runs the same program as pycocoevalcap, which would write into the folder of its package.
    """
    with _pycocoevalcap():
        from pycocoevalcap.tokenizer import ptbtokenizer
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    lines = "".join(f"{text}\n" for of_id in texts.values() for text in of_id)
    done = subprocess.run([*command, *options], input=lines.encode(), capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-200:]
        raise InputError(f"the Java tokenizer failed ({reason}).")
    split_lines = iter(done.stdout.decode().split("\n"))
    dropped = set(ptbtokenizer.PUNCTUATIONS)
    return {
        number: [" ".join(word for word in next(split_lines).split() if word not in dropped) for _ in of_id]
        for number, of_id in texts.items()
    }


def plain_words(texts: TextsById) -> TextsById:
    """Split words by a rule: lower case, no punctuation, endings such as 's and n't as separate words."""

    def split(text: str) -> str:
        words = WORD.findall(text.lower())
        return " ".join(BRACKETS.get(word, word) for word in words if word not in DROPPED)

    return {number: [split(text) for text in of_id] for number, of_id in texts.items()}


def cider(references: TextsById, candidates: TextsById) -> tuple[float, list[float]]:
    """Return the mean CIDEr and the value of each text; rare words of these references weigh more."""
    with _pycocoevalcap():
        from pycocoevalcap.cider.cider import Cider

        value, values = Cider().compute_score(references, candidates)
    return float(value), [float(number) for number in values]


def meteor(references: TextsById, candidates: TextsById) -> tuple[float, list[float]]:
    """Return METEOR of all texts together, which is not the mean, and the value of each text."""
    with _pycocoevalcap():
        from pycocoevalcap.meteor.meteor import Meteor

        scorer = Meteor()
        try:
            value, values = scorer.compute_score(references, candidates)
        except (OSError, ValueError):
            scorer.lock.release()  # otherwise its destructor waits for this lock forever
            with suppress(OSError):
                scorer.meteor_p.stdin.close()
            raise
    return float(value), [float(number) for number in values]


@contextmanager
def _pycocoevalcap() -> Iterator[None]:
    """Send what the library prints to standard error."""
    with redirect_stdout(sys.stderr):
        yield

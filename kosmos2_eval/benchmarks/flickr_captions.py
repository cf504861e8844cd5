"""Captions of Flickr30k, in Karpathy's split: `An image of`, the best of five beams."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kosmos2_core.requests import Caption
from kosmos2_eval.benchmarks import paper
from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice, Figure, released
from kosmos2_eval.benchmarks.caption_scores import caption_figures
from kosmos2_eval.benchmarks.flickr_entities import IMAGES
from kosmos2_eval.benchmarks.official_files import as_published, find, json_of
from kosmos2_eval.benchmarks.question import Question, Said

CAPTIONS = "Karpathy's caption_datasets.zip (cs.stanford.edu/people/karpathy/deepimagesent)"


def read(data: Path, choice: Choice) -> list[Question]:
    file = find(data, "karpathy/dataset_flickr30k.json", CAPTIONS)
    folder = find(data, "flickr30k-images", IMAGES)
    with as_published(file):
        return [
            Question(
                str(image["imgid"]),
                (folder / image["filename"],),
                (Caption(ground=False),),
                [sentence["raw"] for sentence in image["sentences"]],
            )
            for image in json_of(file)["images"]
            if image["split"] == choice.split
        ]


def score(questions: Sequence[Question], said: Sequence[Said]) -> list[Figure]:
    truths: list[Sequence[str]] = [one.truth for one in questions]
    return caption_figures(truths, [one.text for one in said], ("CIDEr",))


CAPTION = Benchmark(
    "Captions, Flickr30k",
    ("test", "val"),
    read,
    score,
    partial(paper.of_split, "caption"),
    released(max_new_tokens=64, beams=5),
)

"""How well a model does on images of which the truth is known.

    for each few images: look once, ask all there is to ask in one batch, hold the answers to the truth

What is located becomes cases, a phrase each; what is said becomes sayings, an answer each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from kosmos2_core.boxes import Box, iou
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.image import Pixels
from kosmos2_core.markdown import GroundedText, Phrase, write
from kosmos2_core.results import Entity
from kosmos2_core.tasks import Ask, Caption, Describe, Locate, Request
from kosmos2_eval.metrics import (
    RIGHT,
    Bin,
    auroc,
    brier,
    calibration_error,
    mean,
    negative_log_likelihood,
    reliability,
    standard_error,
)
from kosmos2_eval.sayings import Saying, saying_of, summary_of_sayings
from kosmos2_io.records import Item, Record

Sample = tuple[Pixels, Record]
TASKS = ("locate", "caption", "describe", "ask")
GREEDY = Decoding(max_new_tokens=256, scores=False)


@dataclass(frozen=True)
class Case:
    """One phrase that was asked for."""

    image: int  # its number among the samples
    kind: str  # as in the record: `relation`, `absent`, ...
    text: str  # the phrase, marked in its sentence
    truth: tuple[Box, ...]  # empty: absent
    found: Box | None
    score: float  # the probability that `found` is right; 0 where nothing was found
    presence: float
    iou: float  # with the best true box; 0 where nothing was found, or is there

    @property
    def right(self) -> bool:
        return self.iou >= RIGHT


@dataclass(frozen=True)
class Evaluation:
    images: int
    cases: tuple[Case, ...]
    sayings: tuple[Saying, ...]

    def summary(self) -> dict[str, Any]:
        """Figures of each task that was asked."""
        located = {"locate": summary(self.cases)} if self.cases else {}
        return {"images": self.images, **located, **summary_of_sayings(self.sayings)}


def evaluate(
    engine: Engine,
    samples: Iterable[Sample],
    images_at_once: int = 8,
    max_corners: int = 16,
    tasks: Collection[str] = TASKS,
) -> Evaluation:
    """Every item of these tasks, of every record."""
    cases: list[Case] = []
    sayings: list[Saying] = []
    images = 0
    for first, batch in batches(samples, images_at_once):
        views = engine.look_at([[pixels] for pixels, _ in batch])
        asked = [
            (image, record, item)
            for image, (_, record) in enumerate(batch)
            for item in record.items
            if item.task in tasks
        ]
        jobs = [(views[image], request_of(item, max_corners)) for image, _, item in asked]
        for (image, record, item), answer in zip(asked, engine.run(jobs, GREEDY), strict=True):
            if item.task == "locate":
                phrases = zip(item.text.phrases, answer.phrases, strict=True)
                cases += [case_of(first + image, item, phrase, found) for phrase, found in phrases]
            else:
                sayings.append(saying_of(first + image, record, item, answer))
        images = first + len(batch)
    return Evaluation(images, tuple(cases), tuple(sayings))


def locate_cases(
    engine: Engine, samples: Iterable[Sample], images_at_once: int = 8, max_corners: int = 16
) -> list[Case]:
    """Every phrase that the records say to locate."""
    return list(evaluate(engine, samples, images_at_once, max_corners, ["locate"]).cases)


def request_of(item: Item, max_corners: int = 16) -> Request:
    """What an item asks of the model; its answer is not part of it."""
    match item.task:
        case "locate":
            return Locate(write(asked_of(item.text)), max_corners=max_corners)
        case "caption":
            return Caption(item.detailed, ground=bool(item.text.phrases))
        case "describe":
            [phrase] = item.text.phrases
            [box] = phrase.boxes or ()
            return Describe(box)
        case "ask":
            assert item.question is not None  # the records' reader sees to it
            return Ask(write(item.question), ground=bool(item.text.phrases))
    raise ValueError(f"the task {item.task} asks nothing")


def asked_of(text: GroundedText) -> GroundedText:
    """The sentence with what to look for marked, and no boxes."""
    return GroundedText(text.text, tuple(replace(phrase, boxes=None) for phrase in text.phrases))


def case_of(image: int, item: Item, phrase: Phrase, found: Entity) -> Case:
    truth = phrase.boxes or ()
    box = found.boxes[0] if found.boxes else None
    return Case(
        image,
        item.kind,
        write(GroundedText(item.text.text, (replace(phrase, boxes=None),))),
        truth,
        box,
        score=(box.score or 0.0) if box else 0.0,
        presence=found.presence or 0.0,
        iou=max((iou(box, one) for one in truth), default=0.0) if box else 0.0,
    )


def batches(samples: Iterable[Sample], size: int) -> Iterator[tuple[int, list[Sample]]]:
    """A few samples at a time, with the number of the first."""
    rest, first = iter(samples), 0
    while batch := list(islice(rest, size)):
        yield first, batch
        first += len(batch)


def reliability_of(cases: Sequence[Case]) -> list[Bin]:
    """Absent phrases count too: a box that was found for one is wrong."""
    return reliability([one.score for one in cases], [one.right for one in cases])


def summary(cases: Sequence[Case]) -> dict[str, Any]:
    """Figures of all cases, and of each kind; None where there is nothing to tell them from."""
    scores, right = [one.score for one in cases], [one.right for one in cases]
    present, absent = ([one for one in cases if bool(one.truth) == there] for there in (True, False))
    return {
        **_figures(cases),
        "absent": len(absent),
        "presence_auroc": auroc([one.presence for one in present], [one.presence for one in absent]),
        "calibration_error": calibration_error(reliability_of(cases)),
        "brier": brier(scores, right),
        "nll": negative_log_likelihood(scores, right),
        "kinds": {
            kind: _figures([one for one in cases if one.kind == kind])
            for kind in sorted({one.kind for one in cases})
        },
    }


def _figures(cases: Sequence[Case]) -> dict[str, Any]:
    """Accuracy and IoU are of the phrases that are there."""
    present = [one for one in cases if one.truth]
    right = [float(one.right) for one in present]
    return {
        "count": len(cases),
        "accuracy": mean(right),
        "accuracy_error": standard_error(right, [one.image for one in present]),
        "mean_iou": mean([one.iou for one in present]),
        "presence": mean([one.presence for one in cases]),
    }

"""How well a model does on images of which the truth is known.

    for each few images: look once, ask all there is to ask in one batch, hold the answers to the truth

What is located becomes cases, a phrase each; what is said becomes sayings, an answer each.

A phrase is asked without a presence threshold, so that it gets its best box: figures of boxes and scores do
not depend on the threshold. Whether it counts as found with a threshold follows from its presence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from kosmos2_core.answers import Entity
from kosmos2_core.boxes import Box, iou
from kosmos2_core.calibration import MIN_PRESENCE
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.images import Pixels
from kosmos2_core.requests import Ask, Caption, Describe, Locate, Request
from kosmos2_data.records import Item, Record
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
from kosmos2_eval.presence import PresenceAnswer, presence_figures
from kosmos2_eval.sayings import Saying, saying_of, summary_of_sayings

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

    def found_with(self, min_presence: float) -> bool:
        """Whether the phrase gets a box with this presence threshold."""
        return self.found is not None and self.presence >= min_presence


@dataclass(frozen=True)
class Evaluation:
    """What a model answered.

    Args:
        images: how many there were, without those of the probes.
        cases: phrases that were located.
        sayings: captions, descriptions and answers.
        min_presence: the presence threshold by which phrases count as found.
        probes: phrases that were located to tell false alarms and misses; without any, `cases` tell them.
    """

    images: int
    cases: tuple[Case, ...]
    sayings: tuple[Saying, ...]
    min_presence: float = MIN_PRESENCE
    probes: tuple[Case, ...] = ()

    def summary(self, wanted: int | None = None) -> dict[str, Any]:
        """Figures of each task that was asked, and of presence.

        Args:
            wanted: how many present and absent probes of each kind there were to be.
        """
        figures: dict[str, Any] = {"images": self.images}
        if self.cases:
            right = right_with(self.cases, self.min_presence)
            figures["locate"] = {**summary(self.cases), "accuracy_with_threshold": right}
        if probes := self.probes or self.cases:
            figures["presence"] = {"probes": wanted, **presence_of(probes, self.min_presence)}
        return figures | summary_of_sayings(self.sayings)


def evaluate(
    engine: Engine,
    samples: Iterable[Sample],
    images_at_once: int = 8,
    max_corners: int = 16,
    tasks: Collection[str] = TASKS,
    min_presence: float | None = None,
    probes: Iterable[Sample] = (),
) -> Evaluation:
    """Ask a model all items of all records, and hold its answers to the truth.

    Args:
        samples: images with their records.
        images_at_once: how many are asked about in one batch.
        max_corners: how many first corners of a box are tried.
        tasks: items of other tasks are left out.
        min_presence: the presence threshold of the figures; None: the checkpoint's.
        probes: images whose phrases tell false alarms and misses, and nothing else.
    """
    images, cases, sayings = _answers(engine, samples, images_at_once, max_corners, tasks)
    threshold = engine.min_presence if min_presence is None else min_presence
    probed = locate_cases(engine, probes, images_at_once, max_corners)
    return Evaluation(images, tuple(cases), tuple(sayings), threshold, tuple(probed))


def locate_cases(
    engine: Engine, samples: Iterable[Sample], images_at_once: int = 8, max_corners: int = 16
) -> list[Case]:
    """Locate all phrases that the records say to locate."""
    return _answers(engine, samples, images_at_once, max_corners, ["locate"])[1]


def _answers(
    engine: Engine,
    samples: Iterable[Sample],
    images_at_once: int,
    max_corners: int,
    tasks: Collection[str],
) -> tuple[int, list[Case], list[Saying]]:
    """How many images there are, what was located in them, and what was said of them."""
    cases: list[Case] = []
    sayings: list[Saying] = []
    images = 0
    for first, batch in batches(samples, images_at_once):
        views = engine.look_many([[pixels] for pixels, _ in batch])
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
    return images, cases, sayings


def request_of(item: Item, max_corners: int = 16) -> Request:
    """What an item asks of the model; its answer is not part of it.

    A phrase to locate gets its best box, however low its presence is.
    """
    match item.task:
        case "locate":
            return Locate(write_markdown(asked_of(item.text)), max_corners=max_corners, min_presence=0.0)
        case "caption":
            return Caption(item.detailed, ground=bool(item.text.phrases))
        case "describe":
            [phrase] = item.text.phrases
            [box] = phrase.boxes or ()
            return Describe(box)
        case "ask":
            assert item.question is not None  # the records' reader sees to it
            return Ask(write_markdown(item.question), ground=bool(item.text.phrases))
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
        write_markdown(GroundedText(item.text.text, (replace(phrase, boxes=None),))),
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


def presence_of(cases: Sequence[Case], min_presence: float) -> dict[str, Any]:
    """False alarms and misses with a presence threshold, of each kind and of all."""
    answers = [
        PresenceAnswer(case.image, case.kind, bool(case.truth), case.found_with(min_presence), case.presence)
        for case in cases
    ]
    return {"threshold": min_presence, **presence_figures(answers)}


def right_with(cases: Sequence[Case], min_presence: float) -> float | None:
    """The share of the present phrases that get a right box with a presence threshold."""
    present = [case for case in cases if case.truth]
    return mean([float(case.right and case.found_with(min_presence)) for case in present])


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

"""Evaluation on images whose truth is known: simulated scenes, or recorded data with labels.

For every few images: encode them once, ask all their items in one batch, and compare the answers with the
truth. A phrase to locate gives a `LocateExample`, an item of another task a `TextAnswer`.

Phrases are located without a presence threshold, so that each gets its best box: metrics of boxes and scores
do not depend on the threshold. Whether a phrase counts as found with a threshold follows from its presence.
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
from kosmos2_eval.detection import MAX_BOXES, RankedBoxes, match
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
from kosmos2_eval.phrases import worst_kinds
from kosmos2_eval.text_answers import TextAnswer, score_text_answer, text_metrics

Sample = tuple[Pixels, Record]
IMAGES_AT_ONCE = 8  # images that are encoded and asked about in one batch
TASKS = ("locate", "caption", "describe", "ask")
SET_SCORE = 0.3  # a box of a set counts from this score
GREEDY = Decoding(max_new_tokens=256, scores=False)


@dataclass(frozen=True)
class LocateExample:
    """One phrase that was located in one image.

    Args:
        image: number of the image among the samples.
        kind: kind of the phrase, as in the record: `relation`, `absent`, ...
        text: the sentence with the phrase marked, as grounded Markdown.
        truth: true boxes; empty if the phrase is absent.
        found: the best predicted box.
        score: the probability that `found` is right; 0 without a box.
        presence: the probability that the phrase is in the image.
        iou: IoU of `found` with the best true box; 0 without either.
        boxes: all predicted boxes, best first; more than one only for a phrase with several true boxes.
    """

    image: int
    kind: str
    text: str
    truth: tuple[Box, ...]
    found: Box | None
    score: float
    presence: float
    iou: float
    boxes: tuple[Box, ...] = ()

    @property
    def right(self) -> bool:
        """True if the box has an IoU of at least 0.5 with a true box."""
        return self.iou >= RIGHT

    def found_with(self, min_presence: float) -> bool:
        """Return whether the phrase gets a box with this presence threshold."""
        return self.found is not None and self.presence >= min_presence


@dataclass(frozen=True)
class SceneEvaluation:
    """The answers of a model to all items of a set of images.

    Args:
        images: number of images, without those of the probes.
        examples: phrases that were located.
        text_answers: captions, descriptions and answers to questions.
        min_presence: the presence threshold from which a phrase counts as found.
        probes: phrases located only to measure false alarms and misses; if empty, `examples` measure them.
    """

    images: int
    examples: tuple[LocateExample, ...]
    text_answers: tuple[TextAnswer, ...]
    min_presence: float = MIN_PRESENCE
    probes: tuple[LocateExample, ...] = ()

    def summary(self, wanted: int | None = None) -> dict[str, Any]:
        """Return the metrics of every task that was asked, and of presence.

        Args:
            wanted: the requested number of present and of absent probes of each kind.
        """
        metrics: dict[str, Any] = {"images": self.images}
        if self.examples:
            right = accuracy_with_threshold(self.examples, self.min_presence)
            metrics["locate"] = {**locate_metrics(self.examples), "accuracy_with_threshold": right}
        if probes := self.probes or self.examples:
            metrics["presence"] = {"probes": wanted, **presence_of(probes, self.min_presence)}
        if sets := set_metrics((*self.examples, *self.probes), self.min_presence):
            metrics["sets"] = sets
        return metrics | text_metrics(self.text_answers)


def evaluate_scenes(
    engine: Engine,
    samples: Iterable[Sample],
    min_presence: float | None = None,
    probes: Iterable[Sample] = (),
) -> SceneEvaluation:
    """Ask a model all items of all records and compare its answers with the truth.

    Args:
        samples: images with their records.
        min_presence: the presence threshold of the metrics; None: the checkpoint's.
        probes: images whose phrases measure false alarms and misses, and nothing else.
    """
    images, examples, text_answers = _ask_all(engine, samples, TASKS)
    threshold = engine.min_presence if min_presence is None else min_presence
    probed = locate_examples(engine, probes)
    return SceneEvaluation(images, tuple(examples), tuple(text_answers), threshold, tuple(probed))


def locate_examples(engine: Engine, samples: Iterable[Sample]) -> list[LocateExample]:
    """Locate all phrases that the records say to locate."""
    return _ask_all(engine, samples, ["locate"])[1]


def _ask_all(
    engine: Engine, samples: Iterable[Sample], tasks: Collection[str]
) -> tuple[int, list[LocateExample], list[TextAnswer]]:
    examples: list[LocateExample] = []
    text_answers: list[TextAnswer] = []
    images = 0
    for first, batch in sample_batches(samples):
        views = engine.look_many([[pixels] for pixels, _ in batch])
        items = [
            (index, record, item)
            for index, (_, record) in enumerate(batch)
            for item in record.items
            if item.task in tasks
        ]
        jobs = [(views[index], request_of(item)) for index, _, item in items]
        for (index, record, item), answer in zip(items, engine.run(jobs, GREEDY), strict=True):
            if item.task == "locate":
                phrases = zip(item.text.phrases, answer.phrases, strict=True)
                examples += [locate_example(first + index, item, phrase, found) for phrase, found in phrases]
            else:
                text_answers.append(score_text_answer(first + index, record, item, answer))
        images = first + len(batch)
    return images, examples, text_answers


def request_of(item: Item) -> Request:
    """Return the request that an item makes of the model, without its answer.

    A phrase to locate gets its best box, however low its presence is, or its best boxes if it has several.
    """
    match item.task:
        case "locate":
            several = any(len(phrase.boxes or ()) > 1 for phrase in item.text.phrases)
            text = write_markdown(without_boxes(item.text))
            return Locate(text, max_boxes=MAX_BOXES if several else 1, min_presence=0.0)
        case "caption":
            return Caption(item.detailed, ground=bool(item.text.phrases))
        case "describe":
            [phrase] = item.text.phrases
            [box] = phrase.boxes or ()
            return Describe(box)
        case "ask":
            assert item.question is not None  # the reader of records checks this
            return Ask(write_markdown(item.question), ground=bool(item.text.phrases))
    raise ValueError(f"an item of the task {item.task} makes no request")


def without_boxes(text: GroundedText) -> GroundedText:
    """Return a sentence with its phrases marked but without their boxes."""
    return GroundedText(text.text, tuple(replace(phrase, boxes=None) for phrase in text.phrases))


def locate_example(image: int, item: Item, phrase: Phrase, found: Entity) -> LocateExample:
    """Compare the located phrase `found` with `phrase` of the item."""
    truth = phrase.boxes or ()
    box = found.boxes[0] if found.boxes else None
    return LocateExample(
        image,
        item.kind,
        write_markdown(GroundedText(item.text.text, (replace(phrase, boxes=None),))),
        truth,
        box,
        score=(box.score or 0.0) if box else 0.0,
        presence=found.presence or 0.0,
        iou=max((iou(box, true_box) for true_box in truth), default=0.0) if box else 0.0,
        boxes=found.boxes,
    )


def sample_batches(samples: Iterable[Sample]) -> Iterator[tuple[int, list[Sample]]]:
    """Yield lists of up to IMAGES_AT_ONCE samples, each with the number of its first sample."""
    remaining, first = iter(samples), 0
    while batch := list(islice(remaining, IMAGES_AT_ONCE)):
        yield first, batch
        first += len(batch)


# Metrics.


def reliability_of(examples: Sequence[LocateExample]) -> list[Bin]:
    """Return the reliability bins of all scores; a box for an absent phrase is wrong."""
    return reliability([example.score for example in examples], [example.right for example in examples])


def presence_of(examples: Sequence[LocateExample], min_presence: float) -> dict[str, Any]:
    """Return false alarms and misses with a presence threshold, by kind and in total, and the worst kinds.

    A false alarm is an absent phrase that gets a box, a miss a present phrase that gets none. The box of a
    present phrase may be wrong.
    """
    kinds = {
        kind: _presence_rates([example for example in examples if example.kind == kind], min_presence)
        for kind in sorted({example.kind for example in examples})
    }
    return {
        "threshold": min_presence,
        "images": len({example.image for example in examples}),
        "kinds": kinds,
        "all": _presence_rates(examples, min_presence),
        "worst": worst_kinds(kinds),
    }


def _presence_rates(examples: Sequence[LocateExample], min_presence: float) -> dict[str, Any]:
    absent = [example for example in examples if not example.truth]
    present = [example for example in examples if example.truth]
    alarms = [float(example.found_with(min_presence)) for example in absent]
    misses = [float(not example.found_with(min_presence)) for example in present]
    return {
        "absent": len(absent),
        "false_alarms": mean(alarms),
        "false_alarms_error": standard_error(alarms, [example.image for example in absent]),
        "present": len(present),
        "misses": mean(misses),
        "misses_error": standard_error(misses, [example.image for example in present]),
        "auroc": auroc([example.presence for example in present], [example.presence for example in absent]),
    }


def accuracy_with_threshold(examples: Sequence[LocateExample], min_presence: float) -> float | None:
    """Return the fraction of present phrases that get a right box with a presence threshold."""
    present = [example for example in examples if example.truth]
    return mean([float(example.right and example.found_with(min_presence)) for example in present])


def set_metrics(examples: Sequence[LocateExample], min_presence: float) -> dict[str, Any] | None:
    """Return the metrics of phrases with several true boxes; None if there are none.

    A box counts if the phrase is found and its score is at least SET_SCORE. Each true box can be found once.

    Returns:
        The number of sets, and over all of them the part of the true boxes that is found (recall), the part
        of the boxes that are true (precision), and the part of the sets that is found exactly.
    """
    sets = [example for example in examples if len(example.truth) > 1]
    if not sets:
        return None
    found = [
        tuple(box for box in example.boxes if (box.score or 0.0) >= SET_SCORE)
        if example.found_with(min_presence)
        else ()
        for example in sets
    ]
    right = [
        int(match(RankedBoxes(example.truth, boxes, pixels=1.0)).right[0].sum())
        for example, boxes in zip(sets, found, strict=True)
    ]
    sizes, counts = [len(example.truth) for example in sets], list(map(len, found))
    exact = [float(size == count == hits) for size, count, hits in zip(sizes, counts, right, strict=True)]
    images = [example.image for example in sets]
    return {
        "count": len(sets),
        "recall": sum(right) / sum(sizes),
        "precision": sum(right) / sum(counts) if any(counts) else None,
        "exact": mean(exact),
        "exact_error": standard_error(exact, images),
    }


def locate_metrics(examples: Sequence[LocateExample]) -> dict[str, Any]:
    """Return the metrics of all examples and of each kind; None where there is nothing to compute from."""
    scores, right = [example.score for example in examples], [example.right for example in examples]
    present = [example.presence for example in examples if example.truth]
    absent = [example.presence for example in examples if not example.truth]
    return {
        **_kind_metrics(examples),
        "absent": len(absent),
        "presence_auroc": auroc(present, absent),
        "calibration_error": calibration_error(reliability_of(examples)),
        "brier": brier(scores, right),
        "nll": negative_log_likelihood(scores, right),
        "kinds": {
            kind: _kind_metrics([example for example in examples if example.kind == kind])
            for kind in sorted({example.kind for example in examples})
        },
    }


def _kind_metrics(examples: Sequence[LocateExample]) -> dict[str, Any]:
    """Return counts and means; accuracy and IoU are those of the present phrases."""
    present = [example for example in examples if example.truth]
    right = [float(example.right) for example in present]
    return {
        "count": len(examples),
        "accuracy": mean(right),
        "accuracy_error": standard_error(right, [example.image for example in present]),
        "mean_iou": mean([example.iou for example in present]),
        "presence": mean([example.presence for example in examples]),
    }

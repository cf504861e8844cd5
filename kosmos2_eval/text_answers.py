"""Scoring of answers in words: captions, descriptions and answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kosmos2_core.answers import Answer
from kosmos2_core.boxes import Box, iou
from kosmos2_core.grounded_text import write_markdown
from kosmos2_data.records import Item, Record, normalised
from kosmos2_eval.metrics import RIGHT, mean
from kosmos2_eval.phrases import token_f1

SAME_BOX = 0.99  # IoU of two copies of one box whose coordinates were rounded differently

NamedBox = tuple[str, Box]  # normalised words of a phrase, and one of its boxes


@dataclass(frozen=True)
class TextAnswer:
    """One answer in words, compared with the truth.

    Args:
        image: number of the image among the samples.
        task: `caption`, `describe` or `ask`.
        kind: kind of the question, as in the record.
        question: grounded Markdown: the question, or the words and the box that were to be described.
        truth: grounded Markdown of the true answer.
        answer: grounded Markdown of the model's answer.
        exact: the words are the same, and the boxes are the same at IoU 0.5.
        f1: F1 of the words.
        names: only for `describe`: the answer has all true names of the object, such as colour and shape.
        true_boxes: number of boxes in the truth.
        answer_boxes: number of boxes in the answer.
        right_boxes: number of boxes in the answer with the words and the position of a true box.
    """

    image: int
    task: str
    kind: str
    question: str
    truth: str
    answer: str
    exact: bool
    f1: float
    names: bool
    true_boxes: int
    answer_boxes: int
    right_boxes: int


def score_text_answer(image: int, record: Record, item: Item, answer: Answer) -> TextAnswer:
    """Compare an answer with the item of a record that it answers."""
    described = item.task == "describe"  # its box was given, so it is not part of the answer
    true_boxes = [] if described else _true_boxes(item)
    answer_boxes = [] if described else _answer_boxes(answer)
    right = count_right(true_boxes, answer_boxes)
    same_words = normalised(item.text.text) == normalised(answer.text)
    return TextAnswer(
        image,
        item.task,
        item.kind,
        question=write_markdown(item.question or item.text) if item.task != "caption" else "",
        truth=item.text.text if described else write_markdown(item.text),
        answer=answer.text if described else answer.markdown,
        exact=same_words and right == len(true_boxes) == len(answer_boxes),
        f1=token_f1(answer.text, item.text.text),
        names=described and _has_names(record, item, answer.text),
        true_boxes=len(true_boxes),
        answer_boxes=len(answer_boxes),
        right_boxes=right,
    )


def count_right(true_boxes: Sequence[NamedBox], answer_boxes: Sequence[NamedBox]) -> int:
    """Return how many true boxes match a box of the answer with the same words at IoU 0.5, one to one."""
    pairs = [
        (iou(true_box, box), i, j)
        for i, (true_words, true_box) in enumerate(true_boxes)
        for j, (words, box) in enumerate(answer_boxes)
        if true_words == words
    ]
    taken_true: set[int] = set()
    taken_answer: set[int] = set()
    for overlap, i, j in sorted(pairs, reverse=True):
        if overlap >= RIGHT and i not in taken_true and j not in taken_answer:
            taken_true.add(i)
            taken_answer.add(j)
    return len(taken_true)


def _true_boxes(item: Item) -> list[NamedBox]:
    return [
        (normalised(item.text.words_of(phrase)), box)
        for phrase in item.text.phrases
        for box in phrase.boxes or ()
    ]


def _answer_boxes(answer: Answer) -> list[NamedBox]:
    return [(normalised(entity.phrase), box) for entity in answer.phrases for box in entity.boxes]


def _has_names(record: Record, item: Item, answer: str) -> bool:
    """Return whether the answer has all names of the object in the box.

    An object without names in the record has the words of the item's text as its names.
    """
    [phrase] = item.text.phrases
    [box] = phrase.boxes or ()
    names = next(
        (truth.names for truth in record.truths if iou(truth.box, box) >= SAME_BOX), (item.text.text,)
    )
    wanted = {word for name in names for word in normalised(name).split()}
    return wanted <= set(normalised(answer).split())


def text_metrics(answers: Sequence[TextAnswer]) -> dict[str, Any]:
    """Return the metrics of every task that was asked, in total and by kind."""
    metrics_of_task: dict[str, Callable[[Sequence[TextAnswer]], dict[str, Any]]] = {
        "ask": _ask_metrics,
        "describe": _describe_metrics,
        "caption": _caption_metrics,
    }
    return {
        task: metrics(selected) | {"kinds": _by_kind(selected, metrics)}
        for task, metrics in metrics_of_task.items()
        if (selected := [answer for answer in answers if answer.task == task])
    }


def _by_kind(
    answers: Sequence[TextAnswer], metrics: Callable[[Sequence[TextAnswer]], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    kinds = sorted({answer.kind for answer in answers})
    return {kind: metrics([answer for answer in answers if answer.kind == kind]) for kind in kinds}


def _ask_metrics(answers: Sequence[TextAnswer]) -> dict[str, Any]:
    return {"count": len(answers), "exact": _fraction(answer.exact for answer in answers)}


def _describe_metrics(answers: Sequence[TextAnswer]) -> dict[str, Any]:
    return _ask_metrics(answers) | {
        "names": _fraction(answer.names for answer in answers),
        "token_f1": mean([answer.f1 for answer in answers]),
    }


def _caption_metrics(answers: Sequence[TextAnswer]) -> dict[str, Any]:
    right = sum(answer.right_boxes for answer in answers)
    predicted = sum(answer.answer_boxes for answer in answers)
    true_count = sum(answer.true_boxes for answer in answers)
    return _ask_metrics(answers) | {
        "precision": right / predicted if predicted else None,
        "recall": right / true_count if true_count else None,
        "token_f1": mean([answer.f1 for answer in answers]),
    }


def _fraction(outcomes: Iterable[bool]) -> float | None:
    return mean([float(outcome) for outcome in outcomes])

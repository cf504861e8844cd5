"""Answers in words, held to the truth: captions, descriptions, answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kosmos2_core.answers import Answer
from kosmos2_core.boxes import Box, iou
from kosmos2_core.grounded_text import write_markdown
from kosmos2_data.records import Item, Record, normalised
from kosmos2_eval.metrics import RIGHT, mean, token_f1

SAME = 0.99  # IoU of one box that was written twice, with rounded coordinates

Named = tuple[str, Box]  # a phrase's words, normalised, and a box of it


@dataclass(frozen=True)
class Saying:
    """One answer in words."""

    image: int  # its number among the samples
    task: str
    kind: str
    asked: str  # grounded Markdown: the question, or what was in the box that was to be described
    truth: str
    said: str
    exact: bool  # the same words, and the same boxes at an IoU of 0.5
    f1: float  # of words
    names: bool  # of `describe`: the thing's true names, as colour and shape, are all said
    true_boxes: int
    said_boxes: int
    right_boxes: int  # said of the same words, in the same place


def saying_of(image: int, record: Record, item: Item, answer: Answer) -> Saying:
    described = item.task == "describe"  # its box was given, not said
    true = [] if described else _true_boxes(item)
    said = [] if described else _said_boxes(answer)
    right = count_right(true, said)
    same_words = normalised(item.text.text) == normalised(answer.text)
    return Saying(
        image,
        item.task,
        item.kind,
        asked=write_markdown(item.question or item.text) if item.task != "caption" else "",
        truth=item.text.text if described else write_markdown(item.text),
        said=answer.text if described else answer.markdown,
        exact=same_words and right == len(true) == len(said),
        f1=token_f1(answer.text, item.text.text),
        names=described and _says_names(record, item, answer.text),
        true_boxes=len(true),
        said_boxes=len(said),
        right_boxes=right,
    )


def count_right(true: Sequence[Named], said: Sequence[Named]) -> int:
    """How many true boxes are said of the same words in the same place, each said box counted once."""
    pairs = [(iou(a[1], b[1]), i, j) for i, a in enumerate(true) for j, b in enumerate(said) if a[0] == b[0]]
    taken_true: set[int] = set()
    taken_said: set[int] = set()
    for overlap, i, j in sorted(pairs, reverse=True):
        if overlap >= RIGHT and i not in taken_true and j not in taken_said:
            taken_true.add(i)
            taken_said.add(j)
    return len(taken_true)


def _true_boxes(item: Item) -> list[Named]:
    return [
        (normalised(item.text.words_of(phrase)), box)
        for phrase in item.text.phrases
        for box in phrase.boxes or ()
    ]


def _said_boxes(answer: Answer) -> list[Named]:
    return [(normalised(one.phrase), box) for one in answer.phrases for box in one.boxes]


def _says_names(record: Record, item: Item, said: str) -> bool:
    """Whether all names of the thing in the box are said; of a thing without names, all that is true."""
    [phrase] = item.text.phrases
    [box] = phrase.boxes or ()
    names = next((one.names for one in record.truths if iou(one.box, box) >= SAME), (item.text.text,))
    wanted = {word for name in names for word in normalised(name).split()}
    return wanted <= set(normalised(said).split())


def summary_of_sayings(sayings: Sequence[Saying]) -> dict[str, Any]:
    """Figures of each task that was asked."""
    figures: dict[str, Callable[[Sequence[Saying]], dict[str, Any]]] = {
        "ask": _asked,
        "describe": _described,
        "caption": _captioned,
    }
    return {
        task: figure(own) | {"kinds": _of_kinds(own, figure)}
        for task, figure in figures.items()
        if (own := [one for one in sayings if one.task == task])
    }


def _of_kinds(
    sayings: Sequence[Saying], figure: Callable[[Sequence[Saying]], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    kinds = sorted({one.kind for one in sayings})
    return {kind: figure([one for one in sayings if one.kind == kind]) for kind in kinds}


def _asked(sayings: Sequence[Saying]) -> dict[str, Any]:
    return {"count": len(sayings), "exact": _share(one.exact for one in sayings)}


def _described(sayings: Sequence[Saying]) -> dict[str, Any]:
    return _asked(sayings) | {
        "names": _share(one.names for one in sayings),
        "token_f1": mean([one.f1 for one in sayings]),
    }


def _captioned(sayings: Sequence[Saying]) -> dict[str, Any]:
    right = sum(one.right_boxes for one in sayings)
    said, true = sum(one.said_boxes for one in sayings), sum(one.true_boxes for one in sayings)
    return _asked(sayings) | {
        "precision": right / said if said else None,
        "recall": right / true if true else None,
        "token_f1": mean([one.f1 for one in sayings]),
    }


def _share(held: Iterable[bool]) -> float | None:
    return mean([float(one) for one in held])

"""What there is to learn from an item: ids, as inference would have them, and which of them are the answer.

Prompts are made by the same functions as at inference, so that a model is asked what it was taught.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import GroundedText, encode_boxes, encode_grounded, write_markdown
from kosmos2_core.prompts import locate_prompt_ids, prompt_ids
from kosmos2_core.requests import WORDINGS, Ask, Caption, Describe, Locate
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.records import Item

Corner = tuple[float, float]  # x, y, in unit coordinates


@dataclass(frozen=True)
class Example:
    """A prompt and its answer, to follow an image."""

    ids: list[int]
    learnt: int  # how many of them, at the end, are the answer
    corners: dict[int, Corner]  # where the corner of each location token in the answer truly is, by place


def examples_of(tokenizer: Tokenizer, item: Item, rng: np.random.Generator) -> list[Example]:
    """One example, or for `locate` one for each phrase: that is how phrases are asked for."""
    match item.task:
        case "locate":
            ask = Locate(write_markdown(item.text))
            prompts = locate_prompt_ids(tokenizer, ask)
            return [
                # The prompt's last id, <object>, says that something is there: that is part of the answer.
                _example(tokenizer, prompt[:-1], encode_boxes(tokenizer, phrase.boxes or ()), phrase.boxes)
                for prompt, phrase in zip(prompts, item.text.phrases, strict=True)
            ]
        case "caption":
            prompt = prompt_ids(tokenizer, Caption(item.detailed, ground=bool(item.text.phrases)))
        case "describe":
            [phrase] = item.text.phrases
            [box] = phrase.boxes or ()
            prompt = prompt_ids(tokenizer, Describe(box, str(rng.choice(WORDINGS))))
            words = GroundedText(item.text.words_of(phrase))
            return [_answered(tokenizer, prompt, words)]
        case "ask":
            assert item.question is not None  # the records' reader sees to it
            prompt = prompt_ids(tokenizer, Ask(write_markdown(item.question), ground=bool(item.text.phrases)))
        case _:
            prompt = [tokenizer.control.grounding] if item.text.phrases else []
    return [_answered(tokenizer, prompt, item.text)]


def _answered(tokenizer: Tokenizer, prompt: list[int], answer: GroundedText) -> Example:
    boxes = tuple(box for phrase in answer.phrases for box in phrase.boxes or ())
    return _example(tokenizer, prompt, encode_grounded(tokenizer, answer), boxes)


def _example(
    tokenizer: Tokenizer, prompt: list[int], answer: list[int], boxes: tuple[Box, ...] | None
) -> Example:
    answer = [*answer, tokenizer.control.end]
    corners = _corners(boxes or ())
    places = enumerate(answer, start=len(prompt))
    where = {place: next(corners) for place, number in places if number in tokenizer.control.locations}
    return Example(prompt + answer, len(answer), where)


def _corners(boxes: tuple[Box, ...]) -> Iterator[Corner]:
    for box in boxes:
        yield box.x1, box.y1
        yield box.x2, box.y2

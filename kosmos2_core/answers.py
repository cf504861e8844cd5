"""Answers of the engine: a text, its phrases, and their boxes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

from kosmos2_core.boxes import Box
from kosmos2_core.errors import ModelError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown


@dataclass(frozen=True, slots=True)
class Entity:
    """A phrase of the answer's text, and where its objects are in the image.

    Args:
        phrase: The words of the phrase.
        start: Offset of the phrase in the answer's text, in Unicode code points.
        end: Offset after its last character.
        boxes: Best first; empty: looked for and not found.
        presence: Probability that the object is in the image; None if it was not computed.
        cells: The location tokens of each box, 0 to grid * grid - 1: those that the model gave. A box that a
            zoomed crop gave has the cells that this box has in the whole image.
    """

    phrase: str
    start: int
    end: int
    boxes: tuple[Box, ...]
    presence: float | None = None
    cells: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """A given answer, and how likely it is.

    Args:
        text: The answer.
        log_probability: Sum over all its tokens.
        tokens: Number of its tokens.
    """

    text: str
    log_probability: float
    tokens: int

    @property
    def mean(self) -> float:
        """Log-probability per token, which does not favour short options."""
        return self.log_probability / max(self.tokens, 1)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request.

    Args:
        text: The text without marks.
        phrases: The phrases of the text, in its order.
        options: For a Score request the options, in the order given.
        dropped: Number of malformed groups that the model generated and that were left out.
        finished: False if a limit of tokens or time cut the answer off.
        calibrated: Whether the scores went through the checkpoint's calibration.
        evidence: Kinds of evidence that `presence` follows from, see `kosmos2_core.presence`; empty if it was
            not computed.
    """

    text: str
    phrases: tuple[Entity, ...] = ()
    options: tuple[Option, ...] = ()
    dropped: int = 0
    finished: bool = True
    calibrated: bool = False
    evidence: tuple[str, ...] = ()

    @property
    def markdown(self) -> str:
        """The text as grounded Markdown, with `()` after phrases that were not found."""
        phrases = tuple(Phrase(entity.start, entity.end, entity.boxes) for entity in self.phrases)
        return write_markdown(GroundedText(self.text, phrases))

    def to_dict(self, width: int, height: int) -> dict[str, Any]:
        """Return the answer for JSON, with boxes in pixels and in unit coordinates.

        Args:
            width: Width of the image in pixels.
            height: Height of the image in pixels.
        """
        return {
            "text": self.text,
            "markdown": self.markdown,
            "phrases": [_entity_to_dict(entity, width, height) for entity in self.phrases],
            "options": [
                {
                    "text": option.text,
                    "log_probability": option.log_probability,
                    "mean": option.mean,
                    "tokens": option.tokens,
                }
                for option in self.options
            ],
            "dropped": self.dropped,
            "finished": self.finished,
            "calibrated": self.calibrated,
            "presence_evidence": list(self.evidence),
        }


def check_finite(answer: Answer) -> None:
    """Raise a ModelError if a score or a presence is NaN: weights are broken, or the precision overflowed.

    Corners need no check: `Box` refuses NaN.
    """
    numbers = [phrase.presence for phrase in answer.phrases]
    numbers += [box.score for phrase in answer.phrases for box in phrase.boxes]
    if any(number is not None and not 0 <= number <= 1 for number in numbers):
        raise ModelError("the model's numbers are not finite: check the checkpoint, or choose another dtype.")


def _entity_to_dict(entity: Entity, width: int, height: int) -> dict[str, Any]:
    boxes = [
        {
            "box_px": list(box.pixels(width, height)),
            "box_unit": [box.x1, box.y1, box.x2, box.y2],
            "score": box.score,
            "cells": list(cells),
        }
        for box, cells in zip(entity.boxes, entity.cells or repeat(()), strict=False)
    ]
    return {
        "phrase": entity.phrase,
        "start": entity.start,
        "end": entity.end,
        "presence": entity.presence,
        "boxes": boxes,
    }

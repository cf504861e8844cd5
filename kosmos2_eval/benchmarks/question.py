"""What a benchmark asks of a model, and what of the answer it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kosmos2_core.answers import Answer
from kosmos2_core.boxes import Box
from kosmos2_core.requests import Request


@dataclass(frozen=True)
class Question:
    id: str  # the same in every run: what has an answer is not asked again
    images: tuple[Path, ...]  # in the order of the prompt; what is asked about comes last
    requests: tuple[Request, ...]  # as the paper asks; several where an option has a prompt of its own
    truth: Any  # of the benchmark's own kind; the model never sees it
    kind: str = ""  # what figures are split by
    ours: Request | None = None  # the same, asked as this project would

    @property
    def group(self) -> object:
        """What questions that may go wrong together have in common."""
        return self.images[-1] if self.images else self.id


@dataclass(frozen=True)
class Said:
    """An answer, as far as benchmarks look at it."""

    text: str = ""
    boxes: tuple[Box, ...] = ()  # of the first phrase, which a question of place ends with, as they were said
    options: tuple[float, ...] = ()  # mean log-probability of a token, of each option

    def to_json(self) -> dict[str, Any]:
        boxes = [[box.x1, box.y1, box.x2, box.y2] for box in self.boxes]
        return {"text": self.text, "boxes": boxes, "options": list(self.options)}

    @classmethod
    def of_json(cls, fields: dict[str, Any]) -> Said:
        boxes = tuple(Box(*corners) for corners in fields["boxes"])
        return cls(fields["text"], boxes, tuple(fields["options"]))

    @property
    def likeliest(self) -> int:
        return max(range(len(self.options)), key=self.options.__getitem__)


def said_of(answers: Sequence[Answer]) -> Said:
    """The model may name the phrase again, with more boxes: they follow, as in the release's evaluation."""
    answer = answers[0]
    asked = answer.phrases[0].phrase if answer.phrases else ""
    boxes = (box for one in answer.phrases if one.phrase == asked for box in one.boxes)
    means = tuple(option.mean for one in answers for option in one.options)
    return Said(answer.text, tuple(replace(box, score=None) for box in boxes), means)

"""What the engine answers: text, its phrases, their boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown


@dataclass(frozen=True, slots=True)
class Entity:
    """A phrase of the answer's text and where it is in the image."""

    phrase: str
    start: int  # in the answer's text, code points
    end: int
    boxes: tuple[Box, ...]  # best first; empty: not found
    presence: float | None = None  # probability that it is in the image; None where nobody asked
    cells: tuple[tuple[int, int], ...] = ()  # each box's location tokens, 0 to grid * grid - 1


@dataclass(frozen=True, slots=True)
class Option:
    """An answer that was given, and how likely it is."""

    text: str
    log_probability: float  # of all its tokens
    tokens: int

    @property
    def mean(self) -> float:
        """Log-probability a token: longer options are not less likely for being long."""
        return self.log_probability / max(self.tokens, 1)


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    phrases: tuple[Entity, ...] = ()
    options: tuple[Option, ...] = ()  # of a Score, in the order given
    dropped: int = 0  # malformed groups the model said
    finished: bool = True  # False: cut off by a limit of tokens or time
    calibrated: bool = False  # whether scores went through the checkpoint's calibration

    @property
    def markdown(self) -> str:
        """The text with links; `()` after what was not found."""
        phrases = tuple(Phrase(one.start, one.end, one.boxes) for one in self.phrases)
        return write_markdown(GroundedText(self.text, phrases))

    def to_dict(self, width: int, height: int) -> dict[str, Any]:
        """For JSON, with boxes in pixels of an image of this size and in unit coordinates."""
        phrases = [
            {
                "phrase": one.phrase,
                "start": one.start,
                "end": one.end,
                "presence": one.presence,
                "boxes": [
                    {
                        "box_px": list(box.pixels(width, height)),
                        "box_unit": [box.x1, box.y1, box.x2, box.y2],
                        "score": box.score,
                    }
                    for box in one.boxes
                ],
            }
            for one in self.phrases
        ]
        options = [
            {"text": one.text, "log_probability": one.log_probability, "mean": one.mean, "tokens": one.tokens}
            for one in self.options
        ]
        return {
            "text": self.text,
            "markdown": self.markdown,
            "phrases": phrases,
            "options": options,
            "finished": self.finished,
            "calibrated": self.calibrated,
        }

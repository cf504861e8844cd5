"""What the engine answers: text, its phrases, their boxes."""

from __future__ import annotations

from dataclasses import dataclass

from kosmos2_core.boxes import Box
from kosmos2_core.markdown import GroundedText, Phrase, write


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
class Answer:
    text: str
    phrases: tuple[Entity, ...] = ()
    dropped: int = 0  # malformed groups the model said
    finished: bool = True  # False: cut off by a limit of tokens or time
    calibrated: bool = False  # whether scores went through the checkpoint's calibration

    @property
    def markdown(self) -> str:
        """The text with links; `()` after what was not found."""
        phrases = tuple(Phrase(one.start, one.end, one.boxes) for one in self.phrases)
        return write(GroundedText(self.text, phrases))

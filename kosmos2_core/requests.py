"""What can be asked, and how each question becomes ids.

A prompt is a list of ids, built from words and control tokens, never by joining strings: so no word of a
user becomes a control token. `IMAGE` stands for a picture; those that a prompt does not place come first.
The wording is what the model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

from kosmos2_core.boxes import Box
from kosmos2_core.command_parser import Splitter, split_command
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, parse_markdown


@dataclass(frozen=True)
class Locate:
    """Find the phrases of a text in the image.

    Args:
        text: a sentence with marked spans, `put [the mug] into [the bowl]`. Without marks the splitter
            decides what to look for: one expression, several separated by `;`, or the objects that a command
            names. Expressions separated by `;` do not influence each other.
        max_boxes: at most so many different objects of each phrase, best first.
        min_score: leave out boxes with a lower score.
        min_presence: a phrase whose presence is lower gets no box; None: the checkpoint's threshold. 0 gives
            the best box of each phrase even if the object is most likely not in the image.
        max_corners: how many first corners of a box are tried; 1 is fastest.
        zoom: look again, closer, at what was found, and keep the better box.
        splitter: finds the phrases of a text without marks.
    """

    text: str
    max_boxes: int = 1
    min_score: float = 0.0
    max_corners: int = 16
    zoom: bool = False
    splitter: Splitter = split_command
    min_presence: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_boxes", "max_corners"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        for name in ("min_score", "min_presence"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:  # NaN fails too
                raise InputError(f"{name} is {value:g}: it must be from 0 to 1.")

    def grounded(self) -> GroundedText:
        """The text, and what to look for in it."""
        grounded = parse_markdown(self.text)
        if not grounded.phrases:
            grounded = self.splitter(grounded.text)
        if not grounded.phrases:
            raise InputError(
                f"{_short(self.text)} names nothing to locate: give an expression, as in `the red mug`, or"
                " mark what to look for, as in `put [it] there`."
            )
        return grounded


@dataclass(frozen=True)
class Caption:
    """What is in the image, in a sentence or in a paragraph."""

    detailed: bool = False
    ground: bool = True


WORDINGS = (
    "[It] is",
    "What is [it]? It is",
    "What is [this]? This is",
    "Describe [this object]. This object is",
    "[This] is",
    "[The object] is",
)


@dataclass(frozen=True)
class Describe:
    """What is in this box? The wording's one mark gets the box; WORDINGS are those it was trained on."""

    box: Box
    wording: str = WORDINGS[0]

    def __post_init__(self) -> None:
        if len(parse_markdown(self.wording).phrases) != 1:
            raise InputError(f"{self.wording!r} does not mark one thing to describe, as in `[It] is`.")


@dataclass(frozen=True)
class Ask:
    """A question about the image. A region belongs to the words marked in it, `what is [this] made of?`,
    else to its first `it`, `this` or `that`."""

    question: str
    region: Box | None = None
    ground: bool = False


@dataclass(frozen=True)
class Chat:
    """A dialogue: what was asked and answered before, and the next question."""

    question: str
    turns: tuple[tuple[str, str], ...] = ()
    ground: bool = False


@dataclass(frozen=True)
class Complete:
    """Raw: grounded Markdown that the model continues. Examples come before, each with its own image,
    in the order of the images; the last image is the prompt's."""

    text: str
    examples: tuple[str, ...] = ()
    ground: bool = False


GenerationRequest = Caption | Describe | Ask | Chat | Complete


@dataclass(frozen=True)
class Score:
    """How likely is each of these answers to the prompt? The answer's text is the likeliest, by a token's
    mean."""

    prompt: GenerationRequest
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.options or not all(option.strip() for option in self.options):
            raise InputError("there is nothing to score: give options, none of them empty.")


Request = Locate | Score | GenerationRequest


def _short(text: str) -> str:
    return f"`{text}`" if len(text) <= 40 else f"`{text[:40]}...`"

"""Requests: what can be asked about images. `kosmos2_core.prompts` turns them into token ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kosmos2_core.boxes import Box
from kosmos2_core.command_parser import has_word, split_command
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, has_unclosed_bracket, parse_markdown


@dataclass(frozen=True)
class Locate:
    """Find the phrases of a text in the image.

    Args:
        text: A sentence with marked phrases, `put [the mug] into [the bowl]`. Without marks the splitter
            decides what to look for: one expression, several separated by `;`, or the objects that a command
            names. Expressions separated by `;` do not influence each other.
        max_boxes: At most so many boxes of each phrase, of different objects, best first.
        min_score: Leave out boxes with a lower score.
        max_corners: How many first corners of a box are tried; 1 is fastest.
        zoom: Ask again about a crop around the best box of each phrase, and keep the box with the higher
            score.
        splitter: Finds the phrases of a text without marks.
        min_presence: A phrase with a lower presence gets no box; None: the checkpoint's threshold. 0 gives
            the best box of each phrase even if the object is most likely not in the image.

    Raises:
        InputError: A number is out of range.
    """

    text: str
    max_boxes: int = 1
    min_score: float = 0.0
    max_corners: int = 16
    zoom: bool = False
    splitter: Callable[[str], GroundedText] = split_command
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
        """Return the text with the phrases to look for.

        Raises:
            InputError: The text names nothing, or a `[` in it is not closed.
        """
        if has_unclosed_bracket(self.text):
            raise InputError(
                f"{_short(self.text)} has a `[` without its `]`: close the mark, as in `put [the mug] there`,"
                r" or write `\[` for a plain bracket."
            )
        grounded = parse_markdown(self.text)
        if not grounded.phrases:
            grounded = self.splitter(grounded.text)
        if not grounded.phrases or not all(map(has_word, map(grounded.words_of, grounded.phrases))):
            raise InputError(
                f"{_short(self.text)} names nothing to locate: give an expression, as in `the red mug`, or"
                " mark what to look for, as in `put [it] there`."
            )
        return grounded


@dataclass(frozen=True)
class Caption:
    """Say what is in the image.

    Args:
        detailed: A paragraph instead of a sentence.
        ground: Mark the objects in the answer and give their boxes.
    """

    detailed: bool = False
    ground: bool = True


DESCRIBE_PROMPTS = (  # those that the released model was trained on
    "[It] is",
    "What is [it]? It is",
    "What is [this]? This is",
    "Describe [this object]. This object is",
    "[This] is",
    "[The object] is",
)


@dataclass(frozen=True)
class Describe:
    """Say what is in a box.

    Args:
        box: The region to describe.
        wording: The prompt; its one mark gets the box.

    Raises:
        InputError: The wording does not have exactly one mark.
    """

    box: Box
    wording: str = DESCRIBE_PROMPTS[0]

    def __post_init__(self) -> None:
        if len(parse_markdown(self.wording).phrases) != 1:
            raise InputError(f"{self.wording!r} must mark exactly one thing to describe, as in `[It] is`.")


@dataclass(frozen=True)
class Ask:
    """Answer a question about the image.

    Args:
        question: The question, which can mark words and give them boxes.
        region: A box that the question is about. It belongs to the first words marked in the question, as in
            `what is [this] made of?`, else to its first `it`, `this` or `that`.
        ground: Mark the objects in the answer and give their boxes.
    """

    question: str
    region: Box | None = None
    ground: bool = False


@dataclass(frozen=True)
class Chat:
    """Answer the next question of a dialogue.

    Args:
        question: The next question.
        turns: The questions and answers before, as grounded Markdown.
        ground: Mark the objects in the answer and give their boxes.
    """

    question: str
    turns: tuple[tuple[str, str], ...] = ()
    ground: bool = False


@dataclass(frozen=True)
class Complete:
    """Continue a text, without any wording of our own.

    Args:
        text: Grounded Markdown; if it ends with `[a phrase]`, the answer begins with a box for it.
        examples: Finished texts that come before, each about an image of its own. The images are in this
            order, and the last one is for `text`.
        ground: Mark the objects in the answer and give their boxes.
    """

    text: str
    examples: tuple[str, ...] = ()
    ground: bool = False


GenerationRequest = Caption | Describe | Ask | Chat | Complete


@dataclass(frozen=True)
class Score:
    """Compute how likely each of the given answers is.

    The text of the answer is the option with the highest mean log-probability per token.

    Args:
        prompt: What is asked.
        options: The answers to compare.

    Raises:
        InputError: There is no option, or an empty one.
    """

    prompt: GenerationRequest
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.options or not all(option.strip() for option in self.options):
            raise InputError("there is nothing to score: give options, none of them empty.")


Request = Locate | Score | GenerationRequest


def _short(text: str) -> str:
    return f"`{text}`" if len(text) <= 40 else f"`{text[:40]}...`"

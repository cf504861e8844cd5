"""What can be asked, and how each question becomes ids.

A prompt is a list of ids, built from words and control tokens, never by joining strings: so no word of a
user becomes a control token. `IMAGE` stands for a picture; those that a prompt does not place come first.
The wording is what the model was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kosmos2_core.boxes import Box
from kosmos2_core.commands import Splitter, split
from kosmos2_core.errors import InputError
from kosmos2_core.markdown import GroundedText, Phrase, parse
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_core.tokens import encode_grounded

IMAGE = -1


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
    splitter: Splitter = split
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
        grounded = parse(self.text)
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
        if len(parse(self.wording).phrases) != 1:
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
class Prompt:
    """Raw: grounded Markdown that the model continues. Examples come before, each with its own image,
    in the order of the images; the last image is the prompt's."""

    text: str
    examples: tuple[str, ...] = ()
    ground: bool = False


Generating = Caption | Describe | Ask | Chat | Prompt


@dataclass(frozen=True)
class Score:
    """How likely is each of these answers to the prompt? The answer's text is the likeliest, by a token's
    mean."""

    prompt: Generating
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.options or not all(option.strip() for option in self.options):
            raise InputError("there is nothing to score: give options, none of them empty.")


Request = Locate | Score | Generating


def locate_prompts(tokenizer: Tokenizer, ask: Locate) -> list[list[int]]:
    """For each phrase: the sentence up to it, the phrase, and `<object>`; next come a box's corners."""
    control, grounded = tokenizer.control, ask.grounded()
    prompts = []
    for phrase, before in zip(grounded.phrases, _before(grounded), strict=True):
        words = tokenizer.encode(grounded.of(phrase))
        prompts.append(
            [
                *(control.grounding, *tokenizer.encode(before)),
                *(control.phrase, *words, control.phrase_end, control.object),
            ]
        )
    return prompts


def _before(grounded: GroundedText) -> Iterator[str]:
    """What comes before each phrase in its sentence. A `;` ends one: expressions in a list stand alone."""
    begin = end = 0
    for phrase in grounded.phrases:
        semicolon = grounded.text.rfind(";", end, phrase.start)
        begin = begin if semicolon < 0 else semicolon + 1
        yield grounded.text[begin : phrase.start].lstrip()
        end = phrase.end


def prompt_of(tokenizer: Tokenizer, request: Generating) -> list[int]:
    control = tokenizer.control
    match request:
        case Caption(detailed, ground):
            words = "Describe this image in detail:" if detailed else "An image of"
            return _start(tokenizer, ground) + tokenizer.encode(words)
        case Describe(box, wording):
            about = parse(wording)
            about = GroundedText(about.text, (replace(about.phrases[0], boxes=(box,)),))
            return [control.grounding, *encode_grounded(tokenizer, about)]
        case Ask(question, region, ground):
            asked = parse(question) if region is None else _about(question, region)
            return _start(tokenizer, ground or bool(asked.phrases)) + _turn(tokenizer, asked)
        case Chat(question, turns, ground):
            ids = _start(tokenizer, ground)
            for earlier, answer in turns:
                ids += _turn(tokenizer, parse(earlier)) + encode_grounded(tokenizer, parse(answer))
            return ids + _turn(tokenizer, parse(question))
        case Prompt(text, examples, ground):
            ids = []
            for example in examples:
                ids += [IMAGE, *_start(tokenizer, ground), *encode_grounded(tokenizer, parse(example))]
            last = [IMAGE] if examples else []
            return ids + last + _start(tokenizer, ground) + encode_grounded(tokenizer, parse(text))


def _start(tokenizer: Tokenizer, ground: bool) -> list[int]:
    return [tokenizer.control.grounding] if ground else []


def _turn(tokenizer: Tokenizer, question: GroundedText) -> list[int]:
    if not question.text.strip():
        raise InputError("the question is empty: ask something.")
    asked = encode_grounded(tokenizer, question)
    return tokenizer.encode("Question:") + asked + tokenizer.encode("Answer:")


def _about(question: str, region: Box) -> GroundedText:
    """The question with the region at the words it belongs to."""
    asked = parse(question)
    spans: Sequence[tuple[int, int]] = [(phrase.start, phrase.end) for phrase in asked.phrases]
    spans = spans or [word.span() for word in re.finditer(r"\b(it|this|that)\b", asked.text, re.IGNORECASE)]
    if not spans:
        raise InputError("the question does not say what the region is: mark it, as in `what is [this]?`.")
    first = Phrase(*spans[0], (region,))
    return GroundedText(asked.text, (first, *asked.phrases[1:]))


def _short(text: str) -> str:
    return f"`{text}`" if len(text) <= 40 else f"`{text[:40]}...`"

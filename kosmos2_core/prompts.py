"""What can be asked, and how each question becomes ids.

A prompt is a list of ids, built from words and control tokens, never by joining strings: so no word of a
user becomes a control token. `IMAGE` stands for a picture; those that a prompt does not place come first.
The wording is what the model was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, encode_grounded, parse_markdown
from kosmos2_core.requests import Ask, Caption, Chat, Complete, Describe, GenerationRequest, Locate
from kosmos2_core.tokenizer import Tokenizer

IMAGE = -1


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt: the tokens of its images, and its ids with IMAGE where the next of them is."""

    images: tuple[Tensor, ...]
    ids: list[int]

    @property
    def leading(self) -> int:
        """Images that the prompt does not place: they come first."""
        return len(self.images) - self.ids.count(IMAGE)

    @property
    def shared(self) -> tuple[int, ...]:
        """What rows about the same images have in common."""
        return tuple(map(id, self.images))


def locate_prompt_ids(tokenizer: Tokenizer, ask: Locate) -> list[list[int]]:
    """For each phrase: the sentence up to it, the phrase, and `<object>`; next come a box's corners."""
    control, grounded = tokenizer.control, ask.grounded()
    prompts = []
    for phrase, before in zip(grounded.phrases, _before(grounded), strict=True):
        words = tokenizer.encode(grounded.words_of(phrase))
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


def prompt_ids(tokenizer: Tokenizer, request: GenerationRequest) -> list[int]:
    control = tokenizer.control
    match request:
        case Caption(detailed, ground):
            words = "Describe this image in detail:" if detailed else "An image of"
            return _start(tokenizer, ground) + tokenizer.encode(words)
        case Describe(box, wording):
            about = parse_markdown(wording)
            about = GroundedText(about.text, (replace(about.phrases[0], boxes=(box,)),))
            return [control.grounding, *encode_grounded(tokenizer, about)]
        case Ask(question, region, ground):
            asked = parse_markdown(question) if region is None else _about(question, region)
            return _start(tokenizer, ground or bool(asked.phrases)) + _turn(tokenizer, asked)
        case Chat(question, turns, ground):
            ids = _start(tokenizer, ground)
            for earlier, answer in turns:
                ids += _turn(tokenizer, parse_markdown(earlier)) + encode_grounded(
                    tokenizer, parse_markdown(answer)
                )
            return ids + _turn(tokenizer, parse_markdown(question))
        case Complete(text, examples, ground):
            ids = []
            for example in examples:
                ids += [
                    IMAGE,
                    *_start(tokenizer, ground),
                    *encode_grounded(tokenizer, parse_markdown(example)),
                ]
            last = [IMAGE] if examples else []
            return ids + last + _start(tokenizer, ground) + encode_grounded(tokenizer, parse_markdown(text))


def _start(tokenizer: Tokenizer, ground: bool) -> list[int]:
    return [tokenizer.control.grounding] if ground else []


def _turn(tokenizer: Tokenizer, question: GroundedText) -> list[int]:
    if not question.text.strip():
        raise InputError("the question is empty: ask something.")
    asked = encode_grounded(tokenizer, question)
    return tokenizer.encode("Question:") + asked + tokenizer.encode("Answer:")


def _about(question: str, region: Box) -> GroundedText:
    """The question with the region at the words it belongs to."""
    asked = parse_markdown(question)
    spans: Sequence[tuple[int, int]] = [(phrase.start, phrase.end) for phrase in asked.phrases]
    spans = spans or [word.span() for word in re.finditer(r"\b(it|this|that)\b", asked.text, re.IGNORECASE)]
    if not spans:
        raise InputError("the question does not say what the region is: mark it, as in `what is [this]?`.")
    first = Phrase(*spans[0], (region,))
    return GroundedText(asked.text, (first, *asked.phrases[1:]))

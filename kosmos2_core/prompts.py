"""Prompts: requests as token ids, in the wording that the released model was trained on.

A prompt is built from the ids of words and of control tokens, never by joining strings, so that no text of a
user becomes a control token.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, encode_grounded, parse_markdown
from kosmos2_core.requests import Ask, Caption, Chat, Complete, Describe, GenerationRequest, Locate
from kosmos2_core.tokenizer import Tokenizer

IMAGE = -1  # stands for an image in a prompt


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt and its images.

    Args:
        images: The tokens (queries, D) of each image, in order.
        ids: Token ids, with IMAGE where the next image is. Images that have no place in the ids come first.
        blind: The prompt does not see the images. It is packed with those that do.
    """

    images: tuple[Tensor, ...]
    ids: list[int]
    blind: bool = False

    @property
    def leading(self) -> int:
        """Number of images that come before the ids."""
        return len(self.images) - self.ids.count(IMAGE)

    @property
    def view(self) -> tuple[int, ...]:
        """A key that prompts about the same images share."""
        return tuple(map(id, self.images))

    @property
    def key(self) -> Hashable:
        """A key that equal prompts about the same images share."""
        return self.view, tuple(self.ids), self.blind


def locate_prompt_ids(tokenizer: Tokenizer, request: Locate) -> list[list[int]]:
    """Return a prompt for each phrase: the sentence before it, the phrase, and `<object>`.

    The model continues it with the corners of a box.
    """
    control, grounded = tokenizer.control, request.grounded()
    prompts = []
    for phrase, before in zip(grounded.phrases, _texts_before(grounded), strict=True):
        words = tokenizer.encode(grounded.words_of(phrase))
        opening = [control.grounding, *tokenizer.encode(before)]
        prompts.append([*opening, control.phrase, *words, control.phrase_end, control.object])
    return prompts


def _texts_before(grounded: GroundedText) -> Iterator[str]:
    """Yield the text before each phrase in its sentence; expressions after a `;` start a new one."""
    begin = end = 0
    for phrase in grounded.phrases:
        semicolon = grounded.text.rfind(";", end, phrase.start)
        begin = begin if semicolon < 0 else semicolon + 1
        yield grounded.text[begin : phrase.start].lstrip()
        end = phrase.end


def prompt_ids(tokenizer: Tokenizer, request: GenerationRequest) -> list[int]:
    """Return the ids of a request, with IMAGE where an image is placed within the prompt.

    Raises:
        InputError: A question is empty, or does not say what its region belongs to.
    """
    match request:
        case Caption(detailed, ground):
            words = "Describe this image in detail:" if detailed else "An image of"
            return _start(tokenizer, ground) + tokenizer.encode(words)
        case Describe(box, wording):
            marked = parse_markdown(wording)
            marked = GroundedText(marked.text, (replace(marked.phrases[0], boxes=(box,)),))
            return [tokenizer.control.grounding, *encode_grounded(tokenizer, marked)]
        case Ask(question, region, ground):
            asked = parse_markdown(question) if region is None else _with_region(question, region)
            return _start(tokenizer, ground or bool(asked.phrases)) + _question(tokenizer, asked)
        case Chat(question, turns, ground):
            ids = _start(tokenizer, ground)
            for earlier, answer in turns:
                ids += _question(tokenizer, parse_markdown(earlier))
                ids += encode_grounded(tokenizer, parse_markdown(answer))
            return ids + _question(tokenizer, parse_markdown(question))
        case Complete(text, examples, ground):
            texts = [_start(tokenizer, ground) + _encode(tokenizer, example) for example in (*examples, text)]
            if not examples:
                return texts[0]
            return [token for ids in texts for token in (IMAGE, *ids)]


def _start(tokenizer: Tokenizer, ground: bool) -> list[int]:
    return [tokenizer.control.grounding] if ground else []


def _encode(tokenizer: Tokenizer, markdown: str) -> list[int]:
    return encode_grounded(tokenizer, parse_markdown(markdown))


def _question(tokenizer: Tokenizer, question: GroundedText) -> list[int]:
    if not question.text.strip():
        raise InputError("the question is empty: ask something.")
    ids = encode_grounded(tokenizer, question)
    return tokenizer.encode("Question:") + ids + tokenizer.encode("Answer:")


def _with_region(question: str, region: Box) -> GroundedText:
    """Return the question with the region at its first marked words, or its first `it`, `this` or `that`."""
    text = parse_markdown(question)
    spans = [(phrase.start, phrase.end) for phrase in text.phrases]
    spans = spans or [word.span() for word in re.finditer(r"\b(it|this|that)\b", text.text, re.IGNORECASE)]
    if not spans:
        raise InputError("the question does not say what the region is: mark it, as in `what is [this]?`.")
    first = Phrase(*spans[0], (region,))
    return GroundedText(text.text, (first, *text.phrases[1:]))

"""Grounded text from its parts."""

from __future__ import annotations

from dataclasses import dataclass

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import GroundedText, Phrase


@dataclass(frozen=True)
class Marked:
    """Words that are to be marked, with their boxes; () where nothing fits them."""

    words: str
    boxes: tuple[Box, ...]


def marked(*parts: str | Marked) -> GroundedText:
    text = ""
    phrases: list[Phrase] = []
    for part in parts:
        words = part if isinstance(part, str) else part.words
        if isinstance(part, Marked):
            phrases.append(Phrase(len(text), len(text) + len(words), part.boxes))
        text += words
    return GroundedText(text, tuple(phrases))

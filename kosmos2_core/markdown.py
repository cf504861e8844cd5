r"""Grounded text as people write and read it.

`put [the red mug](0.12,0.30,0.25,0.51) into [the bowl](0.5,0.4,0.8,0.7;0.1,0.1,0.2,0.2)`: unit coordinates
x1,y1,x2,y2 of the image, several boxes separated by `;`. `[the mug]()` was looked for and is absent,
`[the mug]` is to be grounded. `\` before one of `[ ] ( ) \` makes it plain. Brackets followed by anything
else in parentheses are plain text, as are brackets with nothing in them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError


@dataclass(frozen=True, slots=True)
class Phrase:
    """A span of a text, in code points, end exclusive; boxes None: to be grounded, (): absent."""

    start: int
    end: int
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True, slots=True)
class GroundedText:
    text: str
    phrases: tuple[Phrase, ...] = ()  # in the order of the text, not overlapping

    def __post_init__(self) -> None:
        end = 0
        for phrase in self.phrases:
            if not end <= phrase.start < phrase.end <= len(self.text):
                raise InputError(
                    f"the span {phrase.start}-{phrase.end} is empty, overlaps another or leaves the text."
                )
            end = phrase.end

    def of(self, phrase: Phrase) -> str:
        return self.text[phrase.start : phrase.end]


_NUMBER = r"[ ]*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?[ ]*"
_BOX = rf"{_NUMBER}(?:,{_NUMBER}){{3}}"
_BOXES = re.compile(rf"{_BOX}(?:;{_BOX})*")
# Each alternative starts with a character of its own and ends at the next bracket or parenthesis, so
# that reading takes time linear in the text.
_TOKEN = re.compile(
    r"\\(?P<escaped>[\[\]()\\])"
    r"|\[(?P<phrase>(?:[^\[\]\\]|\\.)+)\](?:\((?P<inside>[^()\[\]]*)\))?",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\([\[\]()\\])")
_SPECIAL = re.compile(r"[\[\]()\\]")


def parse(markdown: str) -> GroundedText:
    """Read grounded Markdown. A box that is none (x1 >= x2, or outside the image) is an InputError."""
    pieces: list[str] = []
    phrases: list[Phrase] = []
    length = end = 0
    for token in _TOKEN.finditer(markdown):
        plain, inside = markdown[end : token.start()], token["inside"]
        length += len(plain)
        if token["escaped"]:
            content = token["escaped"]
        elif inside is None or not inside.strip() or _BOXES.fullmatch(inside):
            content = _ESCAPED.sub(r"\1", token["phrase"])
            phrases.append(Phrase(length, length + len(content), _boxes(inside)))
        else:
            content = _ESCAPED.sub(r"\1", token[0])
        pieces += plain, content
        length += len(content)
        end = token.end()
    return GroundedText("".join([*pieces, markdown[end:]]), tuple(phrases))


def write(grounded: GroundedText) -> str:
    """Grounded Markdown that `parse` reads as the same, coordinates to six decimals."""
    pieces: list[str] = []
    end = 0
    for phrase in grounded.phrases:
        pieces += _escape(grounded.text[end : phrase.start]), "[", _escape(grounded.of(phrase)), "]"
        if phrase.boxes is not None:
            pieces += "(", ";".join(map(_coordinates, phrase.boxes)), ")"
        end = phrase.end
    return "".join([*pieces, _escape(grounded.text[end:])])


def _boxes(inside: str | None) -> tuple[Box, ...] | None:
    if inside is None:
        return None
    return tuple(Box(*map(float, box.split(","))) for box in inside.split(";") if box.strip())


def _coordinates(box: Box) -> str:
    exact = (box.x1, box.y1, box.x2, box.y2)
    x1, y1, x2, y2 = rounded = tuple(round(value, 6) for value in exact)
    values = rounded if x1 < x2 and y1 < y2 else exact
    return ",".join("0" if value == 0 else "1" if value == 1 else repr(float(value)) for value in values)


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)

r"""Grounded text as people write and read it.

`put [the red mug](0.12,0.30,0.25,0.51) into [the bowl](0.5,0.4,0.8,0.7;0.1,0.1,0.2,0.2)`: unit coordinates
x1,y1,x2,y2 of the image, several boxes separated by `;`. `[the mug]()` was looked for and is absent,
`[the mug]` is to be grounded. `\` before one of `[ ] ( ) \` makes it plain. Brackets followed by anything
else in parentheses are plain text, as are brackets with nothing in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kosmos2_core.boxes import Box, box_of_cells, cells_of_box
from kosmos2_core.errors import InputError
from kosmos2_core.tokenizer import ControlIds, Tokenizer


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

    def words_of(self, phrase: Phrase) -> str:
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


def parse_markdown(markdown: str) -> GroundedText:
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


def write_markdown(grounded: GroundedText) -> str:
    """Grounded Markdown that `parse` reads as the same, coordinates to six decimals."""
    pieces: list[str] = []
    end = 0
    for phrase in grounded.phrases:
        pieces += _escape(grounded.text[end : phrase.start]), "[", _escape(grounded.words_of(phrase)), "]"
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


# The tokenizer writes a space before whatever follows a control token; text has none before these.
CLOSING = frozenset(".,;:!?")


@dataclass(frozen=True, slots=True)
class ParsedText:
    """What generated ids say. Offsets are in code points of the text, end exclusive."""

    text: str
    phrases: tuple[ParsedPhrase, ...]
    dropped: int  # malformed groups that were left out

    def grounded(self, grid: int) -> GroundedText:
        """With boxes in unit coordinates; a phrase nobody boxed has none."""
        phrases = (
            Phrase(one.start, one.end, tuple(box for pair in one.pairs if (box := box_of_cells(*pair, grid))))
            for one in self.phrases
        )
        return GroundedText(self.text, tuple(phrases))


@dataclass(frozen=True, slots=True)
class ParsedPhrase:
    start: int
    end: int
    pairs: tuple[tuple[int, int], ...]  # cells of the upper-left and lower-right corners, legal ones only
    closed: int = 0  # how many ids there are up to its `</phrase>`, included


def encode_grounded(tokenizer: Tokenizer, grounded: GroundedText) -> list[int]:
    """Ids of a text and its phrases with their boxes, as a prompt or as an answer to learn."""
    control = tokenizer.control
    ids: list[int] = []
    end = 0
    for phrase in grounded.phrases:
        ids += tokenizer.encode(grounded.text[end : phrase.start])
        ids += [control.phrase, *tokenizer.encode(grounded.words_of(phrase)), control.phrase_end]
        ids += encode_boxes(tokenizer, phrase.boxes or ())
        end = phrase.end
    return ids + tokenizer.encode(grounded.text[end:])


def encode_boxes(tokenizer: Tokenizer, boxes: Sequence[Box]) -> list[int]:
    """`<object>` to `</object>`; nothing for no boxes."""
    control = tokenizer.control
    ids: list[int] = []
    for box in boxes:
        corners = cells_of_box(box, control.grid)
        ids += [control.another if ids else control.object, *(control.location + cell for cell in corners)]
    return [*ids, control.object_end] if ids else []


def parse_ids(tokenizer: Tokenizer, ids: Sequence[int]) -> ParsedText:
    """What generated ids say, in one pass. A malformed group is left out and counted; its words stay."""
    reader = _Reader(tokenizer, ids)
    reader.read()
    return ParsedText(reader.text, tuple(reader.phrases), reader.dropped)


def trailing_phrase(control: ControlIds, prompt: Sequence[int]) -> list[int]:
    """The phrase that a prompt ends with: its boxes are what is said first, so it begins the answer. Its ids
    are words of the user's, between two control tokens of ours."""
    if not prompt or prompt[-1] != control.phrase_end:
        return []
    start = next(at for at in range(len(prompt) - 1, -1, -1) if prompt[at] == control.phrase)
    return list(prompt[start:])


class _Reader:
    """Walks over ids once; each method reads from `at` and leaves `at` behind what it took."""

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[int]) -> None:
        self.tokenizer, self.control, self.ids = tokenizer, tokenizer.control, ids
        self.at = 0
        self.pieces: list[str] = []
        self.length = 0
        self.phrases: list[ParsedPhrase] = []
        self.dropped = 0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def phrase_end(self) -> int:
        return self.phrases[-1].end if self.phrases else 0

    def read(self) -> None:
        while self.at < len(self.ids):
            number = self.ids[self.at]
            if number == self.control.phrase:
                self.at += 1
                self.read_phrase()
            elif number == self.control.object or number in self.control.locations:
                self.read_boxes()  # of no phrase
                self.dropped += 1
            else:
                self.at += 1
                self.say(number)

    def read_phrase(self) -> None:
        start = self.read_words()
        end = self.length
        if not (self.takes(self.control.phrase_end) and start < end):
            self.dropped += 1
            return
        closed, pairs = self.at, self.read_boxes_here()
        legal = tuple(pair for pair in pairs if box_of_cells(*pair, self.control.grid))
        self.dropped += len(pairs) - len(legal)
        self.phrases.append(ParsedPhrase(start, end, legal, closed))

    def read_boxes_here(self) -> list[tuple[int, int]]:
        """The boxes of the phrase that just ended; none where there are none, or malformed ones."""
        if not (self.at < len(self.ids) and self.ids[self.at] == self.control.object):
            return []
        pairs = self.read_boxes()
        self.dropped += pairs is None
        return pairs or []

    def read_words(self) -> int:
        """Say words up to the next control token; where they start, their first space left out."""
        start = None
        while self.at < len(self.ids) and self.is_word(self.ids[self.at]):
            piece = self.say(self.ids[self.at])
            if start is None and piece.strip():
                start = self.length - len(piece.lstrip())
            self.at += 1
        return self.length if start is None else start

    def read_boxes(self) -> list[tuple[int, int]] | None:
        """The cells between `<object>` and `</object>`; None, and everything of it taken, if malformed."""
        pairs = []
        well_formed = self.takes(self.control.object)
        while well_formed:
            first, second = self.take_location(), self.take_location()
            if first is None or second is None:
                well_formed = False
            else:
                pairs.append((first, second))
                if self.takes(self.control.object_end):
                    return pairs
                well_formed = self.takes(self.control.another)
        group = (self.control.another, self.control.object_end)
        while self.at < len(self.ids) and (
            self.ids[self.at] in self.control.locations or self.ids[self.at] in group
        ):
            self.at += 1
        return None

    def take_location(self) -> int | None:
        if self.at < len(self.ids) and self.ids[self.at] in self.control.locations:
            self.at += 1
            return self.ids[self.at - 1] - self.control.location
        return None

    def takes(self, number: int) -> bool:
        if self.at < len(self.ids) and self.ids[self.at] == number:
            self.at += 1
            return True
        return False

    def is_word(self, number: int) -> bool:
        return number not in self.tokenizer.control_ids or number == self.control.unknown

    def say(self, number: int) -> str:
        piece = self.tokenizer.piece(number)
        if not self.length or piece[1:2] in CLOSING:
            piece = piece.lstrip(" ")
        if piece[:1] in CLOSING and self.pieces[-1:] == [" "] and self.length > self.phrase_end:
            self.pieces.pop()
            self.length -= 1
        self.pieces.append(piece)
        self.length += len(piece)
        return piece

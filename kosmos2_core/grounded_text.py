r"""Grounded text: text whose phrases have boxes, as Markdown for people and as token ids for the model.

Markdown: `put [the red mug](0.12,0.30,0.25,0.51) into [the bowl](0.5,0.4,0.8,0.7;0.1,0.1,0.2,0.2)` has unit
coordinates x1,y1,x2,y2 of the image, several boxes separated by `;`. `[the mug]()` was looked for and is
absent, `[the mug]` is to be grounded. `\` before one of `[ ] ( ) \` makes it a plain character. Brackets
followed by anything else in parentheses are plain text, as are brackets with nothing in them.

Ids: `<phrase> the red mug</phrase><object><a><b></delimiter_of_multi_objects/><c><d></object>` is a phrase
and its boxes, each a pair of location tokens. Only ids that the model generated are ever parsed.
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
    """A span of a text.

    Args:
        start: Offset of its first character, in Unicode code points.
        end: Offset after its last character.
        boxes: Its boxes; empty: looked for and absent; None: to be grounded.
    """

    start: int
    end: int
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True, slots=True)
class GroundedText:
    """A plain text and its phrases.

    Args:
        text: The text without marks.
        phrases: Spans of it, in the order of the text, not overlapping.

    Raises:
        InputError: A span is empty, overlaps another or leaves the text.
    """

    text: str
    phrases: tuple[Phrase, ...] = ()

    def __post_init__(self) -> None:
        end = 0
        for phrase in self.phrases:
            if not end <= phrase.start < phrase.end <= len(self.text):
                raise InputError(
                    f"the span {phrase.start}-{phrase.end} is empty, overlaps another or leaves the text."
                )
            end = phrase.end

    def words_of(self, phrase: Phrase) -> str:
        """Return the words of one of the phrases."""
        return self.text[phrase.start : phrase.end]


# Markdown.

_NUMBER = r"[ ]*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?[ ]*"
_BOX = rf"{_NUMBER}(?:,{_NUMBER}){{3}}"
_BOXES = re.compile(rf"{_BOX}(?:;{_BOX})*")
# Each alternative starts with a character of its own and ends at the next bracket or parenthesis, so that
# parsing takes time linear in the length of the text.
_TOKEN = re.compile(
    r"\\(?P<escaped>[\[\]()\\])"
    r"|\[(?P<phrase>(?:[^\[\]\\]|\\.)+)\](?:\((?P<inside>[^()\[\]]*)\))?",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\([\[\]()\\])")
_SPECIAL = re.compile(r"[\[\]()\\]")


def parse_markdown(markdown: str) -> GroundedText:
    """Parse grounded Markdown.

    Raises:
        InputError: A box is not valid: x1 >= x2, y1 >= y2, or outside the image.
    """
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
            phrases.append(Phrase(length, length + len(content), _parse_boxes(inside)))
        else:
            content = _ESCAPED.sub(r"\1", token[0])
        pieces += plain, content
        length += len(content)
        end = token.end()
    return GroundedText("".join([*pieces, markdown[end:]]), tuple(phrases))


def write_markdown(grounded: GroundedText) -> str:
    """Return grounded Markdown that `parse_markdown` reads as the same text, coordinates to six decimals."""
    pieces: list[str] = []
    end = 0
    for phrase in grounded.phrases:
        pieces += _escape(grounded.text[end : phrase.start]), "[", _escape(grounded.words_of(phrase)), "]"
        if phrase.boxes is not None:
            pieces += "(", ";".join(map(_coordinates, phrase.boxes)), ")"
        end = phrase.end
    return "".join([*pieces, _escape(grounded.text[end:])])


def has_unclosed_bracket(markdown: str) -> bool:
    """Return whether a `[` is neither escaped nor closed: most likely a mark that is not finished."""
    return "[" in _TOKEN.sub("", markdown).replace("[]", "")


def _parse_boxes(inside: str | None) -> tuple[Box, ...] | None:
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


# Ids.

# The tokenizer writes a space before the word after a control token; these have none before them in a text.
CLOSING_PUNCTUATION = frozenset(".,;:!?")


@dataclass(frozen=True, slots=True)
class ParsedPhrase:
    """A phrase in generated ids.

    Args:
        start: Offset of its first character in the text, in code points.
        end: Offset after its last character.
        pairs: Cells of the upper-left and lower-right corners of its boxes, legal ones only.
        ids_to_end: Number of ids up to its `</phrase>`, included.
    """

    start: int
    end: int
    pairs: tuple[tuple[int, int], ...]
    ids_to_end: int = 0


@dataclass(frozen=True, slots=True)
class ParsedText:
    """The text in generated ids.

    Args:
        text: The words.
        phrases: The marked phrases, in the order of the text.
        dropped: Number of malformed groups that were left out.
    """

    text: str
    phrases: tuple[ParsedPhrase, ...]
    dropped: int

    def grounded(self, grid: int) -> GroundedText:
        """Return the text with its boxes in unit coordinates.

        Args:
            grid: Cells along a side of the image.
        """
        return GroundedText(
            self.text,
            tuple(Phrase(phrase.start, phrase.end, boxes_of(phrase, grid)) for phrase in self.phrases),
        )


def boxes_of(phrase: ParsedPhrase, grid: int) -> tuple[Box, ...]:
    """Return the boxes of a generated phrase in unit coordinates."""
    return tuple(box for pair in phrase.pairs if (box := box_of_cells(*pair, grid)))


def encode_grounded(tokenizer: Tokenizer, grounded: GroundedText) -> list[int]:
    """Return the ids of a text and its phrases with their boxes, for a prompt or as a training target."""
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
    """Return the ids of a phrase's boxes, from `<object>` to `</object>`; none for no boxes."""
    control = tokenizer.control
    ids: list[int] = []
    for box in boxes:
        cells = cells_of_box(box, control.grid)
        ids += [control.another if ids else control.object, *(control.location + cell for cell in cells)]
    return [*ids, control.object_end] if ids else []


def parse_ids(tokenizer: Tokenizer, ids: Sequence[int]) -> ParsedText:
    """Parse generated ids in one pass. A malformed group is left out and counted; its words stay."""
    reader = _IdReader(tokenizer, ids)
    reader.read()
    return ParsedText(reader.text, tuple(reader.phrases), reader.dropped)


def trailing_phrase(control: ControlIds, prompt: Sequence[int]) -> list[int]:
    """Return the ids of the phrase that a prompt ends with, or none.

    The model begins its answer with boxes for it, so the phrase is parsed as the beginning of the answer.
    """
    if not prompt or prompt[-1] != control.phrase_end:
        return []
    start = next(index for index in range(len(prompt) - 1, -1, -1) if prompt[index] == control.phrase)
    return list(prompt[start:])


class _IdReader:
    """Reads ids from left to right. Each method reads from `index` and moves it behind what it read."""

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[int]) -> None:
        self.tokenizer, self.control, self.ids = tokenizer, tokenizer.control, ids
        self.index = 0
        self.pieces: list[str] = []
        self.length = 0  # of the text so far
        self.phrases: list[ParsedPhrase] = []
        self.dropped = 0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def last_phrase_end(self) -> int:
        return self.phrases[-1].end if self.phrases else 0

    def read(self) -> None:
        while self.index < len(self.ids):
            token = self.ids[self.index]
            if token == self.control.phrase:
                self.index += 1
                self.read_phrase()
            elif token == self.control.object or token in self.control.locations:
                self.read_boxes()  # they belong to no phrase
                self.dropped += 1
            else:
                self.index += 1
                self.write(token)

    def read_phrase(self) -> None:
        start = self.read_words()
        end = self.length
        if not (self.skip(self.control.phrase_end) and start < end):
            self.dropped += 1
            return
        ids_to_end, pairs = self.index, self.read_boxes_of_phrase()
        legal = tuple(pair for pair in pairs if box_of_cells(*pair, self.control.grid))
        self.dropped += len(pairs) - len(legal)
        self.phrases.append(ParsedPhrase(start, end, legal, ids_to_end))

    def read_boxes_of_phrase(self) -> list[tuple[int, int]]:
        """Read the boxes of the phrase that just ended; none if there are none, or they are malformed."""
        if not (self.index < len(self.ids) and self.ids[self.index] == self.control.object):
            return []
        pairs = self.read_boxes()
        self.dropped += pairs is None
        return pairs or []

    def read_words(self) -> int:
        """Read words up to the next control token; return where they start, without the first space."""
        start = None
        while self.index < len(self.ids) and self.is_word(self.ids[self.index]):
            piece = self.write(self.ids[self.index])
            if start is None and piece.strip():
                start = self.length - len(piece.lstrip())
            self.index += 1
        return self.length if start is None else start

    def read_boxes(self) -> list[tuple[int, int]] | None:
        """Read the cells from `<object>` to `</object>`; None, after skipping the group, if malformed."""
        pairs = []
        well_formed = self.skip(self.control.object)
        while well_formed:
            first, second = self.read_location(), self.read_location()
            if first is None or second is None:
                well_formed = False
            else:
                pairs.append((first, second))
                if self.skip(self.control.object_end):
                    return pairs
                well_formed = self.skip(self.control.another)
        group = (self.control.another, self.control.object_end)
        while self.index < len(self.ids) and (
            self.ids[self.index] in self.control.locations or self.ids[self.index] in group
        ):
            self.index += 1
        return None

    def read_location(self) -> int | None:
        """Read a location token and return its cell; None if the next id is another token."""
        if self.index < len(self.ids) and self.ids[self.index] in self.control.locations:
            self.index += 1
            return self.ids[self.index - 1] - self.control.location
        return None

    def skip(self, token: int) -> bool:
        """Move on if the next id is this token; return whether it was."""
        if self.index < len(self.ids) and self.ids[self.index] == token:
            self.index += 1
            return True
        return False

    def is_word(self, token: int) -> bool:
        return token not in self.tokenizer.control_ids or token == self.control.unknown

    def write(self, token: int) -> str:
        """Add a token's piece to the text, with the space before it only where a text has one."""
        piece = self.tokenizer.piece(token)
        if not self.length or piece[1:2] in CLOSING_PUNCTUATION:
            piece = piece.lstrip(" ")
        if (
            piece[:1] in CLOSING_PUNCTUATION
            and self.pieces[-1:] == [" "]
            and self.length > self.last_phrase_end
        ):
            self.pieces.pop()
            self.length -= 1
        self.pieces.append(piece)
        self.length += len(piece)
        return piece

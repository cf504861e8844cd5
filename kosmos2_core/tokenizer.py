"""Text to ids and back, by a checkpoint's tokenizer.json, such that no text becomes a control token.

Control tokens (`<s>`, `<phrase>`, `<patch_index_0000>` and so on) have their own door, their names. They
are taken out of the vocabulary that text is matched against, in every form: the list of added tokens,
which are matched before anything else, and the pieces themselves.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from kosmos2_core.errors import ModelError
from kosmos2_core.files import read_json

LOCATION = re.compile(r"<patch_index_(\d{4})>")
SPACE = "\u2581"  # how pieces write a space before a word


@dataclass(frozen=True, slots=True)
class ControlIds:
    """Ids of the control tokens; the names are the public checkpoint's, the ids each checkpoint's own."""

    start: int  # <s>
    pad: int
    end: int  # </s>
    unknown: int
    image: int
    image_end: int
    phrase: int
    phrase_end: int
    object: int
    object_end: int
    another: int  # </delimiter_of_multi_objects/>
    grounding: int
    location: int  # the first of grid * grid
    grid: int

    @property
    def locations(self) -> range:
        return range(self.location, self.location + self.grid * self.grid)


NAMES = {
    "start": "<s>",
    "pad": "<pad>",
    "end": "</s>",
    "unknown": "<unk>",
    "image": "<image>",
    "image_end": "</image>",
    "phrase": "<phrase>",
    "phrase_end": "</phrase>",
    "object": "<object>",
    "object_end": "</object>",
    "another": "</delimiter_of_multi_objects/>",
    "grounding": "<grounding>",
}
# Control tokens that nothing here says, but that text may not become either.
UNUSED = ("<mask>", "</doc>", "</chunk>", "</line>")


class Tokenizer:
    def __init__(self, description: dict[str, Any]) -> None:
        """description: a tokenizer.json, of a Unigram model."""
        pieces = _pieces(description)
        added = {token["content"]: token["id"] for token in description.get("added_tokens", [])}
        ids = {piece: number for number, (piece, _) in enumerate(pieces)} | added
        self.control = _control(ids)
        self.control_ids = frozenset(
            number for name, number in ids.items() if name in added or _is_control(name)
        )
        self._pieces = {number: name for name, number in ids.items()}
        self.size = max(self._pieces) + 1
        with _library_errors():
            self._tokenizer = tokenizers.Tokenizer.from_str(
                json.dumps(_without_control(description, pieces, added))
            )

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer in a checkpoint's folder."""
        file = folder / "tokenizer.json"
        try:
            description = read_json(file)
        except FileNotFoundError:
            raise ModelError(f"{file} does not exist: name a folder with a Kosmos-2 checkpoint.") from None
        try:
            tokenizer = cls(description)
            tokenizer.encode("a \uff4d\uff55\uff47 \u676f")  # what is wrong with it may show only now
        except ModelError as error:
            raise ModelError(f"{file}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{file} cannot be read ({error!r}): download it again.") from None
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of any text; never a control token's, except <unk> for what the vocabulary cannot say."""
        readable = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be encoded
        with _library_errors():
            ids: list[int] = self._tokenizer.encode(readable, add_special_tokens=False).ids
        return ids

    def piece(self, number: int) -> str:
        """The text of one id, with its leading space; nothing for a control token."""
        if number == self.control.unknown:
            return " \ufffd"
        if number in self.control_ids:
            return ""
        return str(self._pieces.get(number, "")).replace(SPACE, " ")


@contextmanager
def _library_errors() -> Iterator[None]:
    """The library raises plain Exception, and on a damaged table panics, which is no Exception even."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        reason = str(error).split("\n")[0]
        raise ModelError(f"it cannot be read ({reason}): download it again.") from None


def _pieces(description: dict[str, Any]) -> list[tuple[str, float]]:
    model = description.get("model", {})
    if model.get("type", "Unigram") != "Unigram" or not isinstance(model.get("vocab"), list):
        raise ModelError("it is no Unigram tokenizer, as Kosmos-2's is.")
    return [(piece, score) for piece, score in model["vocab"]]


def _control(ids: dict[str, int]) -> ControlIds:
    missing = [name for name in NAMES.values() if name not in ids]
    if missing:
        raise ModelError(f"the tokenizer has no {missing[0]}: it is not a Kosmos-2's.")
    numbers = sorted(number for name, number in ids.items() if LOCATION.fullmatch(name))
    grid = math.isqrt(len(numbers))
    expected = (
        {f"<patch_index_{place:04}>": numbers[0] + place for place in range(len(numbers))} if numbers else {}
    )
    if grid < 2 or grid * grid != len(numbers) or any(ids.get(name) != one for name, one in expected.items()):
        raise ModelError(f"the tokenizer has {len(numbers)} location tokens, which make no square in order.")
    return ControlIds(**{field: ids[name] for field, name in NAMES.items()}, location=numbers[0], grid=grid)


def _is_control(name: str) -> bool:
    return name in NAMES.values() or name in UNUSED or LOCATION.fullmatch(name) is not None


def _without_control(
    description: dict[str, Any], pieces: list[tuple[str, float]], added: dict[str, int]
) -> dict[str, Any]:
    """The description with control tokens unreachable: no added tokens, and their pieces with a space
    inside, which the text that pieces are matched against never has."""
    hidden = [
        (f"{piece} ", score) if piece in added or _is_control(piece) else (piece, score)
        for piece, score in pieces
    ]
    plain: dict[str, Any] = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return description | plain | {"model": description["model"] | {"vocab": hidden}}

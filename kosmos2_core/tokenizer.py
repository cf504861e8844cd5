"""The tokenizer: text to token ids and back, from a checkpoint's tokenizer.json.

No text becomes a control token (`<s>`, `<phrase>`, `<patch_index_0000>` and so on): these are looked up by
name alone. They are removed from the vocabulary that text is matched against, both from the list of added
tokens, which are matched first, and from the pieces of the model.
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
    """Ids of the control tokens. All checkpoints use the same names, but may have other ids."""

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
    another: int  # </delimiter_of_multi_objects/>: another box follows
    grounding: int
    location: int  # the first of grid * grid location tokens
    grid: int  # cells along a side of the image

    @property
    def locations(self) -> range:
        """The ids of all location tokens."""
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
# Control tokens that are not used, but that text may not become either.
UNUSED = ("<mask>", "</doc>", "</chunk>", "</line>")


class Tokenizer:
    """A Unigram tokenizer.

    Args:
        description: The content of a tokenizer.json.

    Raises:
        ModelError: It is of another kind, lacks control tokens, or is damaged.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        pieces = _pieces(description)
        added = {token["content"]: token["id"] for token in description.get("added_tokens", [])}
        ids = {piece: token for token, (piece, _) in enumerate(pieces)} | added
        self.control = _control(ids)
        self.control_ids = frozenset(
            token for name, token in ids.items() if name in added or _is_control(name)
        )
        self._pieces = {token: name for name, token in ids.items()}
        self.size = max(self._pieces) + 1
        with _library_errors():
            self._tokenizer = tokenizers.Tokenizer.from_str(
                json.dumps(_without_control(description, pieces, added))
            )

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Load the tokenizer in a checkpoint's folder.

        Raises:
            ModelError: The file is missing or cannot be used.
        """
        file = folder / "tokenizer.json"
        try:
            description = read_json(file)
        except FileNotFoundError:
            raise ModelError(f"{file} does not exist: name a folder with a Kosmos-2 checkpoint.") from None
        try:
            tokenizer = cls(description)
            tokenizer.encode("a \uff4d\uff55\uff47 \u676f")  # some damage shows only when it is used
        except ModelError as error:
            raise ModelError(f"{file}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{file} cannot be read ({error!r}): download it again.") from None
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the ids of any text, without control tokens except <unk> for characters not known."""
        readable = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be encoded
        with _library_errors():
            ids: list[int] = self._tokenizer.encode(readable, add_special_tokens=False).ids
        return ids

    def piece(self, token: int) -> str:
        """Return the text of one id, with its leading space; the empty text for a control token."""
        if token == self.control.unknown:
            return " \ufffd"
        if token in self.control_ids:
            return ""
        return str(self._pieces.get(token, "")).replace(SPACE, " ")


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turn errors of the library into a ModelError, also its panics, which are no Exceptions."""
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
        raise ModelError("it is not a Unigram tokenizer, which Kosmos-2 has.")
    return [(piece, score) for piece, score in model["vocab"]]


def _control(ids: dict[str, int]) -> ControlIds:
    missing = [name for name in NAMES.values() if name not in ids]
    if missing:
        raise ModelError(f"the tokenizer has no {missing[0]}: it is not a Kosmos-2 tokenizer.")
    locations = sorted(token for name, token in ids.items() if LOCATION.fullmatch(name))
    grid = math.isqrt(len(locations))
    in_order = all(
        ids.get(f"<patch_index_{cell:04}>") == locations[0] + cell for cell in range(len(locations))
    )
    if grid < 2 or grid * grid != len(locations) or not in_order:
        raise ModelError(
            f"the tokenizer has {len(locations)} location tokens, which are not a square grid in order."
        )
    named = {field: ids[name] for field, name in NAMES.items()}
    return ControlIds(**named, location=locations[0], grid=grid)


def _is_control(name: str) -> bool:
    return name in NAMES.values() or name in UNUSED or LOCATION.fullmatch(name) is not None


def _without_control(
    description: dict[str, Any], pieces: list[tuple[str, float]], added: dict[str, int]
) -> dict[str, Any]:
    """Return the description with control tokens that no text can reach.

    There are no added tokens, and control tokens among the pieces get a space inside, which the text that
    pieces are matched against never has.
    """
    hidden = [
        (f"{piece} ", score) if piece in added or _is_control(piece) else (piece, score)
        for piece, score in pieces
    ]
    plain: dict[str, Any] = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return description | plain | {"model": description["model"] | {"vocab": hidden}}

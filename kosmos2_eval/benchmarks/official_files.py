"""Reading of the official data files.

Every file has a fixed path in one tree, such as `mdetr_annotations/finetune_refcoco_val.json`. It is looked
up below the folder that the user names, first with its whole path, then without its leading folders: so the
folder of a single data set can be named too.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.errors import InputError
from kosmos2_core.files import read_json
from kosmos2_core.regular_files import read_regular_text


def find(data: Path, place: str, source: str) -> Path:
    """Return the path of an official file or folder.

    Args:
        data: the folder that the user named.
        place: path in the tree of all official files.
        source: where to download it, for the error message.

    Raises:
        InputError: it is not there.
    """
    parts = PurePosixPath(place).parts
    for left_off in range(len(parts)):
        path = data.joinpath(*parts[left_off:])
        if path.exists():
            return path
    raise InputError(f"{data / place} is missing: download it from {source} and put it there.")


@contextmanager
def as_published(file: Path) -> Iterator[None]:
    """Turn any error that unexpected content of a file causes into one sentence (InputError)."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, SyntaxError, csv.Error) as error:
        raise InputError(
            f"{file} is not as it was published ({type(error).__name__}: {error}): download it again."
        ) from None


def json_of(file: Path) -> Any:
    """Return the content of a JSON file."""
    return read_json(file, "download it again")


def lines_of(file: Path) -> list[Any]:
    """Return the content of a file with one JSON value per line."""
    with as_published(file):
        return [json.loads(line) for line in text_of(file).split("\n") if line.strip()]


def rows_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header, by column."""
    return list(csv.DictReader(io.StringIO(text_of(file), newline="")))


MAX_BYTES = 2**31  # far above the largest file of a benchmark


def text_of(file: Path) -> str:
    """Return the content of a text file."""
    try:
        return read_regular_text(file, MAX_BYTES, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): download it again.") from None


def box_of_xywh(box: list[float], width: float, height: float) -> tuple[Box, ...]:
    """Return a true box in COCO's form (x, y, width, height in pixels).

    The result is empty if no part of the box is in the image: no model can find it.
    """
    x, y, w, h = map(float, box)
    try:
        return (box_of_pixels(x, y, x + w, y + h, int(width), int(height)),)
    except InputError:
        return ()

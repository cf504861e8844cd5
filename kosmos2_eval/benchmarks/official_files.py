"""The official files, where a user has put them.

Each has a place in one tree, `mdetr_annotations/finetune_refcoco_val.json`; it is looked for below the
folder that was named, then with the leading folders left off: the folder of one data set may be named too.
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


def find(data: Path, place: str, source: str) -> Path:
    """A file or folder of the tree. source: where to get it, for who has it not."""
    parts = PurePosixPath(place).parts
    for left_off in range(len(parts)):
        path = data.joinpath(*parts[left_off:])
        if path.exists():
            return path
    raise InputError(f"{data / place} is not there: get it from {source}, and put it there.")


@contextmanager
def as_published(file: Path) -> Iterator[None]:
    """What is not as expected in a file is said in one sentence."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, SyntaxError, csv.Error) as error:
        raise InputError(
            f"{file} is not as it was published ({type(error).__name__}: {error}): download it again."
        ) from None


def json_of(file: Path) -> Any:
    return read_json(file, "download it again")


def lines_of(file: Path) -> list[Any]:
    """JSON of each line."""
    with as_published(file):
        return [json.loads(line) for line in text_of(file).split("\n") if line.strip()]


def rows_of(file: Path) -> list[dict[str, str]]:
    """A table, separated by commas, with a header."""
    return list(csv.DictReader(io.StringIO(text_of(file), newline="")))


def text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): download it again.") from None


def box_of_xywh(box: list[float], width: float, height: float) -> tuple[Box, ...]:
    """The true box, as COCO gives it; none where nothing of it is in the image, which nobody can find."""
    x, y, w, h = map(float, box)
    try:
        return (box_of_pixels(x, y, x + w, y + h, int(width), int(height)),)
    except InputError:
        return ()

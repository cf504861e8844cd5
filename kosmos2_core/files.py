"""Files that must be whole: JSON from untrusted sources, writing that never leaves half a file, and CSV."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from kosmos2_core.errors import DiskError, InputError, Kosmos2Error, ModelError
from kosmos2_core.regular_files import read_regular_text

MAX_JSON: Final = 1 << 25  # bytes: a tokenizer has 5 MB
# Texts that spreadsheets run as formulas (Excel also with full-width signs), and what `csv_text` writes.
FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
HARMLESS: Final = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")
DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def read_json(file: Path, advice: str = "download the checkpoint again") -> Any:
    """Return the content of a JSON file.

    Args:
        file: The file to read.
        advice: What the user should do if the file is damaged; it ends the error message.

    Raises:
        FileNotFoundError: There is no such file; the caller knows what that means.
        ModelError: The file cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_regular_text(file, MAX_JSON))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise ModelError(f"{file} cannot be read as JSON (nested too deep): {advice}.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}): {advice}.") from None


def write_error(name: object, error: Exception) -> Kosmos2Error:
    """Return the error to raise, in one sentence, for a file that cannot be written.

    Args:
        name: The file or the folder.
        error: Why: an OSError, or the error of a library that writes files.
    """
    reason = getattr(error, "strerror", None) or error
    if isinstance(error, OSError) and error.errno not in DISK_ERRORS:
        return InputError(
            f"{name} cannot be written ({reason}): choose a name in a folder that you may write to."
        )
    return DiskError(f"{name} cannot be written ({reason}): make room on its disk, or choose another disk.")


@contextmanager
def write_errors(name: object, *others: type[Exception]) -> Iterator[None]:
    """Turn errors of writing in the block into one sentence that names the file, see `write_error`.

    Args:
        name: The file or the folder.
        others: Errors, beside OSError, of libraries that write files.
    """
    failures: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except failures as error:
        raise write_error(name, error) from None


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write a file so that, at any moment and after a power failure, it is the old one or the new one.

    Args:
        file: The file to write; its folder must exist.
        content: The whole content; text is written as UTF-8.

    Raises:
        InputError: The file cannot be written.
        DiskError: The disk is full.
    """
    with replacing(file) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give the path of a new file, which replaces `file` at the end of the block, as `write_atomically` does.

    For content that a library writes, or that is too large for the memory. If the block raises, the new file
    is removed and `file` stays as it was. What is not a regular file, such as a device, is written in place.

    Raises:
        InputError: The file cannot be written.
        DiskError: The disk is full.
    """
    target = Path(os.path.realpath(file))  # a link stays a link
    in_place = target.exists() and not target.is_file()
    unfinished = target if in_place else target.with_name(f".new.{target.name}")  # with the same ending
    try:
        yield unfinished
        if not in_place:
            flush_to_disk(unfinished)
            unfinished.replace(target)
    except BaseException as error:
        if not in_place:
            with suppress(OSError):
                unfinished.unlink()
        if isinstance(error, OSError):
            raise write_error(file, error) from None
        raise


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(stream: FileIO, data: bytes | memoryview) -> None:
    """Write all bytes to an unbuffered file: a disk that is almost full takes a part of them and no error."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool = True) -> str:
    """Return a table as CSV whose cells a spreadsheet shows and never runs as formulas.

    Args:
        columns: The names of the columns.
        rows: The cells of each row, by column.
        header: Begin with the line of names.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def read_csv(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a table that `csv_text` made, by column, with the texts as they were.

    A row with too many cells has the others under None, and a row with too few has None in their place.
    """
    for row in csv.DictReader(lines):
        yield {
            name: value[1:] if isinstance(value, str) and HARMLESS.match(value) else value
            for name, value in row.items()
        }


def _csv_cell(value: Any) -> Any:
    """Return a value, with a quote before a text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_free(folder: Path) -> None:
    """Raise an InputError if the name of a new folder is taken."""
    if folder.exists():
        raise InputError(f"{folder} exists: choose a free name, or remove it.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give the path of a new folder, which gets its name only at the end of the block.

    The path does not exist yet; the block has to make it. If the block raises, nothing is left behind. An
    OSError is left to the caller.

    Args:
        folder: The final name; missing parents are made.

    Raises:
        InputError: The folder exists.
    """
    check_free(folder)
    target = folder.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        unfinished = Path(temporary, target.name)
        yield unfinished
        unfinished.rename(target)

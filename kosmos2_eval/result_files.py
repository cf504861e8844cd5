"""Files that an evaluation writes: the output folder, results as JSON, and a resumable log of JSON lines.

The log makes long work resumable. Its first line is a header that says what the work is about; every further
line is one finished step. A line that was cut off by a crash has no line break and does not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

from kosmos2_core.errors import InputError
from kosmos2_core.files import write_all, write_atomically, write_errors

RESULTS, QUERIES = "results.json", "queries.csv"
DIGITS = 6  # after the point, of numbers in results


def prepare_folder(folder: Path) -> None:
    """Create a folder and check that files can be written to it, before any long work.

    Raises:
        InputError: the folder cannot be created or written to.
        DiskError: the disk is full.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()


def rounded(value: float, digits: int = DIGITS) -> float:
    """Round a number, without a negative zero."""
    return round(value, digits) + 0.0


def json_text(value: Any) -> str:
    """Return indented JSON with all floating-point numbers rounded to `DIGITS` digits."""
    return json.dumps(_rounded_values(value), indent=2, ensure_ascii=False) + "\n"


def _rounded_values(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, Mapping):
        return {name: _rounded_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded_values(item) for item in value]
    return value


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json` with all digits."""
    write_atomically(folder / RESULTS, json.dumps(results, indent=2, ensure_ascii=False) + "\n")


# The resumable log.


class JsonLinesLog:
    """An open log to which finished steps are appended.

    Args:
        file: the log; it is created if it does not exist. A line that was cut off at its end is removed.
        header: what the work depends on; the first line of the file.
        sync: wait after every step until its line is on the disk, so that it survives a power failure.

    Attributes:
        count: number of steps in the file.

    Raises:
        InputError: the file has another header or cannot be written.
        DiskError: the disk is full; the steps before are in the file.
    """

    def __init__(self, file: Path, header: Any, sync: bool = False) -> None:
        self.file = file
        self._sync = sync
        with write_errors(file):
            self.count = len(read_steps(file, header))
            self._remove_cut_off_line()
            self._stream = file.open("ab", buffering=0)
            if not self._stream.tell():
                self._write(header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remove_cut_off_line(self) -> None:
        if self.file.exists():
            os.truncate(self.file, self.file.read_bytes().rfind(b"\n") + 1)

    def add(self, step: Any) -> None:
        """Append one step."""
        self._write(step)
        self.count += 1

    def _write(self, value: Any) -> None:
        # A lone surrogate cannot be encoded; backslashreplace writes it as the JSON escape \udXXX.
        with write_errors(self.file):
            write_all(self._stream, _json_line(value).encode("utf-8", "backslashreplace"))
            if self._sync:
                os.fsync(self._stream.fileno())

    def steps(self) -> Iterator[Any]:
        """Yield all steps, from the first run on."""
        with self.file.open(encoding="utf-8") as stream:
            next(stream)
            yield from map(json.loads, stream)

    def close(self) -> None:
        """Close the file; it stays, so that the next run resumes."""
        self._stream.close()

    def remove(self) -> None:
        """Close and delete the file, after the work is complete."""
        self.close()
        self.file.unlink()


def read_steps(file: Path, header: Any) -> list[str]:
    """Return the complete lines of a log after its header; none if there is no file or no complete header.

    Raises:
        InputError: the header is another one.
    """
    if not file.exists():
        return []
    *lines, cut_off = file.read_text(encoding="utf-8", errors="replace").split("\n")
    if not lines and _json_line(header).startswith(cut_off):
        return []
    if not lines or not _is_header(lines[0], header):
        raise InputError(
            f"{file} belongs to a different run (another model, other data or other options): choose another"
            " --out folder, or remove this file."
        )
    return lines[1:]


def _json_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _is_header(line: str, header: Any) -> bool:
    try:
        return bool(json.loads(line) == json.loads(json.dumps(header)))
    except ValueError:
        return False

"""Read records and their images by number, from a folder or from tar files beside the lines.

The image "shard-000.tar/000012.jpg" of a line is the member 000012.jpg of shard-000.tar. No file is kept
open: each access opens, seeks and closes. A source can therefore be shared by threads, forked and pickled.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels, load_image
from kosmos2_core.regular_files import check_regular_file
from kosmos2_data.records import Record, record_of

RECORDS_FILE = "records.jsonl"
MAX_LINE = 1 << 20  # bytes
MAX_IMAGE_FILE = 1 << 28  # bytes


@dataclass(frozen=True)
class BadRecord:
    """A line that cannot be used.

    Args:
        line: Number of the line, from 1.
        reason: One sentence that says what is wrong.
    """

    line: int
    reason: str


class RecordSource:
    """The records of a file, in its order. Empty lines are skipped.

    Args:
        path: A .jsonl file, or a folder with records.jsonl in it.

    Attributes:
        file: The file of records.
        folder: Its folder, from which images are named.
        lines: The line number of each record, from 1.
        empty: Number of empty lines.

    Raises:
        InputError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.file = path / RECORDS_FILE if path.is_dir() else path
        self.folder = self.file.parent
        try:
            check_regular_file(self.file)
            self._starts, self.lines, self.empty = _index_lines(self.file)
        except OSError as error:
            raise InputError(
                f"{self.file} cannot be opened ({error.strerror}): name a .jsonl file, or a folder with"
                f" {RECORDS_FILE}."
            ) from None
        self._members: dict[Path, dict[str, tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, number: int) -> Record:
        record = self.read(number)
        if isinstance(record, BadRecord):
            raise InputError(f"{self.file}, line {record.line}: {record.reason}")
        return record

    def read(self, number: int) -> Record | BadRecord:
        """Return a record by its number from 0, or what is wrong with its line."""
        try:
            return record_of(self._line(int(self._starts[number])))
        except InputError as error:
            return BadRecord(int(self.lines[number]), str(error))

    def image(self, record: Record) -> Pixels:
        """Return the image of a record. Raises InputError if it cannot be read."""
        return self._decode(record.image)

    def mask(self, record: Record) -> NDArray[np.uint8] | None:
        """Return the mark of each pixel, (height, width), or None if the record has no mask."""
        return None if record.mask is None else self._decode(record.mask, is_mask=True)[:, :, 0]

    def _line(self, start: int) -> str:
        with self.file.open("rb") as stream:
            stream.seek(start)
            line = stream.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise InputError(f"the line is longer than {MAX_LINE >> 20} MB: give the image fewer items.")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            wrong = f"byte {error.start + 1} is {line[error.start]:#04x}"
            raise InputError(f"the line is not UTF-8, {wrong}: save it as UTF-8.") from None

    def _decode(self, path: str, is_mask: bool = False) -> Pixels:
        data = self._bytes(path)
        try:
            pixels = load_image(data)
        except InputError as error:
            raise InputError(str(error).replace("the image", path, 1)) from None
        if is_mask:
            with Image.open(io.BytesIO(data)) as header:
                if (header.format, header.mode) != ("PNG", "L"):
                    raise InputError(
                        f"{path} is not a mask: give an 8-bit grey PNG with the mark of each pixel."
                    )
        return pixels

    def _bytes(self, path: str) -> bytes:
        file, member = self._locate(path)
        try:
            if not file.resolve().is_relative_to(self.folder.resolve()):
                raise InputError(
                    f"{path} is a link out of the data's folder {self.folder}: copy the file into the folder."
                )
            check_regular_file(file)
            start, size = self._find_member(file, member) if member else (0, file.stat().st_size)
            if size > MAX_IMAGE_FILE:
                raise InputError(f"{path} is too large: {MAX_IMAGE_FILE >> 20} MB is the limit.")
            with file.open("rb") as stream:
                stream.seek(start)
                return stream.read(size)
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror}.") from None
        except RuntimeError:  # from `resolve`, before Python 3.13
            raise InputError(f"{path} cannot be opened: its links lead in circles.") from None

    def _locate(self, path: str) -> tuple[Path, str]:
        """Return the file of a path, and the name of the member in it if the file is a tar archive."""
        parts = PurePosixPath(path).parts
        for depth, part in enumerate(parts[:-1], 1):
            archive = self.folder.joinpath(*parts[:depth])
            if part.endswith(".tar") and not archive.is_dir():
                return archive, "/".join(parts[depth:])
        return self.folder / path, ""

    def _find_member(self, archive: Path, member: str) -> tuple[int, int]:
        if archive not in self._members:
            self._members[archive] = _read_members(archive)
        if member not in self._members[archive]:
            raise InputError(f"{archive.name} has no member {member}.")
        return self._members[archive][member]


def _index_lines(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the first byte and the number of each line with content, and the number of empty lines."""
    starts, lines = [], []
    offset = number = 0
    at_line_start = True  # a line longer than MAX_LINE comes in pieces
    with file.open("rb") as stream:
        while piece := stream.readline(MAX_LINE):
            if at_line_start:
                number += 1
                if not piece.isspace():
                    starts.append(offset)
                    lines.append(number)
            at_line_start = piece.endswith(b"\n")
            offset += len(piece)
    return np.array(starts, np.int64), np.array(lines, np.int64), number - len(lines)


def _read_members(archive: Path) -> dict[str, tuple[int, int]]:
    """Return the offset and the size of each file in an uncompressed tar archive."""
    end = archive.stat().st_size
    try:
        with tarfile.open(archive, "r:") as tar:
            files = [member for member in tar if member.isreg() and not member.issparse()]
    except (tarfile.TarError, ValueError) as error:
        raise InputError(
            f"{archive.name} is not a tar file that can be read, uncompressed and complete: {error}."
        ) from None
    return {
        str(PurePosixPath(member.name)): (member.offset_data, member.size)
        for member in files
        if member.offset_data + member.size <= end
    }

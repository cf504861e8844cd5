"""Records and their images, by number: from a folder, or from tar files beside the lines.

A line's image "shard-000.tar/000012.jpg" is the member 000012.jpg of shard-000.tar. Nothing is kept open:
each reading opens, seeks and closes, so a source is shared by threads, forked and pickled as it is.
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
from kosmos2_data.records import Record, record_of

RECORDS_FILE = "records.jsonl"
MAX_LINE = 1 << 20  # bytes
MAX_FILE = 1 << 28  # bytes of an encoded image


@dataclass(frozen=True)
class BadRecord:
    line: int  # from 1
    reason: str  # one sentence


class RecordSource:
    """The records of a file of lines, in its order; lines with nothing in them are not counted."""

    def __init__(self, path: Path) -> None:
        """path: a .jsonl file, or a folder with records.jsonl in it."""
        self.file = path / RECORDS_FILE if path.is_dir() else path
        self.folder = self.file.parent
        try:
            self._starts, self.lines, self.empty = _index(self.file)
        except OSError as error:
            raise InputError(
                f"{self.file} cannot be opened ({error.strerror}): name a folder with"
                f" {RECORDS_FILE}, or such a file."
            ) from None
        self._members: dict[Path, dict[str, tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, number: int) -> Record:
        found = self.read(number)
        if isinstance(found, BadRecord):
            raise InputError(f"{self.file}, line {found.line}: {found.reason}")
        return found

    def read(self, number: int) -> Record | BadRecord:
        """As [number], where one bad record shall not end it all."""
        try:
            return record_of(self._text(int(self._starts[number])))
        except InputError as error:
            return BadRecord(int(self.lines[number]), str(error))

    def image(self, record: Record) -> Pixels:
        return self._decode(record.image)

    def mask(self, record: Record) -> NDArray[np.uint8] | None:
        """Each pixel's mark, (height, width); None where the record has no mask."""
        return None if record.mask is None else self._decode(record.mask, marks=True)[:, :, 0]

    def _text(self, start: int) -> str:
        with self.file.open("rb") as stream:
            stream.seek(start)
            line = stream.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise InputError(f"the line is longer than {MAX_LINE >> 20} MB: give fewer items an image.")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            wrong = f"byte {error.start + 1} is {line[error.start]:#04x}"
            raise InputError(f"the line is not UTF-8, {wrong}: save it as UTF-8.") from None

    def _decode(self, path: str, marks: bool = False) -> Pixels:
        data = self._bytes(path)
        try:
            pixels = load_image(data)
        except InputError as error:
            raise InputError(str(error).replace("the image", path, 1)) from None
        if marks:
            with Image.open(io.BytesIO(data)) as header:
                if (header.format, header.mode) != ("PNG", "L"):
                    raise InputError(f"{path} is no mask: give a PNG of 8-bit grey, each pixel its mark.")
        return pixels

    def _bytes(self, path: str) -> bytes:
        file, member = self._place(path)
        try:
            start, size = self._find(file, member) if member else (0, file.stat().st_size)
            if size > MAX_FILE:
                raise InputError(f"{path} is too large: {MAX_FILE >> 20} MB are read at most.")
            with file.open("rb") as stream:
                stream.seek(start)
                return stream.read(size)
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror}.") from None

    def _place(self, path: str) -> tuple[Path, str]:
        """The file of a path, and the member in it; an empty one for a file that is no archive."""
        parts = PurePosixPath(path).parts
        for i, part in enumerate(parts[:-1], 1):
            archive = self.folder.joinpath(*parts[:i])
            if part.endswith(".tar") and not archive.is_dir():
                return archive, "/".join(parts[i:])
        return self.folder / path, ""

    def _find(self, archive: Path, member: str) -> tuple[int, int]:
        if archive not in self._members:
            self._members[archive] = _members(archive)
        if member not in self._members[archive]:
            raise InputError(f"{archive.name} has no member {member}.")
        return self._members[archive][member]


def _index(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The first byte and the number of each line that says something, and how many say nothing."""
    starts, lines = [], []
    offset = number = 0
    fresh = True  # a line begins; a huge one comes in pieces
    with file.open("rb") as stream:
        while piece := stream.readline(MAX_LINE):
            if fresh:
                number += 1
                if not piece.isspace():
                    starts.append(offset)
                    lines.append(number)
            fresh = piece.endswith(b"\n")
            offset += len(piece)
    return np.array(starts, np.int64), np.array(lines, np.int64), number - len(lines)


def _members(archive: Path) -> dict[str, tuple[int, int]]:
    """Where each file of an uncompressed tar archive begins, and its length."""
    end = archive.stat().st_size
    try:
        with tarfile.open(archive, "r:") as tar:
            files = [member for member in tar if member.isreg() and not member.issparse()]
    except (tarfile.TarError, ValueError) as error:
        raise InputError(f"{archive.name} is no tar file, uncompressed and whole: {error}.") from None
    return {
        str(PurePosixPath(member.name)): (member.offset_data, member.size)
        for member in files
        if member.offset_data + member.size <= end
    }

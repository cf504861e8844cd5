"""The files of a recording: which ones a folder stands for, and what each is, by its first bytes."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

import yaml
import zstandard

from kosmos2_core.errors import InputError
from kosmos2_io import bag_mcap_chunks, bag_sqlite
from kosmos2_io.bag_file import ZSTD, BagFile
from kosmos2_io.bag_mcap import McapFile
from kosmos2_io.bag_sqlite import SqliteFile

METADATA: Final = "metadata.yaml"
ENDINGS: Final = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
MAX_METADATA: Final = 1 << 22  # bytes
ROS_1: Final = b"#ROSBAG"
PIECE: Final = 1 << 20
ROOM: Final = 1 << 29  # bytes that stay free where files are unpacked
MOST = 1 << 30  # bytes that are unpacked, or LARGER times those of the file: no recording becomes more
LARGER: Final = 200


def files_of(bag: Path, missing: list[str]) -> list[Path]:
    """missing: what else there should be, in sentences."""
    if bag.name == METADATA and bag.is_file():
        bag = bag.parent
    if not bag.exists():
        raise InputError(f"{bag} is not there: name a bag's folder, or its .mcap or .db3 files.")
    if not bag.is_dir():
        return [bag]
    there = sorted((file for file in bag.iterdir() if file.name.endswith(ENDINGS)), key=_numbered)
    if not there:
        raise InputError(f"{bag} is no bag: no .mcap and no .db3 file is in it.")
    listed = _listed(bag / METADATA, missing)
    for name in sorted(listed - {file.name for file in there}):
        missing.append(f"{bag / name} is missing: {METADATA} says that it belongs to the bag.")
    files = [file for file in there if file.name in listed] or there
    for file in there:
        if file not in files:
            missing.append(f"{file} is not read: {METADATA} does not say that it belongs to the bag.")
    return files


def open_file(path: Path, cleared: ExitStack) -> BagFile:
    """cleared: when this is closed, all of it is."""
    try:
        file = _open(path, cleared)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    cleared.callback(file.close)
    return file


def _open(path: Path, cleared: ExitStack) -> BagFile:
    name, magic = path.name, _beginning(path)
    if magic.startswith(ZSTD):
        path = _copied(path, cleared, _unpacked)
        magic = _beginning(path)
    if magic.startswith(bag_mcap_chunks.MAGIC):
        return McapFile(path, name)
    if magic.startswith(bag_sqlite.MAGIC):
        if path.stat().st_size % bag_sqlite.page_size(magic):  # sqlite would read zeros there
            path = _copied(path, cleared, partial(_whole_pages, size=bag_sqlite.page_size(magic)))
        return SqliteFile(path, name)
    if magic.startswith(ROS_1):
        raise InputError(
            f"{path} is a bag of ROS 1: convert it with `rosbags-convert --src {name} --dst {path.stem}`."
        )
    why = "it does not begin as an MCAP file or a database does" if magic else "it is empty"
    raise InputError(f"{path} is no bag: {why}.")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def _copied(path: Path, cleared: ExitStack, pieces: Callable[[BinaryIO], Iterator[bytes]]) -> Path:
    """A file of our own, made of those pieces of another."""
    folder = Path(cleared.enter_context(tempfile.TemporaryDirectory(prefix="kosmos2-bag-")))
    most = max(MOST, LARGER * path.stat().st_size)
    with path.open("rb") as source, Path(folder, "bag").open("wb") as copy:
        for piece in pieces(source):
            if shutil.disk_usage(folder).free < ROOM or copy.tell() > most:
                raise InputError(
                    f"{path} becomes too large in {folder.parent}: unpack it with `zstd -d`, or name a larger"
                    " place with TMPDIR."
                )
            copy.write(piece)
    return Path(folder, "bag")


def _unpacked(source: BinaryIO) -> Iterator[bytes]:
    """Of a file that is cut off, what there is: what it lacks is found when it is read."""
    stream = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
    with suppress(zstandard.ZstdError):
        while piece := stream.read(PIECE):
            yield piece


def _whole_pages(source: BinaryIO, size: int) -> Iterator[bytes]:
    while len(page := source.read(size)) == size:
        yield page


def _numbered(file: Path) -> list[Any]:
    """run_10 after run_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _listed(metadata: Path, missing: list[str]) -> set[str]:
    """Names of the bag's files; nothing else of it is needed, as each file says what is in it."""
    if not metadata.exists():
        return set()
    try:
        if metadata.stat().st_size > MAX_METADATA:
            raise ValueError("it is too large")
        # All is a text to this loader, nothing is made of it. The faster one, in C, dies of deep nesting.
        said = yaml.load(metadata.read_text("utf-8"), Loader=yaml.BaseLoader)
        paths = said["rosbag2_bagfile_information"]["relative_file_paths"]
        if not isinstance(paths, list):
            raise TypeError("it has no list of files")
        return {name for path in paths if (name := PurePath(path).name)}
    except (OSError, ValueError, LookupError, TypeError, RecursionError, yaml.YAMLError):
        missing.append(f"{metadata} cannot be read: all bag files beside it are.")
        return set()

"""Read recordings without ROS, in the order of log times.

    with BagReader([Path("run")]) as bag:
        for recorded in bag.messages(["/camera/image"]):
            pixels = images.to_rgb(recorded.message())

It reads rosbag2's MCAP files and SQLite databases, with any compression, with or without metadata.yaml.
Several bags, and the files of a bag that was split, are read as one recording. A damaged file is read as far
as possible; `BagReader.missing` tells what is missing.
"""

from __future__ import annotations

import heapq
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final, NamedTuple, Self

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_core.regular_files import check_regular_file, read_regular_text
from kosmos2_io.message_types import decode  # first: it tells what to install where rosbags is missing

import zstandard  # isort: skip
from kosmos2_io import bag_mcap, bag_sqlite  # isort: skip
from kosmos2_io.bag_mcap import McapFile  # isort: skip
from kosmos2_io.bag_sqlite import SqliteFile  # isort: skip
from kosmos2_io.bag_storage import (  # isort: skip
    LATEST_NS,
    MAX_MESSAGE,
    ZSTD_MAGIC,
    Channel,
    MessageIndex,
    StorageFile,
    StoragePart,
    add_sentence,
    decompress,
)

MAX_OPEN_BYTES: Final = 1 << 27  # of indices of parts that overlap in time
METADATA: Final = "metadata.yaml"
# The list of files in metadata.yaml, one per line or in brackets.
FILE_LIST: Final = re.compile(r"\s*relative_file_paths:\s*(?:\[(?P<listed>[^\[\]]*)\]\s*)?(?:#.*)?")
FILE_ITEM: Final = re.compile(r"\s*-\s+(?P<path>\S.*)")
ENDINGS: Final = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
MAX_METADATA: Final = 1 << 22  # bytes
ROS_1_MAGIC: Final = b"#ROSBAG"
LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
PIECE_BYTES: Final = 1 << 20  # read and written at a time
MIN_FREE_BYTES: Final = 1 << 29  # left on the disk when files are decompressed
# A decompressed file may have this many bytes, or this many times those of the compressed one.
MAX_COPY_BYTES = 1 << 30
MAX_COPY_RATIO: Final = 200


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a recording.

    Args:
        name: Its name.
        type: Type of its messages, such as sensor_msgs/msg/Image.
        count: Number of its messages.
        defined: The bag has the definition of its type.
        qos: QoS that the publishers offered, as YAML; empty if not known.
    """

    name: str
    type: str
    count: int
    defined: bool
    qos: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message as it was recorded.

    Args:
        topic: Its topic.
        type: Its type.
        stamp_ns: The log time, at which it was recorded.
        data: Its bytes, as they were sent.
        channel: Its channel.
    """

    topic: str
    type: str
    stamp_ns: int
    data: bytes = field(repr=False)
    channel: Channel = field(repr=False)

    def message(self) -> Any:
        """Decode the message with the definitions in the bag.

        Raises:
            MessageError: It cannot be decoded.
        """
        try:
            return decode(self.data, self.type, self.channel.encoding, self.channel.definition)
        except InputError as error:
            raise MessageError(self.topic, self.stamp_ns, str(error)) from None


class MessageError(InputError):
    """A recorded message cannot be decoded.

    Args:
        topic: Topic of the message.
        stamp_ns: Its log time.
        reason: One sentence that says what is wrong, without topic and time.
    """

    def __init__(self, topic: str, stamp_ns: int, reason: str) -> None:
        super().__init__(f"{topic}, at {stamp_ns / 1e9:.3f} s: {reason}")
        self.topic, self.stamp_ns, self.reason = topic, stamp_ns, reason


class BagReader:
    """A recording, read in the order of log times.

    Args:
        bags: Folders of bags, or their files.

    Attributes:
        topics: The topics by name.
        start_ns: The first log time.
        end_ns: The last log time.

    Raises:
        InputError: Nothing can be read of one of the bags.
    """

    def __init__(self, bags: Sequence[Path]) -> None:
        self._missing: list[str] = []
        self._resources = ExitStack()
        try:
            self._files = self._open_files(bags)
        except BaseException:
            self._resources.close()
            raise
        self.topics: Mapping[str, Topic] = self._merge_topics()
        parts = [part for file in self._files for part in file.parts]
        self.start_ns = min((part.start_ns for part in parts), default=0)
        self.end_ns = max((part.end_ns for part in parts), default=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and remove temporary ones."""
        self._resources.close()

    @property
    def missing(self) -> list[str]:
        """Sentences about what could not be read. Reading messages may add to them."""
        return [*self._missing, *(sentence for file in self._files for sentence in file.missing)]

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[Recorded]:
        """Yield messages by log time; those of the same time in the order of the files.

        Args:
            topics: Names of topics; None: all topics.
            start_ns: First log time; None: from the start.
            end_ns: Last log time, included; None: to the end.
        """
        wanted = [
            {number for number, channel in file.channels.items() if topics is None or channel.topic in topics}
            for file in self._files
        ]
        span = 0 if start_ns is None else start_ns, LATEST_NS if end_ns is None else end_ns
        for file, part, entry in self._in_order(wanted, *span):
            channel = file.channels[int(entry["channel"])]
            data = self._decompress_message(file.read(part, entry), channel)
            if data is not None:
                yield Recorded(channel.topic, channel.type, int(entry["stamp_ns"]), data, channel)

    def _decompress_message(self, data: bytes | None, channel: Channel) -> bytes | None:
        """Return the message itself if it was compressed on its own, as rosbag2 can do."""
        if data is None or not data.startswith(ZSTD_MAGIC):
            return data
        try:
            return bytes(decompress("zstd", data, MAX_MESSAGE))
        except InputError as error:
            add_sentence(self._missing, f"some messages of {channel.topic} are not read: {error}.")
            return None

    def _in_order(
        self, wanted: Sequence[set[int]], start_ns: int, end_ns: int
    ) -> Iterator[tuple[StorageFile, StoragePart, Any]]:
        """Merge the messages of all parts. A part is open from its first message to its last."""
        waiting = sorted(
            (
                (part.start_ns, file_number, part_number)
                for file_number, file in enumerate(self._files)
                for part_number, part in enumerate(file.parts)
                if part.start_ns <= end_ns and part.end_ns >= start_ns
                if wanted[file_number] & part.channels
            ),
            reverse=True,
        )
        opened: list[_OpenPart] = []  # a heap
        while waiting or opened:
            while waiting and (not opened or waiting[-1][0] <= opened[0].stamp_ns):
                _, file_number, part_number = waiting.pop()
                file = self._files[file_number]
                index = file.index(file.parts[part_number])
                stamps, chosen = index["stamp_ns"], np.isin(index["channel"], list(wanted[file_number]))
                index = index[chosen & (stamps >= start_ns) & (stamps <= end_ns)]
                if len(index):
                    first_ns = int(index[0]["stamp_ns"])
                    heapq.heappush(opened, _OpenPart(first_ns, file_number, part_number, 0, index))
                    _check_memory(opened)
            if opened:
                _, file_number, part_number, position, index = opened[0]
                file = self._files[file_number]
                yield file, file.parts[part_number], index[position]
                if position + 1 < len(index):
                    next_ns = int(index[position + 1]["stamp_ns"])
                    heapq.heapreplace(
                        opened, _OpenPart(next_ns, file_number, part_number, position + 1, index)
                    )
                else:
                    heapq.heappop(opened)

    def _open_files(self, bags: Sequence[Path]) -> list[StorageFile]:
        opened: dict[Path, StorageFile] = {}
        for bag in bags:
            files, errors = files_of(bag, self._missing), list[InputError]()
            for path in files:
                try:
                    if path.resolve() not in opened:
                        opened[path.resolve()] = open_file(path, self._resources)
                except InputError as error:
                    errors.append(error)
            if len(errors) == len(files):
                raise errors[0]
            self._missing += map(str, errors)
        missing = [*self._missing, *(sentence for file in opened.values() for sentence in file.missing)]
        if missing and not any(file.parts for file in opened.values()):
            raise InputError(missing[0])
        return list(opened.values())

    def _merge_topics(self) -> dict[str, Topic]:
        topics: dict[str, Topic] = {}
        for file in self._files:
            for number, channel in file.channels.items():
                before = topics.get(channel.topic, Topic(channel.topic, channel.type, 0, False, channel.qos))
                topics[channel.topic] = replace(
                    before,
                    count=before.count + file.counts.get(number, 0),
                    defined=before.defined or channel.definition is not None,
                    qos=before.qos or channel.qos,
                )
        return topics


class _OpenPart(NamedTuple):
    """An open part and its next message. Tuples compare by time, then by file and part."""

    stamp_ns: int
    file: int
    part: int
    position: int  # of the next message in the index
    entries: MessageIndex  # never compared: the fields before it differ


def _check_memory(opened: Sequence[_OpenPart]) -> None:
    sizes = [part.entries.nbytes for part in opened]
    if sum(sizes) - max(sizes) > MAX_OPEN_BYTES:
        raise InputError(
            "the bag's chunks overlap so much in time that it cannot be read in order: sort it with `mcap"
            " sort`."
        )


# The files of a bag.


def files_of(bag: Path, missing: list[str]) -> list[Path]:
    """Return the files of a bag, in the order of their numbers.

    Args:
        bag: A folder, its metadata.yaml, or one file of storage.
        missing: Sentences about files that are listed and missing, or there and not listed, are added to it.

    Raises:
        InputError: There is no such file, or no bag in the folder.
    """
    if bag.name == METADATA and bag.is_file():
        bag = bag.parent
    if not bag.exists():
        raise InputError(f"{bag} does not exist: name a bag's folder, or its .mcap or .db3 files.")
    if not bag.is_dir():
        return [bag]
    present = [file for file in bag.iterdir() if file.name.endswith(ENDINGS)]
    present = sorted((file for file in present if not bag_mcap.is_superseded(file)), key=_natural_order)
    if not present:
        raise InputError(f"{bag} is not a bag: there is no .mcap and no .db3 file in it.")
    listed = _listed_files(bag / METADATA, missing)
    for name in sorted(listed - {file.name for file in present}):
        add_sentence(missing, f"{bag / name} is missing: {METADATA} lists it as a file of the bag.")
    files = [file for file in present if file.name in listed] or present
    for file in present:
        if file not in files:
            missing.append(f"{file} is not read: {METADATA} does not list it as a file of the bag.")
    return files


def open_file(path: Path, resources: ExitStack) -> StorageFile:
    """Open a file of a bag.

    Args:
        path: The file. Its first bytes tell what it is.
        resources: Closes the file and removes temporary copies when it is closed.

    Raises:
        InputError: It cannot be read as a bag.
    """
    try:
        file = _open_storage(path, resources)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    resources.callback(file.close)
    return file


def _open_storage(path: Path, resources: ExitStack) -> StorageFile:
    name, beginning = path.name, _beginning(path)
    if beginning.startswith(ZSTD_MAGIC):
        path = _copy(path, resources, _decompressed_pieces)
        beginning = _beginning(path)
    if beginning.startswith(bag_mcap.MAGIC):
        return McapFile(path, name)
    if beginning.startswith(bag_sqlite.MAGIC):
        page_size = bag_sqlite.page_size(beginning)
        if path.stat().st_size % page_size:  # sqlite would read zeros in the rest of the last page
            path = _copy(path, resources, partial(_whole_pages, page_size=page_size))
        return SqliteFile(path, name)
    if beginning.startswith(ROS_1_MAGIC):
        raise InputError(
            f"{path} is a bag of ROS 1: convert it with `rosbags-convert --src {name} --dst {path.stem}`."
        )
    if beginning.startswith(LFS_POINTER):
        raise InputError(
            f"{path} is a Git LFS pointer instead of the bag: run `git lfs pull` in its repository."
        )
    reason = "it begins neither as an MCAP file nor as a SQLite database" if beginning else "it is empty"
    raise InputError(f"{path} is not a bag: {reason}.")


def _beginning(path: Path) -> bytes:
    check_regular_file(path)
    with path.open("rb") as file:
        return file.read(100)


def _copy(path: Path, resources: ExitStack, pieces: Callable[[BinaryIO], Iterator[bytes]]) -> Path:
    """Write pieces of a file into a temporary file, within limits of size and free space."""
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="kosmos2-bag-")))
    max_bytes = max(MAX_COPY_BYTES, MAX_COPY_RATIO * path.stat().st_size)
    with path.open("rb") as source, Path(folder, "bag").open("wb") as copy:
        for piece in pieces(source):
            if shutil.disk_usage(folder).free < MIN_FREE_BYTES or copy.tell() > max_bytes:
                raise InputError(
                    f"{path} becomes too large in {folder.parent}: decompress it with `zstd -d`, or name a"
                    " larger disk with TMPDIR."
                )
            copy.write(piece)
    return Path(folder, "bag")


def _decompressed_pieces(source: BinaryIO) -> Iterator[bytes]:
    """Yield what can be decompressed; what a file that is cut off lacks is noticed when it is read."""
    stream = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
    with suppress(zstandard.ZstdError):
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _whole_pages(source: BinaryIO, page_size: int) -> Iterator[bytes]:
    while len(page := source.read(page_size)) == page_size:
        yield page


def _natural_order(file: Path) -> list[Any]:
    """Sort run_10 after run_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _listed_files(metadata: Path, missing: list[str]) -> set[str]:
    """Return the file names in metadata.yaml. Nothing else of it is needed: each file describes itself."""
    if not metadata.exists():
        return set()
    try:
        listed = _file_list(read_regular_text(metadata, MAX_METADATA))
    except (OSError, UnicodeDecodeError):
        listed = None
    if listed is None:
        missing.append(f"{metadata} cannot be read: all bag files beside it are read.")
        return set()
    return {name for path in listed if (name := PurePath(path).name)}


def _file_list(metadata: str) -> list[str] | None:
    """Return the list of files in the text of metadata.yaml, or None if there is none.

    Its lines are read as recorders write them. A YAML parser takes a minute for a file of 4 MB, and aliases
    can make 400 bytes endless.
    """
    lines = iter(metadata.splitlines())
    for line in lines:
        if found := FILE_LIST.fullmatch(line):
            if found["listed"] is not None:
                return [_unquoted(path) for path in found["listed"].split(",")]
            items = takewhile(bool, map(FILE_ITEM.fullmatch, lines))
            return [_unquoted(item["path"]) for item in items if item]
    return None


def _unquoted(path: str) -> str:
    return path.strip().strip("\"'")

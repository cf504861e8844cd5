"""Recordings, read without ROS: by log time, messages of the same time in the order of the file.

    with BagReader([Path("run")]) as bag:
        for one in bag.messages(["/camera/image"]):
            pixels = encodings.to_rgb(one.message())

rosbag2's MCAP files and databases, compressed in whichever way, with metadata.yaml or without. Several bags,
and the files of one that was split, are one recording. Of a damaged one all is read that can be.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_io.bag_types import decode  # first: it says what to install where rosbags is missing

from kosmos2_io.bag_file import LATEST_NS, MAX_MESSAGE, ZSTD, BagFile, Channel, Part, Rows, unpacked  # isort: skip
from kosmos2_io.bag_paths import files_of, open_file  # isort: skip

MAX_OPEN: Final = 1 << 27  # bytes of rows of parts that overlap in time


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    type: str
    count: int  # of messages
    defined: bool  # whether the bag has the definition of its type
    qos: str  # what its publishers offered, as YAML; empty: not known


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message as it was recorded."""

    topic: str
    type: str
    stamp_ns: int  # the log time: when it was recorded
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
    """missing: what could not be read, in sentences; reading may add to it."""

    def __init__(self, bags: Sequence[Path]) -> None:
        """bags: folders, or files of storage. One of which nothing can be read is an InputError."""
        self._missing: list[str] = []
        self._open = ExitStack()
        try:
            self._files = self._opened(bags)
        except BaseException:
            self._open.close()
            raise
        self.topics: Mapping[str, Topic] = self._topics()
        parts = [part for file in self._files for part in file.parts]
        self.start_ns = min((part.start_ns for part in parts), default=0)  # the first log time
        self.end_ns = max((part.end_ns for part in parts), default=0)  # the last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    @property
    def missing(self) -> list[str]:
        return [*self._missing, *(said for file in self._files for said in file.missing)]

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[Recorded]:
        """topics: None, all. start_ns, end_ns: log times, both included; None, without end."""
        wanted = [
            {number for number, one in file.channels.items() if topics is None or one.topic in topics}
            for file in self._files
        ]
        span = 0 if start_ns is None else start_ns, LATEST_NS if end_ns is None else end_ns
        for file, part, row in self._in_order(wanted, *span):
            channel = file.channels[int(row["channel"])]
            data = self._plain(file.data(part, row), channel)
            if data is not None:
                yield Recorded(channel.topic, channel.type, int(row["stamp_ns"]), data, channel)

    def _plain(self, data: bytes | None, channel: Channel) -> bytes | None:
        """Of a message that was compressed by itself, what it was."""
        if data is None or not data.startswith(ZSTD):
            return data
        try:
            return bytes(unpacked("zstd", data, MAX_MESSAGE))
        except InputError as error:
            if (said := f"some messages of {channel.topic} are not read: {error}.") not in self._missing:
                self._missing.append(said)
            return None

    def _in_order(
        self, wanted: Sequence[set[int]], start_ns: int, end_ns: int
    ) -> Iterator[tuple[BagFile, Part, Any]]:
        """A part is opened when its time has come, and closed after its last message."""
        waiting = sorted(
            (
                (part.start_ns, number, k)
                for number, file in enumerate(self._files)
                for k, part in enumerate(file.parts)
                if part.start_ns <= end_ns and part.end_ns >= start_ns
                if wanted[number] & part.channels
            ),
            reverse=True,
        )
        opened: list[_Next] = []  # a heap
        while waiting or opened:
            while waiting and (not opened or waiting[-1][0] <= opened[0].stamp_ns):
                _, number, k = waiting.pop()
                rows = self._files[number].rows(self._files[number].parts[k])
                stamps, chosen = rows["stamp_ns"], np.isin(rows["channel"], list(wanted[number]))
                rows = rows[chosen & (stamps >= start_ns) & (stamps <= end_ns)]
                if len(rows):
                    heapq.heappush(opened, _Next(int(rows[0]["stamp_ns"]), number, k, 0, rows))
                    _check(opened)
            if opened:
                _, number, k, at, rows = opened[0]
                yield self._files[number], self._files[number].parts[k], rows[at]
                if at + 1 < len(rows):
                    heapq.heapreplace(opened, _Next(int(rows[at + 1]["stamp_ns"]), number, k, at + 1, rows))
                else:
                    heapq.heappop(opened)

    def _opened(self, bags: Sequence[Path]) -> list[BagFile]:
        found: dict[Path, BagFile] = {}
        for bag in bags:
            files, errors = files_of(bag, self._missing), list[InputError]()
            for path in files:
                try:
                    if path.resolve() not in found:
                        found[path.resolve()] = open_file(path, self._open)
                except InputError as error:
                    errors.append(error)
            if len(errors) == len(files):
                raise errors[0]
            self._missing += map(str, errors)
        lost = [*self._missing, *(said for file in found.values() for said in file.missing)]
        if lost and not any(file.parts for file in found.values()):
            raise InputError(lost[0])
        return list(found.values())

    def _topics(self) -> dict[str, Topic]:
        found: dict[str, Topic] = {}
        for file in self._files:
            for number, one in file.channels.items():
                before = found.get(one.topic, Topic(one.topic, one.type, 0, False, one.qos))
                found[one.topic] = replace(
                    before,
                    count=before.count + file.counts.get(number, 0),
                    defined=before.defined or one.definition is not None,
                    qos=before.qos or one.qos,
                )
        return found


class _Next(NamedTuple):
    """The next message of an open part."""

    stamp_ns: int
    file: int
    part: int
    at: int
    rows: Rows  # never compared: what is before it differs


def _check(opened: Sequence[_Next]) -> None:
    sizes = [one.rows.nbytes for one in opened]
    if sum(sizes) - max(sizes) > MAX_OPEN:
        raise InputError(
            "the bag's chunks overlap so much in time that it cannot be read in order: sort it with `mcap"
            " sort`."
        )

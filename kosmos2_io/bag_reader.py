"""Recordings, read without ROS: by log time, messages of the same time in the order of the file.

    with BagReader([Path("run")]) as bag:
        for one in bag.messages(["/camera/image"]):
            pixels = encodings.to_rgb(one.message())

Several bags, and the files of one that was split, are one recording.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kosmos2_core.errors import InputError
from kosmos2_io.message_types import typestore  # first: it says what to install where rosbags is missing

from rosbags.interfaces import MessageDefinitionFormat  # isort: skip
from rosbags.rosbag2 import Reader, ReaderError  # isort: skip


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    type: str
    count: int  # of messages
    defined: bool  # whether the bag has the definition of its type


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message as it was recorded."""

    topic: str
    type: str
    stamp_ns: int  # the log time: when it was recorded
    data: bytes = field(repr=False)

    def message(self) -> Any:
        """What it says, decoded."""
        return typestore().deserialize_cdr(self.data, self.type)


class BagReader:
    topics: Mapping[str, Topic]
    start_ns: int  # the first log time
    end_ns: int  # the last

    def __init__(self, bags: Sequence[Path]) -> None:
        """bags: folders, or files of storage. What cannot be read is an InputError of one sentence."""
        self._open = ExitStack()
        try:
            self._readers = [self._open.enter_context(Reader(bag)) for bag in bags]
        except (ReaderError, OSError) as error:
            self._open.close()
            raise InputError(f"the bag cannot be read: {error}") from None
        self.topics = {
            one.topic: Topic(
                one.topic, one.msgtype, one.msgcount, one.msgdef.format is not MessageDefinitionFormat.NONE
            )
            for reader in self._readers
            for one in reader.connections
        }
        self.start_ns = min(reader.start_time for reader in self._readers)
        self.end_ns = max(reader.end_time - 1 for reader in self._readers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[Recorded]:
        """topics: None, all. start_ns, end_ns: log times, both included; None, without end."""
        parts = [self._of(reader, topics, start_ns, end_ns) for reader in self._readers]
        return heapq.merge(*parts, key=lambda one: one.stamp_ns)

    def _of(
        self, reader: Reader, topics: Collection[str] | None, start_ns: int | None, end_ns: int | None
    ) -> Iterator[Recorded]:
        chosen = [one for one in reader.connections if topics is None or one.topic in topics]
        if not chosen:
            return
        stop = None if end_ns is None else end_ns + 1
        for one, stamp_ns, data in reader.messages(chosen, start_ns, stop):
            yield Recorded(one.topic, one.msgtype, stamp_ns, bytes(data))

"""Interface of a bag's file to the bag reader, whichever storage wrote it.

A file consists of parts, each with the messages of some span of time. A part has an index of its messages by
time, and gives the bytes of each. A recording of any length is read in order with few parts in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_io.message_types import MessageDefinition

MAX_MESSAGE = 1 << 27  # bytes: a longer message is damage, or would fill the memory
MAX_MISSING = 1000  # sentences about what is missing in a file; more are not told
MAX_QOS = 1 << 16  # characters of a topic's QoS
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # begins a zstd frame; a message begins with 0
LATEST_NS = (1 << 63) - 1

# A message in the index of a part: its log time, its channel, and where its bytes are. The meaning of offset
# and size is up to the storage.
INDEX_FIELDS = ("stamp_ns", "channel", "offset", "size")
INDEX_DTYPE = np.dtype([(name, "i8") for name in INDEX_FIELDS])
MessageIndex = NDArray[Any]  # of INDEX_DTYPE


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic as one file has it.

    Args:
        topic: Name of the topic.
        type: Type of its messages, such as sensor_msgs/msg/Image.
        encoding: Encoding of its messages; ROS 2 writes cdr.
        definition: Definition of the type; None if the file does not have it.
        qos: QoS that the publishers offered, as YAML; empty if not known.
    """

    topic: str
    type: str
    encoding: str
    definition: MessageDefinition | None
    qos: str


class StoragePart(Protocol):
    """Messages of a file that are read together."""

    @property
    def start_ns(self) -> int:
        """First log time in it."""

    @property
    def end_ns(self) -> int:
        """Last log time in it."""

    @property
    def channels(self) -> frozenset[int]:
        """Channels that have messages in it."""


class StorageFile(Protocol):
    """A file of a bag, open for reading."""

    @property
    def channels(self) -> Mapping[int, Channel]: ...

    @property
    def counts(self) -> Mapping[int, int]:
        """Number of messages of each channel."""

    @property
    def parts(self) -> Sequence[StoragePart]: ...

    @property
    def missing(self) -> Sequence[str]:
        """Sentences about what could not be read; reading may add to them."""

    def index(self, part: Any) -> MessageIndex:
        """Return the index of a part, sorted by time; messages of the same time keep their order."""

    def read(self, part: Any, entry: Any) -> bytes | None:
        """Return the bytes of a message, or None if they cannot be read; `missing` then says so."""

    def close(self) -> None: ...


def add_sentence(missing: list[str], sentence: str) -> None:
    """Add a sentence about what is missing, once, up to a limit: a damaged file can have a million."""
    if len(missing) < MAX_MISSING and sentence not in missing:
        missing.append(sentence)


def sort_index(index: MessageIndex) -> MessageIndex:
    """Sort an index by log time; messages of the same time keep their order."""
    return index[np.argsort(index["stamp_ns"], kind="stable")]


def decompress(compression: str, data: bytes | memoryview, size: int) -> bytes | memoryview:
    """Decompress at most `size` bytes; fewer if the data are cut off.

    Args:
        compression: zstd, lz4, or empty for none.
        data: The compressed data.
        size: The most bytes to return.

    Raises:
        InputError: The data are damaged, or the compression is not known.
    """
    import lz4.frame
    import zstandard

    if not compression:
        return data[:size]
    try:
        if compression == "zstd":
            return zstandard.ZstdDecompressor().stream_reader(data).read(size)
        if compression == "lz4":
            plain: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size)
            return plain
    except (zstandard.ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise InputError(f"its {compression} data are damaged ({error})") from None
    raise InputError(f"its compression {compression[:20]!r} is not known: it is zstd or lz4")

"""What a file of a bag is to its reader, however it stores its messages.

A file is parts, each with the messages of some time; a part is an index of its messages, by time, and their
bytes. So a recording of any length is read in order with a few parts in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError

MAX_MESSAGE = 1 << 27  # bytes: a longer one is damage, or would fill the memory
ZSTD = b"\x28\xb5\x2f\xfd"  # how its frames begin. No message does: those begin with 0
LATEST_NS = (1 << 63) - 1

# A part's message: its log time, its channel, and where its bytes are, as the file understands it.
FIELDS = ("stamp_ns", "channel", "at", "size")
ROW = np.dtype([(name, "i8") for name in FIELDS])
Rows = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """Of a message type, with those it is made of."""

    language: str  # ros2msg or ros2idl
    text: str


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic, as one file has it."""

    topic: str
    type: str
    encoding: str  # of its messages: cdr
    definition: Definition | None
    qos: str  # what its publishers offered, as YAML; empty: not known


class Part(Protocol):
    @property
    def start_ns(self) -> int:
        """The first log time in it."""

    @property
    def end_ns(self) -> int:
        """The last."""

    @property
    def channels(self) -> frozenset[int]:
        """Which have messages in it."""


class BagFile(Protocol):
    @property
    def channels(self) -> Mapping[int, Channel]: ...

    @property
    def counts(self) -> Mapping[int, int]:
        """Each channel's messages."""

    @property
    def parts(self) -> Sequence[Part]: ...

    @property
    def missing(self) -> Sequence[str]:
        """What could not be read, in sentences; reading may add to it."""

    def rows(self, part: Any) -> Rows:
        """Of ROW, by time, those of the same time as they were recorded."""

    def data(self, part: Any, row: Any) -> bytes | None:
        """A message's bytes. None: they cannot be read, which is among what is missing."""

    def close(self) -> None: ...


def in_order(rows: Rows) -> Rows:
    return rows[np.argsort(rows["stamp_ns"], kind="stable")]


def unpacked(compression: str, data: bytes | memoryview, size: int) -> bytes | memoryview:
    """Decompressed, at most `size` bytes of it: as many as there are where the data are cut off."""
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

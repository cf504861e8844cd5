"""The bytes of an MCAP file: its records, and what is in its chunks. What it says of itself may be wrong."""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kosmos2_core.errors import InputError
from kosmos2_io.bag_file import MAX_MESSAGE, unpacked

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS, DATA_END, FOOTER = 3, 4, 5, 6, 8, 11, 15, 2
HEAD = struct.Struct("<BQ")  # of each record: what it is, its length
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQII")  # first and last log time, size, checksum, length of a name
MAX_CHUNK: Final = MAX_MESSAGE + (1 << 16)  # bytes: one message, and what is around it
KEPT: Final = 1 << 25  # bytes of chunks that are kept, more only if it is one
MAX_RECORD: Final = 1 << 24  # bytes of what is neither


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages that are read together."""

    start_ns: int
    end_ns: int
    channels: frozenset[int]
    at: int  # where its record begins in the file
    length: int  # of it there, in bytes
    loose: bool = False  # messages in a row, without a chunk around them
    cut: bool = False  # the file ends in it


class Chunks:
    """Chunks are kept when they were read, the last ones, as far as the memory for them goes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = self._file.seek(0, 2)
        self._kept: OrderedDict[int, bytes | memoryview] = OrderedDict()
        self._kept_bytes = 0

    def close(self) -> None:
        self._file.close()
        self._kept.clear()

    def read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)

    def record(self, at: int, size: int) -> bytes:
        """What a record says that is no message and no chunk."""
        if size > MAX_RECORD:
            raise InputError(f"a record of {size:,} bytes is longer than {MAX_RECORD:,}")
        data = self.read(at, size)
        if len(data) < size:
            raise InputError("the file ends in a record")
        return data

    def crc(self, start: int, end: int) -> int:
        found = 0
        for at in range(start, end, MAX_RECORD):
            found = zlib.crc32(self.read(at, min(MAX_RECORD, end - at)), found)
        return found

    def walk(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Of each record: what it is, where what it says begins, and its length, which may be too long."""
        at = start
        while at + HEAD.size <= end:
            opcode, size = HEAD.unpack(self.read(at, HEAD.size))
            yield opcode, at + HEAD.size, size
            at += HEAD.size + size

    def span(self, at: int) -> tuple[int, int]:
        """The first and the last log time, as the chunk there says."""
        first_ns, last_ns, _, _, _ = CHUNK_HEAD.unpack(self.read(at + HEAD.size, CHUNK_HEAD.size))
        return first_ns, last_ns

    def body(self, chunk: Chunk) -> bytes | memoryview:
        """The records in it."""
        if chunk.at in self._kept:
            self._kept.move_to_end(chunk.at)
            return self._kept[chunk.at]
        if chunk.length > MAX_CHUNK:
            raise InputError(f"{chunk.length:,} bytes in one chunk are more than {MAX_CHUNK:,}")
        self._make_room(chunk.length)
        stored = self.read(chunk.at, chunk.length)
        body = stored if chunk.loose else self._unpacked(stored, chunk.cut)
        self._kept[chunk.at] = body
        self._kept_bytes += len(body)
        return body

    def _unpacked(self, stored: bytes, cut: bool) -> bytes | memoryview:
        opcode, _ = HEAD.unpack_from(stored)
        _, _, size, crc, name = CHUNK_HEAD.unpack_from(stored, HEAD.size)
        begin = HEAD.size + CHUNK_HEAD.size + name + 8
        if opcode != CHUNK or begin > len(stored):
            raise InputError("there is no chunk")
        if size > MAX_CHUNK:
            raise InputError(f"{size:,} bytes in one chunk are more than {MAX_CHUNK:,}")
        self._make_room(size)
        compression = stored[begin - 8 - name : begin - 8].decode()
        body = unpacked(compression, memoryview(stored)[begin:], size)
        if not cut and (len(body) != size or (crc and zlib.crc32(body) != crc)):
            raise InputError("its checksum or its size is wrong")
        return body

    def _make_room(self, size: int) -> None:
        while self._kept and size + self._kept_bytes > KEPT:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])


def records_in(body: bytes | memoryview, cut: bool) -> Iterator[tuple[int, int, int]]:
    """Of each whole record: what it is, where what it says begins, and its length."""
    at = 0
    while at + HEAD.size <= len(body):
        opcode, size = HEAD.unpack_from(body, at)
        at += HEAD.size
        if not opcode or at + size > len(body):
            break
        yield opcode, at, size
        at += size
    else:
        if at == len(body):
            return
    if not cut:
        raise InputError("a record in it goes past its end")


def message_head(data: bytes | memoryview, at: int, size: int) -> tuple[int, int]:
    """A message's channel and log time."""
    if size < MESSAGE_HEAD.size:
        raise InputError(f"a message of {size} bytes is too short")
    channel, _, stamp_ns, _ = MESSAGE_HEAD.unpack_from(data, at)
    return channel, stamp_ns

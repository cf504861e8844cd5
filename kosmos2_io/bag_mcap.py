"""MCAP files of a bag, complete or damaged.

    McapFile      the file as the bag reader sees it
    McapContents  channels, counts and chunks: from the summary if that is complete, otherwise found by
                  reading the file from its beginning, as after a crash or on a full disk
    McapChunks    the bytes: records of the file, and decompressed chunks

A live bag has its newest messages in a second file, whose first record says which bytes of the first file it
follows. For a moment both files have the same messages; then the second file's count.

Nothing that a file says about itself is trusted: sizes, times and checksums may be wrong.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_core.regular_files import check_regular_file
from kosmos2_io.bag_storage import (
    INDEX_DTYPE,
    INDEX_FIELDS,
    LATEST_NS,
    MAX_MESSAGE,
    MAX_QOS,
    Channel,
    MessageIndex,
    add_sentence,
    decompress,
    sort_index,
)
from kosmos2_io.message_types import MessageDefinition

from mcap import records  # isort: skip  # after message_types, which says what to install
from mcap.data_stream import ReadDataStream, RecordBuilder  # isort: skip
from mcap.exceptions import McapError  # isort: skip

MAGIC = b"\x89MCAP0\r\n"
# Opcodes of records.
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 2, 3, 4, 5, 6
CHUNK_INDEX, STATISTICS, METADATA, DATA_END = 8, 11, 12, 15
RECORD_HEAD = struct.Struct("<BQ")  # opcode, length
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQII")  # first and last log time, size, checksum, name length
FILE_END = struct.Struct("<BQQQI8s")  # the footer record and the magic after it
MAX_CHUNK: Final = MAX_MESSAGE + (1 << 16)  # bytes: one message, and what is around it
MAX_RECORD: Final = 1 << 24  # bytes of a record that is neither a message nor a chunk
MAX_DEFINITIONS: Final = 1 << 26  # characters of all channels and definitions of a file
MAX_CHUNK_MESSAGES: Final = 1 << 20
CACHE_BYTES: Final = 1 << 25  # decompressed chunks kept in memory; a single larger one is kept too
LOOSE_BYTES: Final = 1 << 20  # messages outside of chunks are read together up to this size
DAMAGE = (McapError, struct.error, UnicodeDecodeError, InputError, OSError)
MCAP_ENDING: Final = ".mcap"
SECOND_ENDING: Final = ".unfinished.mcap"
SECOND_RECORD: Final = "kosmos2.unfinished"  # name of the record of metadata in the second file
SECOND_START: Final = "follows_bytes"  # its key


@dataclass(frozen=True, slots=True)
class McapChunk:
    """Messages of an MCAP file that are read together.

    Args:
        start_ns: First log time in it.
        end_ns: Last log time in it.
        channels: Channels with messages in it.
        offset: Where its record begins in the file.
        length: Length of the record in bytes.
        loose: It is a row of messages without a chunk around them.
        cut_off: The file ends inside of it.
    """

    start_ns: int
    end_ns: int
    channels: frozenset[int]
    offset: int
    length: int
    loose: bool = False
    cut_off: bool = False


class McapFile:
    """An MCAP file as a `StorageFile`.

    Args:
        path: The file.
        name: Name of the file in sentences.

    Raises:
        InputError: It is not an MCAP file.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._chunks = McapChunks(path)
        try:
            self._contents = read_contents(self._chunks, name)
        except BaseException:
            self.close()
            raise
        self.channels, self.counts = self._contents.channels, self._contents.counts
        self.parts, self.missing = self._contents.chunks, self._contents.missing

    def close(self) -> None:
        self._chunks.close()

    def index(self, part: McapChunk) -> MessageIndex:
        values = array("q")
        try:
            body = self._chunks.body(part)
            for opcode, offset, size in records_in(body, part.cut_off):
                if opcode != MESSAGE:
                    continue
                channel, stamp_ns = message_head(body, offset, size)
                if part.start_ns <= stamp_ns <= part.end_ns:
                    values.extend((stamp_ns, channel, offset + MESSAGE_HEAD.size, size - MESSAGE_HEAD.size))
                else:
                    self._contents.add_missing(
                        part.offset, "a message in it has a time outside of the chunk's span"
                    )
                if len(values) > MAX_CHUNK_MESSAGES * len(INDEX_FIELDS):
                    raise InputError(f"more than {MAX_CHUNK_MESSAGES:,} messages are in one chunk")
            if part.loose and len(body) < part.length:
                raise InputError("the file became shorter while it was read")
        except DAMAGE as error:
            self._contents.add_missing(part.offset, error)
        return sort_index(np.frombuffer(values, INDEX_DTYPE))

    def read(self, part: McapChunk, entry: Any) -> bytes | None:
        offset = int(entry["offset"])
        try:
            return bytes(self._chunks.body(part)[offset : offset + int(entry["size"])])
        except DAMAGE as error:  # the file has changed since its index was read
            self._contents.add_missing(part.offset, error)
            return None


# The contents of a file.


@dataclass
class McapContents:
    """Channels, message counts and chunks of a file, and what could not be read of it.

    Args:
        name: Name of the file in sentences.
    """

    name: str
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    chunks: list[McapChunk] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    lacks_schema: bool = False  # a channel was defined before its schema, or without it
    _size: int = 0  # of channels and definitions, in characters
    _schemas: dict[int, tuple[str, MessageDefinition | None]] = field(default_factory=dict)

    def define(self, opcode: int, data: bytes) -> None:
        """Add the schema or the channel of a record; ignore other records."""
        stream = ReadDataStream(BytesIO(data))
        if opcode == SCHEMA:
            schema = records.Schema.read(stream)
            text = schema.data.decode()
            self._reserve(len(text))
            definition = MessageDefinition(schema.encoding, text) if text else None
            self._schemas.setdefault(schema.id, (schema.name, definition))
        elif opcode == CHANNEL:
            channel = records.Channel.read(stream)
            if channel.schema_id and channel.schema_id not in self._schemas:
                self.lacks_schema = True
            message_type, definition = self._schemas.get(channel.schema_id, ("", None))
            qos = channel.metadata.get("offered_qos_profiles", "")[:MAX_QOS]
            self._reserve(len(channel.topic) + len(qos))
            self.channels.setdefault(
                channel.id, Channel(channel.topic, message_type, channel.message_encoding, definition, qos)
            )

    def _reserve(self, size: int) -> None:
        self._size += size
        if self._size > MAX_DEFINITIONS:
            raise InputError(f"the channels and definitions of the file are larger than {MAX_DEFINITIONS:,}")

    def add_missing(self, offset: int, reason: object) -> None:
        """Note, once, that the record at an offset cannot be read."""
        why = str(reason).rstrip(".") or "it ends too early"
        add_sentence(self.missing, f"{self.name}: the record at byte {offset:,} cannot be read: {why}.")


def read_contents(chunks: McapChunks, name: str) -> McapContents:
    """Return the contents of a file, from its summary if that is complete.

    Raises:
        InputError: It is not an MCAP file.
    """
    if chunks.read(0, len(MAGIC)) != MAGIC:
        raise InputError(f"{name} is not an MCAP file.")
    with suppress(*DAMAGE):
        if contents := _read_summary(chunks, name):
            return contents
    return _read_through(chunks, name)


def _read_summary(chunks: McapChunks, name: str) -> McapContents | None:
    """Return the contents by the summary, or None if there is none or it is not complete.

    A summary may lack schemas, as rosbag2 writes it with `noRepeatedSchemas`. Without chunks there are no
    messages, or they are outside of chunks, and then no index lists them.
    """
    end_offset = chunks.size - FILE_END.size
    opcode, size, start, _, crc, magic = FILE_END.unpack(chunks.read(max(end_offset, 0), FILE_END.size))
    if (opcode, size, magic) != (FOOTER, FILE_END.size - RECORD_HEAD.size - len(MAGIC), MAGIC) or not start:
        return None
    if crc and chunks.crc(start, chunks.size - len(MAGIC) - 4) != crc:
        return None
    contents, message_count = McapContents(name), 0
    for opcode, offset, size in chunks.walk(start, end_offset):
        data = chunks.record(offset, size)
        contents.define(opcode, data)
        stream = ReadDataStream(BytesIO(data))
        if opcode == STATISTICS:
            statistics = records.Statistics.read(stream)
            message_count = statistics.message_count
            contents.counts.update(statistics.channel_message_counts)
        elif opcode == CHUNK_INDEX:
            _add_indexed_chunk(contents, chunks, records.ChunkIndex.read(stream), trusted=bool(crc))
    complete = all(chunk.channels and chunk.channels <= contents.channels.keys() for chunk in contents.chunks)
    if not complete or contents.lacks_schema or not message_count or not contents.chunks:
        return None
    return contents


def _add_indexed_chunk(
    contents: McapContents, chunks: McapChunks, index: records.ChunkIndex, trusted: bool
) -> None:
    span = index.message_start_time, index.message_end_time
    channels = frozenset(index.message_index_offsets)
    if contents.chunks and contents.chunks[-1].channels == channels:
        channels = contents.chunks[-1].channels  # share the set: there may be a hundred thousand chunks
    if not span[0] <= span[1] <= LATEST_NS or not (trusted or chunks.span(index.chunk_start_offset) == span):
        contents.add_missing(index.chunk_start_offset, "the file's index contradicts it")
    else:
        contents.chunks.append(McapChunk(*span, channels, index.chunk_start_offset, index.chunk_length))


def _read_through(chunks: McapChunks, name: str) -> McapContents:
    """Return the contents by reading every record from the beginning of the file."""
    contents = McapContents(name)
    read_to, ended = len(MAGIC), False
    for opcode, offset, size in chunks.walk(read_to, chunks.size):
        ended = opcode in (DATA_END, FOOTER)
        if ended or not opcode or (offset + size > chunks.size and opcode != CHUNK):
            break
        try:
            if opcode == MESSAGE:
                _add_loose_message(contents, chunks, offset, size)
            elif opcode == CHUNK:
                _add_chunk(contents, chunks, offset, size)
            elif opcode in (SCHEMA, CHANNEL):
                contents.define(opcode, chunks.record(offset, size))
        except DAMAGE as error:
            contents.add_missing(offset - RECORD_HEAD.size, error)
        read_to = offset + size
    if not ended:
        contents.missing.append(_cut_off(contents, min(read_to, chunks.size)))
    return contents


def _cut_off(contents: McapContents, offset: int) -> str:
    count = sum(contents.counts.values())
    return (
        f"{contents.name} is cut off or damaged at byte {offset:,}: the {count:,} messages before that are"
        " read, and what came after is missing."
    )


def _add_loose_message(contents: McapContents, chunks: McapChunks, offset: int, size: int) -> None:
    """Add a message outside of chunks to the row of messages before it, or begin a new row."""
    channel, stamp_ns = message_head(chunks.read(offset, MESSAGE_HEAD.size), 0, size)
    _check_time(stamp_ns)
    begin, end = offset - RECORD_HEAD.size, offset + size
    last = contents.chunks[-1] if contents.chunks else None
    if last and last.loose and end - last.offset <= LOOSE_BYTES:
        contents.chunks[-1] = replace(
            last,
            start_ns=min(last.start_ns, stamp_ns),
            end_ns=max(last.end_ns, stamp_ns),
            channels=last.channels | {channel},
            length=end - last.offset,
        )
    else:
        channels = frozenset((channel,))
        contents.chunks.append(McapChunk(stamp_ns, stamp_ns, channels, begin, end - begin, loose=True))
    contents.counts[channel] += 1


def _add_chunk(contents: McapContents, chunks: McapChunks, offset: int, size: int) -> None:
    """Add a chunk. Its times and channels are taken from its messages, not from its header."""
    begin = offset - RECORD_HEAD.size
    cut_off = offset + size > chunks.size
    length = min(offset + size, chunks.size) - begin
    chunk = McapChunk(0, 0, frozenset(), begin, length, cut_off=cut_off)
    first_ns, last_ns, counts = LATEST_NS, 0, Counter[int]()
    try:
        body = chunks.body(chunk)
        for opcode, record_offset, record_size in records_in(body, cut_off):
            if opcode == MESSAGE:
                channel, stamp_ns = message_head(body, record_offset, record_size)
                _check_time(stamp_ns)
                counts[channel] += 1
                first_ns, last_ns = min(first_ns, stamp_ns), max(last_ns, stamp_ns)
            elif opcode in (SCHEMA, CHANNEL):
                contents.define(opcode, bytes(body[record_offset : record_offset + record_size]))
    finally:
        if counts:
            contents.counts.update(counts)
            contents.chunks.append(
                replace(chunk, start_ns=first_ns, end_ns=last_ns, channels=frozenset(counts))
            )


def _check_time(stamp_ns: int) -> None:
    if stamp_ns > LATEST_NS:
        raise InputError(f"a message's time is {stamp_ns:,} ns, which is after the latest possible time")


# The second file of a live bag.


def second_file(path: Path) -> Path:
    """Return the file that holds the newest messages of a live bag."""
    return path.with_name(path.name.removesuffix(MCAP_ENDING) + SECOND_ENDING)


def is_superseded(path: Path) -> bool:
    """Return True for a second file whose messages are in the first one, which is complete."""
    first = path.with_name(path.name.removesuffix(SECOND_ENDING) + MCAP_ENDING)
    return path.name.endswith(SECOND_ENDING) and is_complete(first)


def is_complete(path: Path) -> bool:
    """Return True if an MCAP file has its end."""
    with suppress(*DAMAGE):
        check_regular_file(path)
        with path.open("rb") as file:
            file.seek(-len(MAGIC), 2)
            return file.read() == MAGIC
    return False


def second_record(start: int) -> bytes:
    """Return the record of a second file whose messages follow so many bytes of the first file."""
    builder = RecordBuilder()
    records.Metadata(SECOND_RECORD, {SECOND_START: str(start)}).write(builder)
    record: bytes = builder.end()  # type: ignore[no-untyped-call]
    return record


def second_start(path: Path) -> int | None:
    """Return how many bytes of the first file a second file follows; None: there is no second file."""
    with suppress(*DAMAGE, KeyError, ValueError):
        check_regular_file(path)
        with closing(McapChunks(path)) as chunks:
            for opcode, offset, size in islice(chunks.walk(len(MAGIC), chunks.size), 2):
                if opcode == METADATA:
                    metadata = records.Metadata.read(ReadDataStream(BytesIO(chunks.record(offset, size))))
                    return int(metadata.metadata[SECOND_START])
    return None


# The bytes of a file.


class McapChunks:
    """Reads records and chunks of an MCAP file; keeps the chunks used last in memory.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = self._file.seek(0, 2)
        if not is_complete(path):
            self.size = min(self.size, second_start(second_file(path)) or self.size)
        self._cache: OrderedDict[int, bytes | memoryview] = OrderedDict()  # by offset
        self._cached_bytes = 0

    def close(self) -> None:
        self._file.close()
        self._cache.clear()

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file; fewer at its end."""
        self._file.seek(offset)
        return self._file.read(size)

    def record(self, offset: int, size: int) -> bytes:
        """Return the content of a record that is neither a message nor a chunk.

        Raises:
            InputError: It is too long, or the file ends in it.
        """
        if size > MAX_RECORD:
            raise InputError(f"a record of {size:,} bytes is longer than {MAX_RECORD:,}")
        data = self.read(offset, size)
        if len(data) < size:
            raise InputError("the file ends in a record")
        return data

    def crc(self, start: int, end: int) -> int:
        """Return the CRC-32 of a range of the file."""
        crc = 0
        for offset in range(start, end, MAX_RECORD):
            crc = zlib.crc32(self.read(offset, min(MAX_RECORD, end - offset)), crc)
        return crc

    def walk(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield opcode, offset and size of the content of each record. The size may reach beyond the end.

        It ends early where the file has become shorter, as the second file of a live bag does.
        """
        offset = start
        while offset + RECORD_HEAD.size <= end:
            head = self.read(offset, RECORD_HEAD.size)
            if len(head) < RECORD_HEAD.size:
                return
            opcode, size = RECORD_HEAD.unpack(head)
            yield opcode, offset + RECORD_HEAD.size, size
            offset += RECORD_HEAD.size + size

    def span(self, offset: int) -> tuple[int, int]:
        """Return the first and the last log time in the header of a chunk."""
        header = self.read(offset + RECORD_HEAD.size, CHUNK_HEAD.size)
        first_ns, last_ns, _, _, _ = CHUNK_HEAD.unpack(header)
        return first_ns, last_ns

    def body(self, chunk: McapChunk) -> bytes | memoryview:
        """Return the records in a chunk, decompressed.

        Raises:
            InputError: The chunk is damaged or too large.
        """
        if chunk.offset in self._cache:
            self._cache.move_to_end(chunk.offset)
            return self._cache[chunk.offset]
        if chunk.length > MAX_CHUNK:
            raise InputError(f"{chunk.length:,} bytes in one chunk are more than {MAX_CHUNK:,}")
        self._make_room(chunk.length)
        stored = self.read(chunk.offset, chunk.length)
        body = stored if chunk.loose else self._decompress(stored, chunk.cut_off)
        self._cache[chunk.offset] = body
        self._cached_bytes += len(body)
        return body

    def _decompress(self, stored: bytes, cut_off: bool) -> bytes | memoryview:
        opcode, _ = RECORD_HEAD.unpack_from(stored)
        _, _, size, crc, name_length = CHUNK_HEAD.unpack_from(stored, RECORD_HEAD.size)
        begin = RECORD_HEAD.size + CHUNK_HEAD.size + name_length + 8  # 8: length of the compressed data
        if opcode != CHUNK or begin > len(stored):
            raise InputError("there is no chunk")
        if size > MAX_CHUNK:
            raise InputError(f"{size:,} bytes in one chunk are more than {MAX_CHUNK:,}")
        self._make_room(size)
        compression = stored[begin - 8 - name_length : begin - 8].decode()
        body = decompress(compression, memoryview(stored)[begin:], size)
        if not cut_off and (len(body) != size or (crc and zlib.crc32(body) != crc)):
            raise InputError("its checksum or its size is wrong")
        return body

    def _make_room(self, size: int) -> None:
        while self._cache and size + self._cached_bytes > CACHE_BYTES:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])


def records_in(body: bytes | memoryview, cut_off: bool) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, offset and size of the content of each whole record in a chunk.

    Raises:
        InputError: A record reaches beyond the end of the chunk, and the chunk is not cut off.
    """
    offset = 0
    while offset + RECORD_HEAD.size <= len(body):
        opcode, size = RECORD_HEAD.unpack_from(body, offset)
        offset += RECORD_HEAD.size
        if not opcode or offset + size > len(body):
            break
        yield opcode, offset, size
        offset += size
    else:
        if offset == len(body):
            return
    if not cut_off:
        raise InputError("a record in it reaches beyond its end")


def message_head(data: bytes | memoryview, offset: int, size: int) -> tuple[int, int]:
    """Return the channel and the log time of a message record."""
    if size < MESSAGE_HEAD.size:
        raise InputError(f"a message of {size} bytes is too short")
    channel, _, stamp_ns, _ = MESSAGE_HEAD.unpack_from(data, offset)
    return channel, stamp_ns

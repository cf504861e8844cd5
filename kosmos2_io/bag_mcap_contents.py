"""What is in an MCAP file: by its summary where that says all, else by looking through it from the beginning,
as after a crash or on a full disk."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Final

from kosmos2_core.errors import InputError
from kosmos2_io.bag_file import LATEST_NS, Channel, Definition
from kosmos2_io.bag_mcap_chunks import (
    CHANNEL,
    CHUNK,
    CHUNK_INDEX,
    DATA_END,
    FOOTER,
    HEAD,
    MAGIC,
    MESSAGE,
    MESSAGE_HEAD,
    SCHEMA,
    STATISTICS,
    Chunk,
    Chunks,
    message_head,
    records_in,
)

from mcap import records  # isort: skip
from mcap.data_stream import ReadDataStream  # isort: skip
from mcap.exceptions import McapError  # isort: skip

FOOT = struct.Struct("<BQQQI8s")  # the last record, and what ends the file
LOOSE: Final = 1 << 20  # bytes of messages outside of chunks that are read at a time
DAMAGE = (McapError, struct.error, UnicodeDecodeError, InputError, OSError)


@dataclass
class Contents:
    name: str  # of the file, in sentences
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    chunks: list[Chunk] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    _types: dict[int, tuple[str, Definition | None]] = field(default_factory=dict)

    def define(self, opcode: int, data: bytes) -> None:
        """By a record that defines a schema or a channel; others say nothing here."""
        stream = ReadDataStream(BytesIO(data))
        if opcode == SCHEMA:
            schema = records.Schema.read(stream)
            definition = Definition(schema.encoding, schema.data.decode()) if schema.data else None
            self._types.setdefault(schema.id, (schema.name, definition))
        elif opcode == CHANNEL:
            one = records.Channel.read(stream)
            kind, definition = self._types.get(one.schema_id, ("", None))
            qos = one.metadata.get("offered_qos_profiles", "")
            self.channels.setdefault(one.id, Channel(one.topic, kind, one.message_encoding, definition, qos))

    def miss(self, at: int, why: object) -> None:
        said = f"{self.name}: what is at byte {at:,} cannot be read: {str(why).rstrip('.')}."
        if said not in self.missing:
            self.missing.append(said)


def contents_of(chunks: Chunks, name: str) -> Contents:
    if chunks.read(0, len(MAGIC)) != MAGIC:
        raise InputError(f"{name} is no MCAP file.")
    with suppress(*DAMAGE):
        if contents := _of_summary(chunks, name):
            return contents
    return _looked_through(chunks, name)


# By the summary.


def _of_summary(chunks: Chunks, name: str) -> Contents | None:
    """None: there is none, or it does not say all."""
    foot = chunks.size - FOOT.size
    opcode, size, start, _, crc, end = FOOT.unpack(chunks.read(max(foot, 0), FOOT.size))
    if (opcode, size, end) != (FOOTER, FOOT.size - HEAD.size - len(MAGIC), MAGIC) or not start:
        return None
    if crc and chunks.crc(start, chunks.size - len(MAGIC) - 4) != crc:
        return None
    found, said = Contents(name), 0
    for opcode, data in _summary(chunks, start, foot):
        found.define(opcode, data)
        stream = ReadDataStream(BytesIO(data))
        if opcode == STATISTICS:
            statistics = records.Statistics.read(stream)
            said = statistics.message_count
            found.counts.update(statistics.channel_message_counts)
        elif opcode == CHUNK_INDEX:
            _add_indexed(found, chunks, records.ChunkIndex.read(stream), trusted=bool(crc))
    known = all(chunk.channels and chunk.channels <= found.channels.keys() for chunk in found.chunks)
    # Without chunks there are no messages, or they are outside of chunks, of which there is no index.
    return found if known and said and found.chunks else None


def _summary(chunks: Chunks, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    for opcode, at, size in chunks.walk(start, end):
        yield opcode, chunks.record(at, size)


def _add_indexed(found: Contents, chunks: Chunks, index: records.ChunkIndex, trusted: bool) -> None:
    span = index.message_start_time, index.message_end_time
    channels = frozenset(index.message_index_offsets)
    if found.chunks and found.chunks[-1].channels == channels:
        channels = found.chunks[-1].channels  # one for all: there may be a hundred thousand chunks
    if not span[0] <= span[1] <= LATEST_NS or not (trusted or chunks.span(index.chunk_start_offset) == span):
        found.miss(index.chunk_start_offset, "the file's index says something wrong of it")
    else:
        found.chunks.append(Chunk(*span, channels, index.chunk_start_offset, index.chunk_length))


# From the beginning.


def _looked_through(chunks: Chunks, name: str) -> Contents:
    found = Contents(name)
    reached, ended = len(MAGIC), False
    for opcode, at, size in chunks.walk(reached, chunks.size):
        ended = opcode in (DATA_END, FOOTER)
        if ended or not opcode or (at + size > chunks.size and opcode != CHUNK):
            break
        try:
            if opcode == MESSAGE:
                _add_loose(found, chunks, at, size)
            elif opcode == CHUNK:
                _add_chunk(found, chunks, at, size)
            elif opcode in (SCHEMA, CHANNEL):
                found.define(opcode, chunks.record(at, size))
        except DAMAGE as error:
            found.miss(at - HEAD.size, error)
        reached = at + size
    if not ended:
        found.missing.append(_cut_off(found, min(reached, chunks.size)))
    return found


def _cut_off(found: Contents, at: int) -> str:
    read = sum(found.counts.values())
    return (
        f"{found.name} is cut off or damaged at byte {at:,}: the {read:,} messages before that are read, and"
        " what came after is missing."
    )


def _add_loose(found: Contents, chunks: Chunks, at: int, size: int) -> None:
    """A message outside of chunks: read together with those before it, or the first of others."""
    channel, stamp_ns = message_head(chunks.read(at, MESSAGE_HEAD.size), 0, size)
    _check_time(stamp_ns)
    first, end = at - HEAD.size, at + size
    last = found.chunks[-1] if found.chunks else None
    if last and last.loose and end - last.at <= LOOSE:
        found.chunks[-1] = replace(
            last,
            start_ns=min(last.start_ns, stamp_ns),
            end_ns=max(last.end_ns, stamp_ns),
            channels=last.channels | {channel},
            length=end - last.at,
        )
    else:
        found.chunks.append(Chunk(stamp_ns, stamp_ns, frozenset((channel,)), first, end - first, loose=True))
    found.counts[channel] += 1


def _add_chunk(found: Contents, chunks: Chunks, at: int, size: int) -> None:
    """What it says of its times and channels is not believed: they are looked up in it."""
    first = at - HEAD.size
    cut = at + size > chunks.size
    chunk = Chunk(0, 0, frozenset(), first, min(at + size, chunks.size) - first, cut=cut)
    first_ns, last_ns, counts = LATEST_NS, 0, Counter[int]()
    try:
        body = chunks.body(chunk)
        for opcode, begin, length in records_in(body, cut):
            if opcode == MESSAGE:
                channel, stamp_ns = message_head(body, begin, length)
                _check_time(stamp_ns)
                counts[channel] += 1
                first_ns, last_ns = min(first_ns, stamp_ns), max(last_ns, stamp_ns)
            elif opcode in (SCHEMA, CHANNEL):
                found.define(opcode, bytes(body[begin : begin + length]))
    finally:
        if counts:
            found.counts.update(counts)
            found.chunks.append(replace(chunk, start_ns=first_ns, end_ns=last_ns, channels=frozenset(counts)))


def _check_time(stamp_ns: int) -> None:
    if stamp_ns > LATEST_NS:
        raise InputError(f"a message's time is {stamp_ns:,} ns, which no clock says")

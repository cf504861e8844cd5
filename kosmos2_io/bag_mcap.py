"""An MCAP file of a bag, whole or not."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any, Final

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_io.bag_file import FIELDS, ROW, Rows, in_order
from kosmos2_io.bag_mcap_chunks import MESSAGE, MESSAGE_HEAD, Chunk, Chunks, message_head, records_in
from kosmos2_io.bag_mcap_contents import DAMAGE, contents_of

MAX_ROWS: Final = 1 << 20  # messages in a chunk


class McapFile:
    def __init__(self, path: Path, name: str) -> None:
        """name: what it is called in sentences."""
        self._chunks = Chunks(path)
        try:
            self._contents = contents_of(self._chunks, name)
        except BaseException:
            self.close()
            raise
        self.channels, self.counts = self._contents.channels, self._contents.counts
        self.parts, self.missing = self._contents.chunks, self._contents.missing

    def close(self) -> None:
        self._chunks.close()

    def rows(self, part: Chunk) -> Rows:
        found = array("q")
        try:
            body = self._chunks.body(part)
            for opcode, at, size in records_in(body, part.cut):
                if opcode != MESSAGE:
                    continue
                channel, stamp_ns = message_head(body, at, size)
                if part.start_ns <= stamp_ns <= part.end_ns:
                    found.extend((stamp_ns, channel, at + MESSAGE_HEAD.size, size - MESSAGE_HEAD.size))
                else:
                    self._contents.miss(part.at, "a message in it has a time that it has not")
                if len(found) > MAX_ROWS * len(FIELDS):
                    raise InputError(f"more than {MAX_ROWS:,} messages are in one chunk")
        except DAMAGE as error:
            self._contents.miss(part.at, error)
        return in_order(np.frombuffer(found, ROW))

    def data(self, part: Chunk, row: Any) -> bytes | None:
        at = int(row["at"])
        try:
            return bytes(self._chunks.body(part)[at : at + int(row["size"])])
        except DAMAGE as error:  # it was good when its rows were read
            self._contents.miss(part.at, error)
            return None

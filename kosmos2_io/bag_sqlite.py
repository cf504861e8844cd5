"""SQLite files of a bag, complete or damaged, as rosbag2 has written them since Foxy.

The times of all messages are read first, in the order of the file, as far as it can be read. Each message is
read later by its row number. So neither a lost index nor the length of the recording matters.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_io.bag_storage import (
    INDEX_DTYPE,
    INDEX_FIELDS,
    LATEST_NS,
    MAX_MESSAGE,
    MAX_QOS,
    Channel,
    MessageIndex,
    add_sentence,
    sort_index,
)
from kosmos2_io.message_types import MessageDefinition

MAGIC: Final = b"SQLite format 3\0"
PAGE_SIZES: Final = tuple(1 << exponent for exponent in range(9, 16))  # bytes; 65,536 is stored as 1
MIN_ROW_BYTES: Final = 8  # bounds the number of rows, since a damaged file may lead in circles


@dataclass(frozen=True, slots=True)
class MessageTable:
    """All messages of the file, as its only `StoragePart`."""

    start_ns: int
    end_ns: int
    channels: frozenset[int]


class SqliteFile:
    """A SQLite database as a `StorageFile`.

    Args:
        path: The file.
        name: Name of the file in sentences.

    Raises:
        InputError: It is not a bag, or nothing of it can be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name, self.missing = name, list[str]()
        self._database = _open_database(path)
        try:
            self._check_tables()
            self.channels = dict(self._read_channels())
            self._index = sort_index(self._read_index(path.stat().st_size // MIN_ROW_BYTES))
        except sqlite3.Error as error:
            self.close()
            raise InputError(f"{name} is damaged, or no bag: {error}.") from None
        channels, counts = np.unique(self._index["channel"], return_counts=True)
        self.counts = Counter(dict(zip(channels.tolist(), counts.tolist(), strict=True)))
        stamps = self._index["stamp_ns"]
        span = (int(stamps[0]), int(stamps[-1])) if len(stamps) else (0, 0)
        self.parts = [MessageTable(*span, frozenset(self.counts))] if len(stamps) else []

    def close(self) -> None:
        self._database.close()

    def index(self, part: MessageTable) -> MessageIndex:
        return self._index

    def read(self, part: MessageTable, entry: Any) -> bytes | None:
        row_number = int(entry["offset"])
        try:
            query = "SELECT data FROM messages WHERE id = ?"
            row = self._database.execute(query, (row_number,)).fetchone()
        except sqlite3.Error as error:
            self._add_missing(f"{self.name}: some messages cannot be read: {error}.")
            return None
        if row is None or not isinstance(row[0], bytes):
            self._add_missing(f"{self.name}: some messages are not where the file lists them.")
            return None
        return row[0]

    def _check_tables(self) -> None:
        query = "SELECT count(*) FROM sqlite_master WHERE name IN ('messages', 'topics') AND rootpage > 0"
        if self._database.execute(query).fetchone() != (2,):
            raise sqlite3.DatabaseError("it has no tables `messages` and `topics`")

    def _add_missing(self, sentence: str) -> None:
        add_sentence(self.missing, sentence)

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _read_channels(self) -> Iterator[tuple[int, Channel]]:
        definitions = self._read_definitions()
        # The first files of Foxy do not store QoS.
        qos = "offered_qos_profiles" if "offered_qos_profiles" in self._columns("topics") else "''"
        query = f"SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id"
        for number, topic, message_type, encoding, offered in self._database.execute(query):
            texts = topic, message_type, encoding
            if isinstance(number, int) and all(isinstance(text, str) for text in texts):
                definition = definitions.get(message_type)
                yield number, Channel(topic, message_type, encoding, definition, str(offered or "")[:MAX_QOS])

    def _read_definitions(self) -> dict[str, MessageDefinition]:
        """Return the definitions by message type; files have them since Iron."""
        if not self._columns("message_definitions"):
            return {}
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        return {
            message_type: MessageDefinition(str(language), str(text))
            for message_type, language, text in self._database.execute(query)
            if text
        }

    def _read_index(self, max_rows: int) -> MessageIndex:
        values = array("q")
        last = -1
        try:
            for row in self._database.execute("SELECT id, topic_id, timestamp FROM messages ORDER BY id"):
                if not all(isinstance(value, int) for value in row) or not 0 <= row[2] <= LATEST_NS:
                    self._add_missing(f"{self.name}: some messages have no time, and are not read.")
                    continue
                row_number, channel, stamp_ns = row
                if row_number <= last or len(values) > max_rows * len(INDEX_FIELDS):
                    raise sqlite3.DatabaseError("its pages lead in circles")
                values.extend((stamp_ns, channel, row_number, 0))
                last = row_number
        except sqlite3.Error as error:
            if not values:
                raise
            count = len(values) // len(INDEX_FIELDS)
            self._add_missing(
                f"{self.name} is cut off or damaged ({error}): {count:,} messages are read at most."
            )
        return np.frombuffer(values, INDEX_DTYPE)


def page_size(beginning: bytes) -> int:
    """Return the page size that the first bytes of a database give."""
    size = int.from_bytes(beginning[16:18], "big")
    return size if size in PAGE_SIZES else 1 << 16


def _open_database(path: Path) -> sqlite3.Connection:
    """Open a database for reading. `immutable` would ignore what a crash has left in its journal."""
    journal = path.with_name(f"{path.name}-wal")
    immutable = "" if journal.exists() and journal.stat().st_size else "&immutable=1"
    database = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro{immutable}", uri=True, check_same_thread=False
    )
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_MESSAGE)
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA writable_schema = ON")  # otherwise a file that is cut off is refused altogether
    return database

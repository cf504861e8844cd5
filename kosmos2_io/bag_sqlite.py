"""A database file of a bag, whole or not, as rosbag2 has written it since Foxy.

First the times of all messages are read, in the order of the file, as far as it can be read; then each
message by its number. So neither a lost index nor a large recording matters.
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
from kosmos2_io.bag_file import FIELDS, LATEST_NS, MAX_MESSAGE, ROW, Channel, Definition, Rows, in_order

MAGIC: Final = b"SQLite format 3\0"
PAGES: Final = tuple(1 << k for k in range(9, 16))  # bytes; a page of 65,536 is written as 1
LEAST_ROW: Final = 8  # bytes: a damaged file may lead in circles


@dataclass(frozen=True, slots=True)
class Table:
    """All messages of the file."""

    start_ns: int
    end_ns: int
    channels: frozenset[int]


class SqliteFile:
    def __init__(self, path: Path, name: str) -> None:
        """name: what it is called in sentences."""
        self.name, self.missing = name, list[str]()
        self._database = _opened(path)
        try:
            self._check_tables()
            self.channels = dict(self._read_channels())
            self._rows = in_order(self._read_rows(path.stat().st_size // LEAST_ROW))
        except sqlite3.Error as error:
            self.close()
            raise InputError(f"{name} is damaged, or no bag: {error}.") from None
        channels, counts = np.unique(self._rows["channel"], return_counts=True)
        self.counts = Counter(dict(zip(channels.tolist(), counts.tolist(), strict=True)))
        stamps = self._rows["stamp_ns"]
        span = (int(stamps[0]), int(stamps[-1])) if len(stamps) else (0, 0)
        self.parts = [Table(*span, frozenset(self.counts))] if len(stamps) else []

    def close(self) -> None:
        self._database.close()

    def rows(self, part: Table) -> Rows:
        return self._rows

    def data(self, part: Table, row: Any) -> bytes | None:
        number = int(row["at"])
        try:
            found = self._database.execute("SELECT data FROM messages WHERE id = ?", (number,)).fetchone()
        except sqlite3.Error as error:
            self._miss(f"{self.name}: some messages cannot be read: {error}.")
            return None
        if found is None or not isinstance(found[0], bytes):
            self._miss(f"{self.name}: some messages are not where the file says.")
            return None
        return found[0]

    def _check_tables(self) -> None:
        query = "SELECT count(*) FROM sqlite_master WHERE name IN ('messages', 'topics') AND rootpage > 0"
        if self._database.execute(query).fetchone() != (2,):
            raise sqlite3.DatabaseError("it has no tables `messages` and `topics`")

    def _miss(self, said: str) -> None:
        if said not in self.missing:
            self.missing.append(said)

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _read_channels(self) -> Iterator[tuple[int, Channel]]:
        definitions = self._read_definitions()
        # Before Foxy's successors nothing was said of QoS.
        qos = "offered_qos_profiles" if "offered_qos_profiles" in self._columns("topics") else "''"
        query = f"SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id"
        for number, topic, kind, encoding, offered in self._database.execute(query):
            if isinstance(number, int) and all(isinstance(one, str) for one in (topic, kind, encoding)):
                yield number, Channel(topic, kind, encoding, definitions.get(kind), str(offered or ""))

    def _read_definitions(self) -> dict[str, Definition]:
        """Since Iron."""
        if not self._columns("message_definitions"):
            return {}
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        return {
            kind: Definition(str(language), str(text))
            for kind, language, text in self._database.execute(query)
            if text
        }

    def _read_rows(self, most: int) -> Rows:
        found = array("q")
        last = -1
        try:
            for row in self._database.execute("SELECT id, topic_id, timestamp FROM messages ORDER BY id"):
                if not all(isinstance(value, int) for value in row) or not 0 <= row[2] <= LATEST_NS:
                    self._miss(f"{self.name}: some messages have no time, and are not read.")
                    continue
                number, channel, stamp_ns = row
                if number <= last or len(found) > most * len(FIELDS):
                    raise sqlite3.DatabaseError("its pages lead in circles")
                found.extend((stamp_ns, channel, number, 0))
                last = number
        except sqlite3.Error as error:
            if not found:
                raise
            read = len(found) // len(FIELDS)
            self._miss(f"{self.name} is cut off or damaged ({error}): {read:,} messages are read at most.")
        return np.frombuffer(found, ROW)


def page_size(beginning: bytes) -> int:
    """As the first bytes of a database say."""
    size = int.from_bytes(beginning[16:18], "big")
    return size if size in PAGES else 1 << 16


def _opened(path: Path) -> sqlite3.Connection:
    """To be read only. What a crash has left in a journal is read too: then it must not be `immutable`."""
    journal = path.with_name(f"{path.name}-wal")
    immutable = "" if journal.exists() and journal.stat().st_size else "&immutable=1"
    database = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro{immutable}", uri=True, check_same_thread=False
    )
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_MESSAGE)
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA writable_schema = ON")  # else a file that is cut off is refused as a whole
    return database

"""Write bags that `ros2 bag` plays, without ROS.

    with open_bag(Path("run"), latched=("/tf_static",)) as bag:
        bag.write("/greeting", messages.string("hello"), stamp_ns)

The folder gets its name only when the bag is complete; if anything ends the writing before, nothing is left.
A `LiveBag` is for messages that cannot be had again: whatever ends the writing, all that was written is kept.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from kosmos2_core.errors import DiskError, InputError
from kosmos2_core.files import check_free, new_folder, write_all, write_errors
from kosmos2_io.bag_mcap import second_file, second_record
from kosmos2_io.message_types import typestore  # first: it tells what to install where rosbags is missing

from rosbags.interfaces import (  # isort: skip
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import (  # isort: skip
    CompressionFormat,
    CompressionMode,
    StoragePlugin,
    Writer,
    storage_mcap,
)

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
METADATA_VERSION: Final = 9  # of rosbag2's metadata.yaml, as Jazzy writes it
NO_LIMIT = QosTime(9_223_372_036, 854_775_807)  # as ROS writes an unlimited duration


@contextmanager
def open_bag(
    folder: Path,
    storage: str = "mcap",
    latched: Collection[str] = (),
    custom_data: Mapping[str, str] | None = None,
) -> Iterator[BagWriter]:
    """Open a new bag for writing.

    Args:
        folder: The bag's folder, which must not exist.
        storage: mcap or sqlite3.
        latched: Topics whose last message is kept for late subscribers.
        custom_data: Entries for the metadata.

    Raises:
        InputError: The folder exists or cannot be written, or the storage is not known.
        DiskError: The disk is full.
    """
    with ExitStack() as stack:
        with write_errors(f"the bag {folder}", sqlite3.Error):
            unfinished = stack.enter_context(new_folder(folder))  # the storage file is named after its folder
            writer = _open_writer(unfinished, storage, custom_data or {})
        try:
            yield BagWriter(writer, folder, latched)
        except BaseException:
            writer.abort()
            raise
        with write_errors(f"the bag {folder}", sqlite3.Error):
            writer.close()
            stack.close()


class BagWriter:
    """A bag that is being written; `open_bag` makes one.

    Attributes:
        folder: The bag's folder.
    """

    def __init__(self, writer: Writer, folder: Path, latched: Collection[str]) -> None:
        self.folder = folder
        self._writer, self._latched = writer, latched
        self._connections: dict[str, Connection] = {}

    @property
    def _name(self) -> str:
        """The bag's name in error messages."""
        return f"the bag {self.folder}"

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Write a message made by `message_types.new`, with its log time."""
        message_type = message.__msgtype__
        self.write_bytes(topic, message_type, typestore().serialize_cdr(message, message_type), stamp_ns)

    def write_bytes(self, topic: str, message_type: str, data: bytes | memoryview, stamp_ns: int) -> None:
        """Write the bytes of a message as they were sent.

        Args:
            topic: Its topic.
            message_type: Its type, such as std_msgs/msg/String.
            data: The bytes.
            stamp_ns: The log time.
        """
        with write_errors(self._name, sqlite3.Error):
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(
                    topic,
                    message_type,
                    typestore=typestore(),
                    offered_qos_profiles=[qos_profile(topic in self._latched)],
                )
            self._writer.write(self._connections[topic], stamp_ns, data)

    def set_custom_data(self, name: str, value: str) -> None:
        """Set an entry of the metadata, such as a result that is known at the end only."""
        self._writer.set_custom_data(name, value)


class LiveBag(BagWriter):
    """A bag of messages as they arrive.

    Each message is in the files when `write_bytes` returns. If the process is killed after that, or the disk
    becomes full, the bag has no metadata.yaml and no index, and BagReader reads all its messages.

    Args:
        folder: The bag's folder, which must not exist.
        storage: mcap or sqlite3.

    Raises:
        InputError: The folder exists or cannot be written, or the storage is not known.
        DiskError: The disk is full.
    """

    def __init__(self, folder: Path, storage: str) -> None:
        check_free(folder)
        try:
            with write_errors(f"the bag {folder}", sqlite3.Error):
                super().__init__(_open_writer(folder, storage, {}), folder, ())
                self._kept: _KeptMcap | _KeptSqlite = KEPT[storage](self._writer.storage)
        except DiskError:
            shutil.rmtree(folder, ignore_errors=True)  # there is no message in it yet
            raise
        self._count = 0

    def write_bytes(self, topic: str, message_type: str, data: bytes | memoryview, stamp_ns: int) -> None:
        """Write the bytes of a message as they were sent.

        Raises:
            InputError: The bag cannot be written; it is closed, and the messages before are kept.
            DiskError: The same, because the disk is full.
        """
        with self._kept_errors():
            super().write_bytes(topic, message_type, data, stamp_ns)
            self._kept.keep()
        self._count += 1

    def close(self) -> None:
        """Write index and metadata.

        Raises:
            InputError: They cannot be written; the messages are kept.
            DiskError: The same, because the disk is full.
        """
        with self._kept_errors():
            self._kept.before_close()
            self._writer.close()
            self._kept.after_close()

    @property
    def _name(self) -> str:
        return f"the bag {self.folder}, in which {self._count:,} messages are kept,"

    @contextmanager
    def _kept_errors(self) -> Iterator[None]:
        """If the bag cannot be written, close it with the messages that are whole."""
        try:
            with write_errors(self._name, sqlite3.Error):
                yield
        except (InputError, DiskError):
            self._kept.abandon()
            self._writer.metapath.with_suffix(".yaml.tmp").unlink(missing_ok=True)
            raise


class _KeptMcap:
    """Keeps the messages of an MCAP file that is being written.

    Messages are compressed in chunks of 1 MiB. Until its chunk is complete, a message is in a second file
    beside the first, without compression; bag_mcap.py reads both.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        storage.bio.flush()
        self._head = storage.path.read_bytes()
        self._whole = len(self._head)  # bytes of the file up to the end of the last complete chunk
        self._tail = second_file(storage.path)
        self._stream = self._tail.open("xb", buffering=0)
        self._begin_tail()

    def _begin_tail(self) -> None:
        """Begin the second file again, with the types and topics of the complete chunks."""
        self._stream.seek(0)
        self._stream.truncate()
        definitions = BytesIO()
        for schema in self._storage.schemas:
            storage_mcap.write_schema(definitions, schema)
        for channel in self._storage.channels:
            storage_mcap.write_channel(definitions, channel, self._storage.schemas)
        write_all(self._stream, self._head + second_record(self._whole) + definitions.getvalue())
        self._chunk, self._size = self._storage.chunk.bio, 0

    def keep(self) -> None:
        """Write what was added to the chunk, or the chunk if it was completed."""
        if self._storage.chunk.bio is not self._chunk:
            self._storage.bio.flush()
            self._whole = self._storage.bio.tell()
            self._begin_tail()
        with self._chunk.getbuffer() as content:
            write_all(self._stream, content[self._size :])
        self._size = self._chunk.tell()

    def before_close(self) -> None:
        pass

    def after_close(self) -> None:
        self._stream.close()
        self._tail.unlink()

    def abandon(self) -> None:
        """Remove what follows the last complete chunk: its messages are in the second file."""
        self._storage.bio.raw.close()  # without writing what is still buffered
        self._stream.close()
        os.truncate(self._storage.path, self._whole)


class _KeptSqlite:
    """Keeps the messages of a SQLite database, with a write-ahead log, which a reader reads after a crash."""

    def __init__(self, storage: Any) -> None:
        self._database = storage.conn
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")  # no wait for the disk after each message

    def keep(self) -> None:
        self._database.commit()

    def before_close(self) -> None:
        """Leave a database that is complete in one file."""
        self._database.execute("PRAGMA journal_mode = DELETE")

    def after_close(self) -> None:
        pass

    def abandon(self) -> None:
        with suppress(sqlite3.Error):
            self._database.rollback()
        with suppress(sqlite3.Error):
            self._database.close()


KEPT: Final[Mapping[str, type[_KeptMcap] | type[_KeptSqlite]]] = {"mcap": _KeptMcap, "sqlite3": _KeptSqlite}


def _open_writer(folder: Path, storage: str, custom_data: Mapping[str, str]) -> Writer:
    if storage not in STORAGES:
        raise InputError(f"there is no bag storage {storage!r}: choose one of {', '.join(STORAGES)}.")
    writer = Writer(folder, version=METADATA_VERSION, storage_plugin=STORAGES[storage])
    if storage == "mcap":
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    for key, value in custom_data.items():
        writer.set_custom_data(key, value)
    writer.open()
    return writer


def qos_profile(latched: bool) -> Qos:
    """Return the QoS written for a topic: reliable, because every kind of subscriber accepts it."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=NO_LIMIT,
        lifespan=NO_LIMIT,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=NO_LIMIT,
        avoid_ros_namespace_conventions=False,
    )

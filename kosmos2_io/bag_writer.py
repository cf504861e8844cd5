"""Write bags that `ros2 bag` plays, without ROS.

    with open_bag(Path("run"), latched=("/tf_static",)) as bag:
        bag.write("/greeting", messages.string("hello"), stamp_ns)

The folder gets its name only when the bag is complete; if anything ends the writing before, nothing is left.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from kosmos2_core.errors import InputError
from kosmos2_core.files import new_folder
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
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer  # isort: skip

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
    """
    if storage not in STORAGES:
        raise InputError(f"there is no bag storage {storage!r}: choose one of {', '.join(STORAGES)}.")
    with ExitStack() as stack:
        with _write_errors(folder):
            unfinished = stack.enter_context(new_folder(folder))  # the storage file is named after its folder
            writer = _open_writer(unfinished, storage, custom_data or {})
        try:
            yield BagWriter(writer, folder, latched)
        except BaseException:
            writer.abort()
            raise
        with _write_errors(folder):
            writer.close()
            stack.close()


class BagWriter:
    """A bag that is being written; `open_bag` makes one."""

    def __init__(self, writer: Writer, folder: Path, latched: Collection[str]) -> None:
        self._writer, self._folder, self._latched = writer, folder, latched
        self._connections: dict[str, Connection] = {}

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
        with _write_errors(self._folder):
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


def _open_writer(folder: Path, storage: str, custom_data: Mapping[str, str]) -> Writer:
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


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"the bag {folder} cannot be written: {reason}.") from None

"""Bags that `ros2 bag` plays, written without ROS.

    with open_bag(Path("run"), latched=("/tf_static",)) as bag:
        bag.write("/greeting", messages.string("hello"), stamp_ns)

The folder has its name only when it is whole: whatever ends the writing before leaves nothing there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from kosmos2_core.errors import InputError
from kosmos2_io.message_types import typestore  # first: it says what to install where rosbags is missing

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
VERSION: Final = 9  # of rosbag2's metadata, as Jazzy writes it
FOREVER = QosTime(9_223_372_036, 854_775_807)  # as ROS writes "no limit"


@contextmanager
def open_bag(
    folder: Path, storage: str = "mcap", latched: Collection[str] = (), about: Mapping[str, str] | None = None
) -> Iterator[BagWriter]:
    """A new bag. latched: topics whose last message is kept for who comes later. about: goes into its
    metadata."""
    if storage not in STORAGES:
        raise InputError(f"there is no storage {storage!r} of bags: choose one of {', '.join(STORAGES)}.")
    if folder.exists():
        raise InputError(f"{folder} exists: choose a name that is free, or remove it.")
    place = folder.absolute()
    with _written(folder):
        place.parent.mkdir(parents=True, exist_ok=True)
        near = TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent)
    with near:
        unfinished = Path(near.name, place.name)  # its file is named after its folder
        with _written(folder):
            writer = _open(unfinished, storage, about or {})
        try:
            yield BagWriter(writer, folder, latched)
        except BaseException:
            writer.abort()
            raise
        with _written(folder):
            writer.close()
            unfinished.rename(place)


class BagWriter:
    def __init__(self, writer: Writer, folder: Path, latched: Collection[str]) -> None:
        self._writer, self._folder, self._latched = writer, folder, latched
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        kind = message.__msgtype__
        self.write_bytes(topic, kind, typestore().serialize_cdr(message, kind), stamp_ns)

    def write_bytes(self, topic: str, kind: str, data: bytes | memoryview, stamp_ns: int) -> None:
        """A message as it was sent. kind: its type, as std_msgs/msg/String."""
        with _written(self._folder):
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(
                    topic, kind, typestore=typestore(), offered_qos_profiles=[_qos(topic in self._latched)]
                )
            self._writer.write(self._connections[topic], stamp_ns, data)

    def note(self, name: str, value: str) -> None:
        """Into the metadata, as what is known at the end."""
        self._writer.set_custom_data(name, value)


def _open(folder: Path, storage: str, about: Mapping[str, str]) -> Writer:
    writer = Writer(folder, version=VERSION, storage_plugin=STORAGES[storage])
    if storage == "mcap":
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    for key, value in about.items():
        writer.set_custom_data(key, value)
    writer.open()
    return writer


def _qos(latched: bool) -> Qos:
    """Reliable, which reaches every kind of subscriber."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=FOREVER,
        lifespan=FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=FOREVER,
        avoid_ros_namespace_conventions=False,
    )


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"the bag {folder} cannot be written: {reason}.") from None

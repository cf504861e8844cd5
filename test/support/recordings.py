"""One recording, in every form a bag can have: what recorders write, and what is left of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, IndexType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2

from kosmos2_io.bag_writer import qos_profile
from kosmos2_io.message_types import new, typestore
from kosmos2_io.messages import Messages

messages = Messages(new)
START_NS = 10**18


@dataclass(frozen=True)
class Said:
    """A message, as it goes into a bag."""

    topic: str
    stamp_ns: int
    message: object

    @property
    def data(self) -> bytes:
        return bytes(typestore().serialize_cdr(self.message, self.message.__msgtype__))


def recorded(count: int = 40) -> list[Said]:
    """Of three topics, some at the same time, some a little late."""
    noise = np.random.default_rng(0)
    found = []
    for number in range(count):
        stamp_ns = START_NS + number * 100_000_000
        head = messages.header(stamp_ns, "eye")
        pixels = noise.integers(0, 256, (24, 32, 3), np.uint8)
        found.append(Said("/image", stamp_ns, messages.image(head, pixels)))
        found.append(Said("/said", stamp_ns, messages.string(f"number {number}")))
        if number % 3 == 0:
            late = max(START_NS, stamp_ns - 150_000_000)
            found.append(Said("/tf", late, messages.transforms(messages.transform(head, "hand", np.eye(4)))))
    return found


def in_order(said: list[Said]) -> list[Said]:
    return sorted(said, key=lambda one: one.stamp_ns)


def definition(kind: str) -> tuple[str, str]:
    return typestore().generate_msgdef(kind, ros_version=2)


def write_mcap(path: Path, said: list[Said], with_definitions: bool = True, **settings: object) -> Path:
    with path.open("wb") as stream:
        writer = Writer(stream, **settings)
        writer.start("ros2", "a test")
        channels: dict[str, int] = {}
        for one in said:
            kind = one.message.__msgtype__
            if one.topic not in channels:
                text = definition(kind)[0].encode() if with_definitions else b""
                schema = writer.register_schema(kind, "ros2msg", text)
                channels[one.topic] = writer.register_channel(one.topic, "cdr", schema)
            writer.add_message(channels[one.topic], one.stamp_ns, one.data, one.stamp_ns)
        writer.finish()
    return path


def write_rosbag2(
    folder: Path, said: list[Said], storage: StoragePlugin, mode: CompressionMode = CompressionMode.NONE
) -> Path:
    writer = Rosbag2(folder, version=9, storage_plugin=storage)
    if mode is not CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics = {}
        for one in said:
            if one.topic not in topics:
                topics[one.topic] = writer.add_connection(
                    one.topic,
                    one.message.__msgtype__,
                    typestore=typestore(),
                    offered_qos_profiles=[qos_profile(one.topic == "/tf")],
                )
            writer.write(topics[one.topic], one.stamp_ns, one.data)
    return folder


def write_foxy(path: Path, said: list[Said]) -> Path:
    """A database as the first rosbag2 wrote it: without QoS, definitions, and an index."""
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)"
        )
        database.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
        )
        topics: dict[str, int] = {}
        for one in said:
            if one.topic not in topics:
                topics[one.topic] = len(topics) + 1
                row = (topics[one.topic], one.topic, one.message.__msgtype__, "cdr")
                database.execute("INSERT INTO topics VALUES(?, ?, ?, ?)", row)
            row = (topics[one.topic], one.stamp_ns, one.data)
            database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", row)
    database.close()
    return path


SMALL = {"chunk_size": 4000}
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
FORMS = {
    "mcap": lambda place, said: write_mcap(
        place / "run.mcap", said, compression=CompressionType.NONE, **SMALL
    ),
    "mcap zstd": lambda place, said: write_mcap(place / "run.mcap", said, **SMALL),
    "mcap lz4": lambda place, said: write_mcap(
        place / "run.mcap", said, compression=CompressionType.LZ4, **SMALL
    ),
    "mcap fastwrite": lambda place, said: write_mcap(place / "run.mcap", said, use_chunking=False),
    "mcap without index": lambda place, said: write_mcap(
        place / "run.mcap",
        said,
        index_types=IndexType.NONE,
        use_summary_offsets=False,
        use_statistics=False,
        repeat_channels=False,
        repeat_schemas=False,
        **SMALL,
    ),
    "mcap without schemas in the summary": lambda place, said: write_mcap(
        place / "run.mcap", said, repeat_schemas=False, **SMALL
    ),
    "rosbag2 mcap": lambda place, said: write_rosbag2(place / "run", said, MCAP),
    "rosbag2 mcap of zstd chunks": lambda place, said: write_rosbag2(
        place / "run", said, MCAP, CompressionMode.STORAGE
    ),
    "rosbag2 mcap of zstd messages": lambda place, said: write_rosbag2(
        place / "run", said, MCAP, CompressionMode.MESSAGE
    ),
    "rosbag2 mcap in zstd": lambda place, said: write_rosbag2(
        place / "run", said, MCAP, CompressionMode.FILE
    ),
    "rosbag2 sqlite3": lambda place, said: write_rosbag2(place / "run", said, SQLITE),
    "rosbag2 sqlite3 of zstd messages": lambda place, said: write_rosbag2(
        place / "run", said, SQLITE, CompressionMode.MESSAGE
    ),
    "rosbag2 sqlite3 in zstd": lambda place, said: write_rosbag2(
        place / "run", said, SQLITE, CompressionMode.FILE
    ),
    "foxy": lambda place, said: write_foxy(place / "run.db3", said),
}

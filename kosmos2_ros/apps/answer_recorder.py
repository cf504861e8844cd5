"""The node `answer_recorder`: records the answers of the node `grounding` for `kosmos2 eval bag --answers`.

    python -m kosmos2_ros.apps.answer_recorder runs/answers
    ros2 run kosmos2 answer_recorder runs/answers --cameras left right --ros-args -p use_sim_time:=true

On SIGINT or SIGTERM it prints how long answers took to arrive, and the outcomes of images without an answer.
Whatever ends it, all answers that it wrote can be read. If it cannot write, it ends with exit status 1 if the
disk is full, and otherwise 2.
"""

from __future__ import annotations

import os
import sys
import threading
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from kosmos2.msg import GroundedFrame
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection2DArray, Detection3DArray

from kosmos2_core.errors import DiskError, InputError
from kosmos2_core.files import check_free
from kosmos2_io.bag_writer import STORAGES, LiveBag
from kosmos2_io.stamps import header_ns
from kosmos2_ros.apps.arguments import ROS_EPILOG, RosArgumentParser
from kosmos2_ros.errors import callback_errors
from kosmos2_ros.frames import FrameOutcome
from kosmos2_ros.process import run

NAME = "answer_recorder"
ANSWER_TYPES = {
    "grounding": ("kosmos2/msg/GroundedFrame", GroundedFrame),
    "detections": ("vision_msgs/msg/Detection2DArray", Detection2DArray),
    "detections_3d": ("vision_msgs/msg/Detection3DArray", Detection3DArray),
}
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
QUEUE_DEPTH = 1000  # messages that may wait, so that none is lost while a disk is slow

COUNTED = ("received", *map(str, FrameOutcome), "in_flight")
Counts = Mapping[str, int]
NO_COUNTS: Counts = dict.fromkeys(COUNTED, 0)


class AnswerStats:
    """Ages of the answers on arrival, and the counts in the node's diagnostics during the recording.

    Args:
        node: The node's name; diagnostics of other nodes are ignored.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._ages_ns: dict[str, array[int]] = defaultdict(lambda: array("q"))  # by topic
        self._counts: dict[str, tuple[Counts, Counts]] = {}  # by camera: counts before the recording, newest
        self._reported = False

    def add_answer(self, topic: str, age_ns: int) -> None:
        """Count an answer."""
        self._ages_ns[topic].append(age_ns)

    def add_diagnostics(self, statuses: Iterable[Any]) -> None:
        """Take the counts in statuses of /diagnostics; counts before the first one are subtracted."""
        statuses = [status for status in statuses if status.name.strip("/").startswith(f"{self._node}: ")]
        for status in statuses:
            values = {pair.key: pair.value for pair in status.values}
            if "received" not in values:
                continue
            newest = {name: int(values[name]) for name in COUNTED}
            before, last = self._counts.get(status.hardware_id, (self._before(newest), NO_COUNTS))
            if newest["received"] < last["received"]:  # the node was restarted
                before = NO_COUNTS
            self._counts[status.hardware_id] = before, newest
        self._reported = self._reported or bool(statuses)

    def _before(self, first: Counts) -> Counts:
        """Return what does not count of a camera's first report.

        Images in flight will be counted later. A camera that an earlier report did not have has begun since.
        """
        return NO_COUNTS if self._reported else {**first, "received": first["received"] - first["in_flight"]}

    def counts(self) -> dict[str, Counts]:
        """Return the counts of each camera during the recording; `in_flight` is the newest value."""
        return {
            camera: {name: last[name] - before[name] for name in COUNTED} | {"in_flight": last["in_flight"]}
            for camera, (before, last) in self._counts.items()
        }

    def notes(self) -> dict[str, str]:
        """Return the statistics as entries of the bag's metadata."""
        ages = {f"{topic} latency_ms": _percentiles(ages_ns) for topic, ages_ns in self._ages_ns.items()}
        counts = {f"{camera} frames": _joined(counts) for camera, counts in self.counts().items()}
        return ages | counts

    def lines(self) -> Iterator[str]:
        """Yield the statistics as lines to print."""
        for topic, ages_ns in self._ages_ns.items():
            yield f"{len(ages_ns):>7,} on {topic}, from stamp to arrival {_percentiles(ages_ns)} ms"
        for camera, counts in self.counts().items():
            yield f"{counts['received']:>7,} images of {camera}: {_joined(counts)}"


def _percentiles(ages_ns: array[int]) -> str:
    p50, p95, largest = np.percentile(np.array(ages_ns) / 1e6, (50, 95, 100))
    return f"p50 {p50:.1f}, p95 {p95:.1f}, max {largest:.1f}"


def _joined(counts: Counts) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in COUNTED[1:])


class AnswerRecorder(Node):
    """Writes answers and diagnostics to a bag, which is created with the first answer.

    The executor's thread alone opens, writes and closes the bag, as SQLite demands.

    Args:
        folder: The bag's folder; it must not exist.
        node_name: The node whose answers are recorded.
        cameras: Names as in that node's parameter `cameras`; none: a single camera without a name.
        storage: The storage format of the bag.
        node_options: Passed on to rclpy's node.
    """

    def __init__(
        self, folder: Path, node_name: str, cameras: Sequence[str], storage: str, **node_options: Any
    ) -> None:
        super().__init__(NAME, **node_options)
        check_free(folder)
        node_name = node_name.strip("/")
        self.stats = AnswerStats(node_name)
        self._folder, self._storage = folder, storage
        self._bag: LiveBag | None = None
        self._finished = threading.Event()
        self._finish_request = self.create_guard_condition(self._finish)
        for camera in cameras or [""]:
            for name, (type_name, message_type) in ANSWER_TYPES.items():
                topic = "/" + "/".join(filter(None, (node_name, camera, name)))
                self._subscribe(topic, message_type, partial(self._record, topic, type_name, message_type))
        self._subscribe("/diagnostics", DiagnosticArray, self._record_diagnostics)

    def _subscribe(self, topic: str, message_type: Any, record: Callable[[bytes], None]) -> None:
        callback = callback_errors(self.get_logger(), record)
        self.create_subscription(message_type, topic, callback, QoSProfile(depth=QUEUE_DEPTH), raw=True)

    def _record(self, topic: str, type_name: str, message_type: Any, data: bytes) -> None:
        now_ns = self.get_clock().now().nanoseconds
        stamp_ns = header_ns(deserialize_message(data, message_type))
        arrived_ns = max(now_ns, stamp_ns)  # the clock of a played bag advances in steps
        with _exit_on_write_errors():
            if self._bag is None:
                self._bag = LiveBag(self._folder, self._storage)
            self._bag.write_bytes(topic, type_name, data, arrived_ns)
        self.stats.add_answer(topic, arrived_ns - stamp_ns)

    def _record_diagnostics(self, data: bytes) -> None:
        message = deserialize_message(data, DiagnosticArray)
        self.stats.add_diagnostics(message.status)
        if self._bag:
            with _exit_on_write_errors():
                self._bag.write_bytes("/diagnostics", DIAGNOSTICS, data, self.get_clock().now().nanoseconds)

    def close(self) -> None:
        """Finish the bag and print the statistics."""
        self._finish_request.trigger()
        self._finished.wait()

    def _finish(self) -> None:
        if self._finished.is_set():
            return
        if self._bag is None:
            self.get_logger().warning("no answer arrived: nothing is recorded")
        else:
            for name, value in self.stats.notes().items():
                self._bag.set_custom_data(name, value)
            with _exit_on_write_errors():
                self._bag.close()
            self._bag = None
            for line in (str(self._folder), *self.stats.lines()):
                print(line)
        self._finished.set()


@contextmanager
def _exit_on_write_errors() -> Iterator[None]:
    """End the process with one sentence if the bag cannot be written: nothing more would be recorded."""
    try:
        yield
    except (DiskError, InputError) as error:
        print(f"{NAME}: {error}", file=sys.stderr, flush=True)
        os._exit(1 if isinstance(error, DiskError) else 2)  # from a callback, whose exceptions are logged


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Record until SIGINT or SIGTERM."""
    parser = RosArgumentParser(
        prog=NAME, description="Record the answers of the node grounding to a bag.", epilog=ROS_EPILOG
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="OUT", help="folder of the new bag; it must not exist")
    add("--node", default="grounding", metavar="NAME", help="node to record (default: %(default)s)")
    add("--cameras", nargs="+", default=[], metavar="NAME", help="names in the node's parameter cameras")
    add("--storage", default="mcap", choices=STORAGES, help="format of the bag (default: %(default)s)")
    options = parser.parse_without_ros(args)
    make = partial(AnswerRecorder, options.folder, options.node, options.cameras, options.storage)
    run(NAME, make, lambda _: None, args)


if __name__ == "__main__":
    main()

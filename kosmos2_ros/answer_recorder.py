"""The node `answer_recorder`: what the node `grounding` answers, into a bag for `kosmos2 eval bag --answers`.

    python -m kosmos2_ros.answer_recorder runs/answers
    ros2 run kosmos2 answer_recorder runs/answers --cameras left right --ros-args -p use_sim_time:=true

Until it is told to end; then it says how long answers took, and what became of the images that had none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from kosmos2.msg import GroundedFrame
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection2DArray, Detection3DArray

from kosmos2_core.errors import InputError
from kosmos2_io.bag_writer import STORAGES, BagWriter, open_bag
from kosmos2_ros.answer_tally import Tally
from kosmos2_ros.arguments import Parser
from kosmos2_ros.guard import guarded
from kosmos2_ros.process import run

NAME = "answer_recorder"
ANSWERS = {
    "grounding": ("kosmos2/msg/GroundedFrame", GroundedFrame),
    "detections": ("vision_msgs/msg/Detection2DArray", Detection2DArray),
    "detections_3d": ("vision_msgs/msg/Detection3DArray", Detection3DArray),
}
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
EVERY = 1000  # messages that may wait: none is lost while a disk is slow


class AnswerRecorder(Node):
    """A bag is begun with the first answer: without any there is none."""

    def __init__(self, folder: Path, of: str, cameras: Sequence[str], storage: str, **node: Any) -> None:
        super().__init__(NAME, **node)
        if folder.exists():
            raise InputError(f"{folder} exists: choose a name that is free, or remove it.")
        self.tally = Tally(of.strip("/"))
        self._open_bag = lambda: open_bag(folder, storage)
        self._folder, self._opened = folder, ExitStack()
        self._bag: BagWriter | None = None
        self._writing = threading.Lock()
        for camera in cameras or [""]:
            for name, (kind, of_class) in ANSWERS.items():
                topic = "/" + "/".join(filter(None, (of.strip("/"), camera, name)))
                self._hear(topic, of_class, partial(self._take_answer, topic, kind, of_class))
        self._hear("/diagnostics", DiagnosticArray, self._take_diagnostics)

    def _hear(self, topic: str, of_class: Any, take: Callable[[bytes], None]) -> None:
        heard = guarded(self.get_logger(), take)
        self.create_subscription(of_class, topic, heard, QoSProfile(depth=EVERY), raw=True)

    def _take_answer(self, topic: str, kind: str, of_class: Any, data: bytes) -> None:
        now_ns = self.get_clock().now().nanoseconds
        head = deserialize_message(data, of_class).header
        stamp_ns = head.stamp.sec * 10**9 + head.stamp.nanosec
        arrived_ns = max(now_ns, stamp_ns)  # a recording's clock goes in steps
        with self._writing:
            if self._bag is None:
                self._bag = self._opened.enter_context(self._open_bag())
            self._bag.write_bytes(topic, kind, data, arrived_ns)
            self.tally.answer(topic, arrived_ns - stamp_ns)

    def _take_diagnostics(self, data: bytes) -> None:
        message = deserialize_message(data, DiagnosticArray)
        with self._writing:
            self.tally.books(message.status)
            if self._bag:
                self._bag.write_bytes("/diagnostics", DIAGNOSTICS, data, self.get_clock().now().nanoseconds)

    def close(self) -> None:
        with self._writing:
            if self._bag is None:
                self.get_logger().warning("no answer came: nothing is recorded")
                return
            for name, value in self.tally.notes().items():
                self._bag.note(name, value)
            self._opened.close()
        for line in (str(self._folder), *self.tally.lines()):
            print(line)


def main(args: Sequence[str] | None = None) -> NoReturn:
    parser = Parser(prog=NAME, description="Records answers.", epilog="ROS's options come after --ros-args.")
    add = parser.add_argument
    add("folder", type=Path, metavar="OUT", help="the bag's folder, which is not there yet")
    add("--node", default="grounding", metavar="NAME", help="whose answers (default: %(default)s)")
    add("--cameras", nargs="+", default=[], metavar="NAME", help="as in the node's parameter")
    add("--storage", default="mcap", choices=STORAGES, help="(default: %(default)s)")
    given = parser.parsed(args)
    make = partial(AnswerRecorder, given.folder, given.node, given.cameras, given.storage)
    run(NAME, make, lambda _: None, args)


if __name__ == "__main__":
    main()

"""The node `bag_player`: a recording, sent as it was recorded, on machines that have no rosbag2.

    python -m kosmos2_ros.bag_player runs/first --clock
    ros2 run kosmos2 bag_player runs/first --rate 0.5 --loop --ros-args -r /camera/image:=/front/image

Its parameter `paused` can be set while it plays. A thread of its own reads and sends; the executor serves the
clock and the parameter.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock as ClockMessage

from kosmos2_core.errors import InputError
from kosmos2_io.bag_reader import BagReader, Recorded, Topic
from kosmos2_ros.arguments import Parser
from kosmos2_ros.bag_time import BagTime
from kosmos2_ros.process import run
from kosmos2_ros.recorded_qos import as_recorded
from kosmos2_ros.ros_messages import ROS, message_class

NAME = "bag_player"
CLOCK_HZ = 100.0
ACKNOWLEDGED_S = 2.0  # how long reliable subscribers may take for what is sent last
END_S = 1.0
ALIGNED = 4  # bytes
LATCHED = DurabilityPolicy.TRANSIENT_LOCAL


@dataclass(frozen=True)
class Options:
    bags: tuple[Path, ...]
    rate: float = 1.0
    loop: bool = False
    clock_hz: float = 0.0  # 0: no clock
    paused: bool = False
    from_s: float = 0.0
    topics: tuple[str, ...] = ()  # none: all
    wait_for: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1000:
            raise InputError(f"--rate {self.rate:g}: it is above 0, and 1000 at most; 1 is as recorded.")
        if not 0 <= self.clock_hz <= 1000:
            raise InputError(f"--clock {self.clock_hz:g}: it is from 1 to 1000 times a second.")
        if not self.from_s >= 0:
            raise InputError(f"--from {self.from_s:g}: it is in seconds from the bag's start.")


class BagPlayer(Node):
    """Started by calling `play`, after which the process ends."""

    def __init__(self, options: Options, **node: Any) -> None:
        super().__init__(NAME, **node)
        self.options, self.sent = options, 0
        self.bag = BagReader(options.bags)
        self._start_ns = self._first_ns()
        self.time = BagTime(options.rate, self._start_ns, options.paused)
        self._sending, self._ended, self._done = threading.Lock(), threading.Event(), threading.Event()
        self._heard = {self._sent_as(topic): threading.Event() for topic in options.wait_for}
        self._known: set[str] = set()  # topics whose messages this ROS understands
        self._strange: set[str] = set()  # and those it does not
        self._senders = {topic.name: one for topic in self._chosen() if (one := self._advertise(topic))}
        if not self._senders:
            raise InputError(
                "this ROS knows no type of the bag's messages: source the workspace they are of."
            )
        self._declare_paused()
        self._time_sender = self.create_publisher(ClockMessage, "/clock", 10) if options.clock_hz else None
        if self._time_sender:
            wall = Clock(clock_type=ClockType.STEADY_TIME)  # whatever time this node is told
            self.create_timer(1 / options.clock_hz, self._tick, clock=wall)

    def play(self) -> None:
        """All of it, or until the node is closed; then the process ends."""
        try:
            if all(heard.wait() for heard in self._heard.values()):
                self._play()
            self._tell()
        finally:
            self.bag.close()
            self._done.set()
            os.kill(os.getpid(), signal.SIGTERM)  # as any process of ours is told to end

    def close(self) -> None:
        self.time.end()
        with self._sending:
            self._ended.set()
        for heard in self._heard.values():
            heard.set()
        self._done.wait(END_S)  # files that were unpacked for reading are removed then

    def _play(self) -> None:
        while not self._ended.is_set():
            self.time.start(self._start_ns)
            for one in self._latched_before():
                self._send(one)
            for one in self.bag.messages(self._senders.keys(), self._start_ns):
                if not self.time.wait_until(one.stamp_ns):
                    return
                self._send(one)
            if not self.options.loop:
                break
        for publisher in self._senders.values():
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S))

    def _latched_before(self) -> Iterator[Recorded]:
        """What stood when the part that is played begins."""
        latched = [topic for topic, one in self._senders.items() if one.qos_profile.durability == LATCHED]
        return self.bag.messages(latched, None, self._start_ns - 1) if latched else iter(())

    def _send(self, recorded: Recorded) -> None:
        with self._sending:
            if self._ended.is_set() or not self._understands(recorded):
                return
            self._tell_time()
            self._senders[recorded.topic].publish(recorded.data)
            self.sent += 1

    def _understands(self, recorded: Recorded) -> bool:
        """Whether bytes mean to this ROS what they meant to the robot's, by the first message of a topic."""
        if recorded.topic in self._known:
            return True
        if recorded.topic not in self._strange and fits(recorded):
            self._known.add(recorded.topic)
            return True
        if recorded.topic not in self._strange:
            self._strange.add(recorded.topic)
            self.get_logger().warning(
                f"{recorded.topic} is not played: the robot's version of {recorded.type} is another."
            )
        return False

    # The clock.

    def _tick(self) -> None:
        with self._sending:
            if not self._ended.is_set():
                self._tell_time()

    def _tell_time(self) -> None:
        """Before each message too: none is from the future."""
        if self._time_sender:
            now_ns = min(self.time.now_ns(), self.bag.end_ns)
            self._time_sender.publish(ClockMessage(clock=ROS.time(now_ns)))

    # What there is to play.

    def _first_ns(self) -> int:
        first_ns = self.bag.start_ns + round(self.options.from_s * 1e9)
        if first_ns > self.bag.end_ns:
            seconds = (self.bag.end_ns - self.bag.start_ns) / 1e9
            raise InputError(f"--from {self.options.from_s:g} is behind the bag's end: it has {seconds:g} s.")
        return first_ns

    def _sent_as(self, topic: str) -> str:
        """A topic of the bag. An image's may be there compressed, which whoever listens is told elsewhere."""
        for name in (topic, f"{topic}/compressed"):
            if name in self.bag.topics:
                return name
        raise InputError(f"the bag has no topic {topic}; it has {', '.join(sorted(self.bag.topics))}.")

    def _chosen(self) -> list[Topic]:
        names = map(self._sent_as, self.options.topics) if self.options.topics else sorted(self.bag.topics)
        return [self.bag.topics[name] for name in names]

    def _advertise(self, topic: Topic) -> Publisher | None:
        try:
            kind = message_class(topic.type)
        except (ImportError, AttributeError, ValueError):
            self.get_logger().warning(f"{topic.name} is not played: this ROS does not know {topic.type}.")
            return None
        events = PublisherEventCallbacks(matched=lambda _: self._meet(topic.name))
        return self.create_publisher(kind, topic.name, as_recorded(topic), event_callbacks=events)

    def _meet(self, topic: str) -> None:
        if topic in self._heard:
            self._heard[topic].set()

    def _declare_paused(self) -> None:
        about = ParameterDescriptor(description="time stands still, and nothing is sent")
        self.declare_parameter("paused", self.options.paused, about)
        self.add_on_set_parameters_callback(self._set)

    def _set(self, parameters: Sequence[Any]) -> SetParametersResult:
        for one in parameters:
            if one.name == "paused":
                self.time.pause(bool(one.value))
        return SetParametersResult(successful=True)

    def _tell(self) -> None:
        for said in self.bag.missing:
            self.get_logger().warning(said)
        self.get_logger().info(f"{self.sent:,} messages played")


def fits(recorded: Recorded) -> bool:
    try:
        again = serialize_message(deserialize_message(recorded.data, message_class(recorded.type)))
    except Exception:  # of the middleware's own kinds
        return False
    return abs(len(again) - len(recorded.data)) < ALIGNED  # some middlewares fill up


def parser() -> Parser:
    given = Parser(prog=NAME, description="Plays a recording.", epilog="ROS's options come after --ros-args.")
    add = given.add_argument
    add("bags", nargs="+", type=Path, metavar="BAG", help="folders or files: one recording")
    add("--rate", type=float, default=1.0, metavar="R", help="how fast (default: 1, as it was)")
    add("--loop", action="store_true", help="again and again")
    clock = f"publish its time on /clock, so often a second (default: {CLOCK_HZ:g})"
    add("--clock", type=float, nargs="?", const=CLOCK_HZ, default=0.0, metavar="HZ", help=clock)
    add("--start-paused", action="store_true", help="until `ros2 param set /bag_player paused false`")
    add("--from", type=float, default=0.0, dest="from_s", metavar="S", help="from its start")
    add("--topics", nargs="+", default=[], metavar="TOPIC", help="these only")
    add("--wait-for", nargs="+", default=[], metavar="TOPIC", help="begin when somebody listens to them")
    return given


def options_of(given: argparse.Namespace) -> Options:
    return Options(
        tuple(given.bags),
        given.rate,
        given.loop,
        given.clock,
        given.start_paused,
        given.from_s,
        tuple(given.topics),
        tuple(given.wait_for),
    )


def main(args: Sequence[str] | None = None) -> NoReturn:
    known = parser()
    try:
        options = options_of(known.parsed(args))
    except InputError as error:
        known.error(str(error).rstrip("."))
    run(NAME, partial(BagPlayer, options), BagPlayer.play, args)


if __name__ == "__main__":
    main()

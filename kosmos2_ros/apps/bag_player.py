"""The node `bag_player`: plays a recording with its original timing and QoS, on machines without rosbag2.

    python -m kosmos2_ros.apps.bag_player runs/first --clock
    ros2 run kosmos2 bag_player runs/first --rate 0.5 --loop --ros-args -r /camera/image:=/front/image

The parameter `paused` can be set while it plays. One thread reads and publishes; the executor serves the
clock and the parameter.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock as ClockMessage

from kosmos2_core.errors import InputError
from kosmos2_io.bag_reader import BagReader, Recorded, Topic
from kosmos2_io.stamps import NS_PER_S, ns_of_s
from kosmos2_ros.apps.arguments import ROS_EPILOG, RosArgumentParser
from kosmos2_ros.messages import ROS, message_class
from kosmos2_ros.process import run

NAME: Final = "bag_player"
CLOCK_HZ: Final = 100.0
ACKNOWLEDGE_TIMEOUT_S: Final = 2.0  # for reliable subscribers to receive the last messages
END_TIMEOUT_S: Final = 1.0
ALIGNMENT: Final = 4  # bytes
QUEUE_DEPTH: Final = 10
MAX_LATCHED: Final = 1000
# QoS values as rosbag2 writes them: as numbers before version 9 of its metadata, as names since then.
BEST_EFFORT: Final = ("2", "best_effort")
TRANSIENT_LOCAL: Final = ("1", "transient_local")


class BagTime:
    """The time of a recording while it is played: it runs at some rate, and stands still while paused.

    Args:
        rate: How fast it runs; 1 is real time.
        start_ns: The time until `start` is called.
        paused: Stand still after the start.
        clock_s: A monotonic clock.
    """

    def __init__(
        self,
        rate: float,
        start_ns: int,
        paused: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._clock_s = rate, clock_s
        self._reference_ns, self._reference_s = start_ns, clock_s()  # bag time and clock of the last change
        self._started, self._paused, self._ended = False, paused, False
        self._changed = threading.Condition()

    def start(self, time_ns: int) -> None:
        """Set the time and let it run."""
        with self._changed:
            self._reference_ns, self._reference_s, self._started = time_ns, self._clock_s(), True
            self._changed.notify_all()

    def now_ns(self) -> int:
        """Return the time of the recording."""
        with self._changed:
            return self._now_ns()

    def pause(self, paused: bool) -> None:
        """Stop the time, or let it run again."""
        with self._changed:
            self._reference_ns, self._reference_s = self._now_ns(), self._clock_s()
            self._paused = paused
            self._changed.notify_all()

    def end(self) -> None:
        """Wake everything that waits; `wait_until` returns False from now on."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_until(self, time_ns: int) -> bool:
        """Wait for a time; return False if `end` was called first."""
        with self._changed:
            while not self._ended:
                missing_s = (time_ns - self._now_ns()) / NS_PER_S / self._rate
                if missing_s <= 0:
                    return True
                self._changed.wait(missing_s if self._runs else None)
            return False

    @property
    def _runs(self) -> bool:
        return self._started and not self._paused

    def _now_ns(self) -> int:
        if not self._runs:
            return self._reference_ns
        return self._reference_ns + ns_of_s((self._clock_s() - self._reference_s) * self._rate)


def recorded_qos(topic: Topic) -> QoSProfile:
    """Return the QoS that the recorded publishers of a topic offered.

    If they differed, the profile suits the subscribers of each. A latched topic keeps all of its messages.
    """
    offered = _offered_profiles(topic.qos)
    best_effort = offered and all(profile.get("reliability") in BEST_EFFORT for profile in offered)
    latched = any(profile.get("durability") in TRANSIENT_LOCAL for profile in offered)
    return QoSProfile(
        depth=min(max(topic.count, 1), MAX_LATCHED) if latched else QUEUE_DEPTH,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _offered_profiles(text: str) -> list[dict[str, str]]:
    try:
        profiles = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return []
    if not isinstance(profiles, list):
        return []
    return [profile for profile in profiles if isinstance(profile, dict)]


@dataclass(frozen=True)
class PlayOptions:
    """Options of the player.

    Args:
        bags: Folders or files of one recording.
        rate: Speed; 1 is as recorded.
        loop: Start again at the end.
        clock_hz: Rate of /clock; 0: no clock.
        paused: Start paused.
        from_s: Start this many seconds after the beginning.
        topics: Topics to play; none: all.
        exclude_topics: Topics not to play, even if the bag has them; others may be named too.
        wait_for: Topics that need a subscriber before playing begins.
    """

    bags: tuple[Path, ...]
    rate: float = 1.0
    loop: bool = False
    clock_hz: float = 0.0
    paused: bool = False
    from_s: float = 0.0
    topics: tuple[str, ...] = ()
    wait_for: tuple[str, ...] = ()
    exclude_topics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1000:
            raise InputError(f"--rate {self.rate:g}: it must be above 0 and at most 1000; 1 is as recorded.")
        if not 0 <= self.clock_hz <= 1000:
            raise InputError(f"--clock {self.clock_hz:g}: it must be from 1 to 1000, in Hz.")
        if not self.from_s >= 0:
            raise InputError(
                f"--from {self.from_s:g}: it must be 0 or more, in seconds from the bag's start."
            )


class BagPlayer(Node):
    """Plays when `play` is called, and ends the process afterwards.

    Args:
        options: Bags, topics, speed and clock.
        node_options: Passed on to rclpy's node.

    Raises:
        InputError: The bag cannot be read, or has nothing that can be played.
    """

    def __init__(self, options: PlayOptions, **node_options: Any) -> None:
        super().__init__(NAME, **node_options)
        self.options, self.sent = options, 0
        self.bag = BagReader(options.bags)
        self._start_ns = self._first_ns()
        self.time = BagTime(options.rate, self._start_ns, options.paused)
        self._send_lock, self._ended, self._done = threading.Lock(), threading.Event(), threading.Event()
        self._subscribed = {self._topic_in_bag(topic): threading.Event() for topic in options.wait_for}
        self._compatible: dict[str, bool] = {}  # by topic: this ROS reads its messages as the robot's did
        self._publishers_of = {
            topic.name: publisher for topic in self._chosen_topics() if (publisher := self._advertise(topic))
        }
        if not self._publishers_of:
            raise InputError(
                "this ROS knows no message type of the bag: source the workspace that defines them."
                if self._chosen_topics()
                else "--exclude-topics leaves no topic of the bag to play."
            )
        self._declare_paused()
        self._clock_publisher = None
        if options.clock_hz:
            self._clock_publisher = self.create_publisher(ClockMessage, "/clock", 10)
            steady = Clock(clock_type=ClockType.STEADY_TIME)  # independent of the node's use_sim_time
            self.create_timer(1 / options.clock_hz, self._on_clock_timer, clock=steady)

    def play(self) -> None:
        """Play to the end, or until the node is closed; then end the process."""
        try:
            if all(subscribed.wait() for subscribed in self._subscribed.values()):
                self._play()
            self._log_summary()
        finally:
            self.bag.close()
            self._done.set()
            os.kill(os.getpid(), signal.SIGTERM)  # ends the process the usual way

    def close(self) -> None:
        """Stop playing."""
        self.time.end()
        with self._send_lock:
            self._ended.set()
        for subscribed in self._subscribed.values():
            subscribed.set()
        self._done.wait(END_TIMEOUT_S)  # so that unpacked temporary files are removed

    def _play(self) -> None:
        while not self._ended.is_set():
            self.time.start(self._start_ns)
            for recorded in self._latched_before_start():
                self._send(recorded)
            for recorded in self.bag.messages(self._publishers_of.keys(), self._start_ns):
                if not self.time.wait_until(recorded.stamp_ns):
                    return
                self._send(recorded)
            if not self.options.loop:
                break
        for publisher in self._publishers_of.values():
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_TIMEOUT_S))

    def _latched_before_start(self) -> Iterator[Recorded]:
        """Return the latched messages that were valid when the played part begins."""
        latched = [
            topic
            for topic, publisher in self._publishers_of.items()
            if publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        ]
        return self.bag.messages(latched, None, self._start_ns - 1) if latched else iter(())

    def _send(self, recorded: Recorded) -> None:
        with self._send_lock:
            if self._ended.is_set() or not self._is_compatible(recorded):
                return
            self._publish_clock()  # before each message too, so that none is from the future
            self._publishers_of[recorded.topic].publish(recorded.data)
            self.sent += 1

    def _is_compatible(self, recorded: Recorded) -> bool:
        """Return True if this ROS reads the topic's bytes as the robot's ROS did, by its first message."""
        if recorded.topic not in self._compatible:
            self._compatible[recorded.topic] = same_definition(recorded)
            if not self._compatible[recorded.topic]:
                self.get_logger().warning(
                    f"{recorded.topic} is not played: the robot has another version of {recorded.type}."
                )
        return self._compatible[recorded.topic]

    def _on_clock_timer(self) -> None:
        with self._send_lock:
            if not self._ended.is_set():
                self._publish_clock()

    def _publish_clock(self) -> None:
        if self._clock_publisher:
            now_ns = min(self.time.now_ns(), self.bag.end_ns)
            self._clock_publisher.publish(ClockMessage(clock=ROS.time(now_ns)))

    # Topics and messages of the bag.

    def _first_ns(self) -> int:
        first_ns = self.bag.start_ns + ns_of_s(self.options.from_s)
        if first_ns > self.bag.end_ns:
            length_s = (self.bag.end_ns - self.bag.start_ns) / NS_PER_S
            raise InputError(
                f"--from {self.options.from_s:g} is after the bag's end: the bag is {length_s:g} s long."
            )
        return first_ns

    def _topic_in_bag(self, topic: str) -> str:
        """Return a topic's name in the bag, where images may be recorded compressed."""
        for name in (topic, f"{topic}/compressed"):
            if name in self.bag.topics:
                return name
        raise InputError(f"the bag has no topic {topic}; it has {', '.join(sorted(self.bag.topics))}.")

    def _chosen_topics(self) -> list[Topic]:
        chosen = self.options.topics
        names = map(self._topic_in_bag, chosen) if chosen else sorted(self.bag.topics)
        return [self.bag.topics[name] for name in names if name not in self.options.exclude_topics]

    def _advertise(self, topic: Topic) -> Publisher | None:
        try:
            kind = message_class(topic.type)
        except (ImportError, AttributeError, ValueError):
            self.get_logger().warning(f"{topic.name} is not played: this ROS does not know {topic.type}.")
            return None
        events = PublisherEventCallbacks(matched=lambda _: self._note_subscriber(topic.name))
        return self.create_publisher(kind, topic.name, recorded_qos(topic), event_callbacks=events)

    def _note_subscriber(self, topic: str) -> None:
        if topic in self._subscribed:
            self._subscribed[topic].set()

    def _declare_paused(self) -> None:
        about = ParameterDescriptor(description="True: the bag's time stands still and nothing is published.")
        self.declare_parameter("paused", self.options.paused, about)
        self.add_on_set_parameters_callback(self._apply_parameters)

    def _apply_parameters(self, parameters: Sequence[Any]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "paused":
                self.time.pause(bool(parameter.value))
        return SetParametersResult(successful=True)

    def _log_summary(self) -> None:
        for sentence in self.bag.missing:
            self.get_logger().warning(sentence)
        self.get_logger().info(f"{self.sent:,} messages played")


def same_definition(recorded: Recorded) -> bool:
    """Return True if a message survives deserialization and serialization by this ROS."""
    try:
        again = serialize_message(deserialize_message(recorded.data, message_class(recorded.type)))
    except Exception:  # middlewares raise exceptions of their own
        return False
    return abs(len(again) - len(recorded.data)) < ALIGNMENT  # some middlewares pad the end


def make_parser() -> RosArgumentParser:
    """Return the parser of the command line."""
    parser = RosArgumentParser(prog=NAME, description="Play a recording.", epilog=ROS_EPILOG)
    add = parser.add_argument
    add("bags", nargs="+", type=Path, metavar="BAG", help="folders or files of one recording")
    add("--rate", type=float, default=1.0, metavar="R", help="speed (default: 1, as recorded)")
    add("--loop", action="store_true", help="start again at the end")
    clock = f"publish the bag's time on /clock at this rate (default: {CLOCK_HZ:g} Hz)"
    add("--clock", type=float, nargs="?", const=CLOCK_HZ, default=0.0, metavar="HZ", help=clock)
    paused = "start paused, until `ros2 param set /bag_player paused false`"
    add("--start-paused", action="store_true", help=paused)
    add("--from", type=float, default=0.0, dest="from_s", metavar="S", help="seconds to skip at the start")
    add("--topics", nargs="+", default=[], metavar="TOPIC", help="play only these topics")
    exclude = "leave out these topics"
    add("--exclude-topics", nargs="+", default=[], metavar="TOPIC", help=exclude)
    wait_for = "wait until each of these topics has a subscriber"
    add("--wait-for", nargs="+", default=[], metavar="TOPIC", help=wait_for)
    return parser


def options_of(arguments: argparse.Namespace) -> PlayOptions:
    """Return the validated options of a command line."""
    return PlayOptions(
        tuple(arguments.bags),
        arguments.rate,
        arguments.loop,
        arguments.clock,
        arguments.start_paused,
        arguments.from_s,
        tuple(arguments.topics),
        tuple(arguments.wait_for),
        tuple(arguments.exclude_topics),
    )


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Play a recording, then end the process."""
    parser = make_parser()
    try:
        options = options_of(parser.parse_without_ros(args))
    except InputError as error:
        parser.error(str(error).rstrip("."))
    run(NAME, partial(BagPlayer, options), BagPlayer.play, args)


if __name__ == "__main__":
    main()

"""A short-lived ROS node that reads the results of a running node `grounding`, for `watch` and `say`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from kosmos2.msg import GroundedFrame
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

RESULT_TYPE = "kosmos2/msg/GroundedFrame"
SPIN_S = 0.1  # how fast Ctrl-C and new topics are noticed
MAX_WAITING = 100  # results that wait to be read; older ones are dropped


@dataclass(frozen=True)
class NodeResult:
    """A result of the node.

    Args:
        topic: where it was published; each camera has its own topic.
        frame: the message.
    """

    topic: str
    frame: GroundedFrame


class ResultReader:
    """Reads the results of one node, from all of its cameras.

    Args:
        node: of this process, which has the subscriptions.
        target: full name of the node whose results are read, such as `/grounding`.
    """

    def __init__(self, node: Node, target: str) -> None:
        self.node, self.target = node, target
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._results: deque[NodeResult] = deque(maxlen=MAX_WAITING)
        self._topics: set[str] = set()

    def results(self, timeout_s: float) -> Iterator[NodeResult]:
        """Yield results as they arrive, until none arrives for `timeout_s`."""
        end_s = monotonic() + timeout_s
        while monotonic() < end_s:
            self._subscribe()
            self.spin()
            while self._results:
                yield self._results.popleft()
                end_s = monotonic() + timeout_s

    def first(self, condition: Callable[[NodeResult], bool], timeout_s: float) -> NodeResult | None:
        """Return the first result that meets the condition, or None if there is none within `timeout_s`."""
        end_s = monotonic() + timeout_s
        for result in self.results(timeout_s):
            if condition(result):
                return result
            if monotonic() > end_s:
                return None
        return None

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Process messages until the condition holds; return whether it did within `timeout_s`."""
        end_s = monotonic() + timeout_s
        while not condition():
            if monotonic() > end_s:
                return False
            self._subscribe()
            self.spin()
        return True

    def spin(self) -> None:
        """Process the messages that arrived."""
        with suppress(ExternalShutdownException):
            self._executor.spin_once(SPIN_S)

    def _subscribe(self) -> None:
        """Subscribe to result topics of the node that appeared since the last call."""
        for topic, types in self.node.get_topic_names_and_types():
            if topic.startswith(f"{self.target}/") and RESULT_TYPE in types and topic not in self._topics:
                self._topics.add(topic)
                self.node.create_subscription(GroundedFrame, topic, self._store(topic), 10)

    def _store(self, topic: str) -> Callable[[Any], None]:
        return lambda frame: self._results.append(NodeResult(topic, frame))

    def close(self) -> None:
        """Stop processing messages."""
        self._executor.shutdown()


@contextmanager
def open_reader(program: str, target: str) -> Iterator[ResultReader]:
    """Open a reader in a ROS context of its own, so that it works beside other nodes of the process.

    Args:
        program: name of this program; the node's name adds the process id.
        target: name of the node whose results are read.
    """
    context = Context()
    context.init(args=[])
    node = Node(f"kosmos2_{program}_{os.getpid()}", context=context, use_global_arguments=False)
    reader = ResultReader(node, "/" + target.strip("/"))
    try:
        yield reader
    finally:
        reader.close()
        node.destroy_node()
        context.try_shutdown()

"""One camera of the node: its images go into a mailbox, its answers out as messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kosmos2.msg import GroundedFrame
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import MarkerArray

from kosmos2_core.errors import InputError
from kosmos2_io.encodings import Fallback, check
from kosmos2_ros.depths import Depths
from kosmos2_ros.guard import guarded
from kosmos2_ros.mailbox import Frame, Mailbox
from kosmos2_ros.options import Options

RESULTS, DEPTHS = 10, 5


def hearing(depth: int) -> QoSProfile:
    """Hears reliable and best-effort cameras alike. A new one each time: rclpy writes overrides into it."""
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)


class Camera:
    """fallback: reads encodings that are not known here."""

    def __init__(
        self, node: LifecycleNode, name: str, options: Options, fallback: Fallback | None = None
    ) -> None:
        self.node, self.name, self._fallback = node, name, fallback
        self.prefix = f"{name}/" if name else ""
        compressed = options.image_transport == "compressed"
        self.topic = f"{self.prefix}image/compressed" if compressed else f"{self.prefix}image"
        self.kind: Any = CompressedImage if compressed else Image
        self.mailbox, self.depths = Mailbox(), Depths()
        self.info: Any = None
        self.depth_info: Any = None
        self.deaf_to: tuple[str, str] | None = (
            None  # a topic, and the policy by which a publisher does not fit
        )
        self._subscriptions: list[Any] = []
        self._publishers: list[Any] = []

    def advertise(self) -> None:
        self.grounding = self._publisher(GroundedFrame, "grounding")
        self.detections = self._publisher(Detection2DArray, "detections")
        self.detections_3d = self._publisher(Detection3DArray, "detections_3d")
        self.annotated = self._publisher(Image, "annotated")
        self.markers = self._publisher(MarkerArray, "markers")

    def _publisher(self, kind: Any, topic: str) -> Any:
        publisher = self.node.create_publisher(
            kind,
            f"~/{self.prefix}{topic}",
            RESULTS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._publishers.append(publisher)
        return publisher

    def listen(self, put: Callable[[Frame], None]) -> None:
        """put: takes each frame that may be an image."""
        self.deaf_to = None

        def store(message: Any) -> None:
            try:
                check(message, self._fallback)
            except InputError as error:
                self.mailbox.reject(str(error))
            else:
                put(Frame(self.name, message, stamp_ns(message)))

        group = MutuallyExclusiveCallbackGroup()
        self._subscribe(self.kind, self.topic, store, group, 1)
        self._subscribe(Image, f"{self.prefix}depth/image", self._depth, group, DEPTHS)
        self._subscribe(CameraInfo, f"{self.prefix}camera_info", self._info, group, 1)
        self._subscribe(CameraInfo, f"{self.prefix}depth/camera_info", self._depth_info, group, 1)

    def _subscribe(
        self, kind: Any, topic: str, callback: Callable[[Any], None], group: Any, newest: int
    ) -> None:
        self._subscriptions.append(
            self.node.create_subscription(
                kind,
                topic,
                guarded(self.node.get_logger(), callback),
                hearing(newest),
                callback_group=group,
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=partial(self._incompatible, topic)
                ),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        )

    def _depth(self, message: Any) -> None:
        self.depths.put(stamp_ns(message), message)

    def _info(self, message: Any) -> None:
        self.info = message

    def _depth_info(self, message: Any) -> None:
        self.depth_info = message

    def _incompatible(self, topic: str, event: Any) -> None:
        policy = str(event.last_policy_kind).rpartition(".")[2].lower()
        self.deaf_to = self.node.resolve_topic_name(topic), policy

    def silence(self) -> None:
        """Listen no more, and forget what was heard."""
        while self._subscriptions:
            self.node.destroy_subscription(self._subscriptions[-1])
            self._subscriptions.pop()  # only now: what failed to end is tried again
        self.depths.clear()
        self.mailbox.clear()

    def destroy(self) -> None:
        self.silence()
        while self._publishers:
            self.node.destroy_publisher(self._publishers[-1])
            self._publishers.pop()  # only now: what failed to end is tried again

    @property
    def publishers(self) -> int:
        """How many there are of its images."""
        return int(self.node.count_publishers(self.full_topic))

    @property
    def full_topic(self) -> str:
        """As it is after all renaming."""
        return str(self.node.resolve_topic_name(self.topic))


def stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)

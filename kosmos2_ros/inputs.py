"""The subscriptions of one camera. Their callbacks validate and store messages, and do nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from kosmos2_core.errors import InputError
from kosmos2_io.depth import check_depth
from kosmos2_io.images import Fallback, check_image
from kosmos2_io.stamps import header_ns
from kosmos2_ros.errors import callback_errors
from kosmos2_ros.frames import CameraData, CameraFrame, FrameStore

KEPT_DEPTHS = 5


def input_qos(depth: int) -> QoSProfile:
    """Return a profile that receives from reliable and best-effort publishers alike.

    It is a new object each time because rclpy writes QoS overrides into it.
    """
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)


class CameraInput:
    """Subscribes to the image, depth and calibration topics of one camera.

    Args:
        node: The node that owns the subscriptions.
        name: The camera's name in the parameter `cameras`; its topics begin with it unless it is empty.
        compressed: Subscribe to JPEG or PNG images instead of raw ones.
        frames: Where everything is stored.
        fallback: Reads image encodings that `kosmos2_io` does not know.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        compressed: bool,
        frames: FrameStore,
        fallback: Fallback | None = None,
    ) -> None:
        self.name = name
        self.incompatible: tuple[str, str] | None = None  # a topic, and the QoS policy that does not match
        self._node, self._frames, self._fallback = node, frames, fallback
        self._image_type: Any = CompressedImage if compressed else Image
        self._prefix = f"{name}/" if name else ""
        self._image_topic = f"{self._prefix}image{'/compressed' if compressed else ''}"
        self._subscriptions: list[Any] = []

    @property
    def data(self) -> CameraData:
        """The data that this camera sent."""
        return self._frames[self.name]

    def subscribe(self) -> None:
        """Start to listen."""
        self.incompatible = None
        group = MutuallyExclusiveCallbackGroup()
        data, prefix = self.data, self._prefix
        for message_type, topic, callback, depth in (
            (self._image_type, self._image_topic, self._store_image, 1),
            (Image, f"{prefix}depth/image", self._store_depth, KEPT_DEPTHS),
            (CameraInfo, f"{prefix}camera_info", data.calibration.store, 1),
            (CameraInfo, f"{prefix}depth/camera_info", data.depth_calibration.store, 1),
        ):
            self._subscribe(message_type, topic, callback, group, depth)

    def _subscribe(
        self, message_type: Any, topic: str, callback: Callable[[Any], None], group: Any, depth: int
    ) -> None:
        self._subscriptions.append(
            self._node.create_subscription(
                message_type,
                topic,
                callback_errors(self._node.get_logger(), callback),
                input_qos(depth),
                callback_group=group,
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=partial(self._note_incompatible, topic)
                ),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        )

    def _store_image(self, message: Any) -> None:
        try:
            check_image(message, self._fallback)
        except InputError as error:
            self.data.latest.reject(str(error))
        else:
            self._frames.store(CameraFrame(self.name, message, header_ns(message)))

    def _store_depth(self, message: Any) -> None:
        try:
            check_depth(message)
        except InputError as error:
            self.data.depths.reject(str(error))
        else:
            self.data.depths.store(header_ns(message), message)

    def _note_incompatible(self, topic: str, event: Any) -> None:
        policy = str(event.last_policy_kind).rpartition(".")[2].lower()
        self.incompatible = self._node.resolve_topic_name(topic), policy

    def unsubscribe(self) -> None:
        """Stop to listen, and forget what was received: the next activation must not use old data."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions[-1])
            self._subscriptions.pop()  # only now, so that a subscription that failed to end is tried again
        self.data.clear()

    @property
    def topics(self) -> list[str]:
        """The full names of the topics that it listens to, after remapping."""
        return [str(subscription.topic_name) for subscription in self._subscriptions]

    @property
    def publisher_count(self) -> int:
        """The number of publishers of the camera's images."""
        return int(self._node.count_publishers(self.image_topic))

    @property
    def image_topic(self) -> str:
        """The full name of the image topic, after all remapping."""
        return str(self._node.resolve_topic_name(self._image_topic))

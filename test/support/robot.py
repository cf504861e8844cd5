"""The other side of the node in tests: a robot that sends images and commands, calls services, listens.

Everything waits for an event, at most PATIENCE_S.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from kosmos2.action import Converse
from kosmos2.msg import GroundedFrame
from kosmos2.srv import Ask, Describe, Locate
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray

from kosmos2_ros.messages import ROS
from kosmos2_ros.process import Executor

PATIENCE_S = 60.0
POLL_S = 0.02
MEETING_S = 2.0  # until a call is repeated that may have come too early
KINDS = {"locate": Locate, "describe": Describe, "ask": Ask}
IMAGES = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Robot:
    def __init__(self, camera: str = "") -> None:
        self.node = rclpy.create_node(f"robot_{id(self) % 10_000}")
        self.prefix = f"{camera}/" if camera else ""
        self.heard: dict[str, list] = defaultdict(list)
        self.news = threading.Condition()
        self._publishers: dict[str, object] = {}
        self._clients = {
            name: self.node.create_client(kind, f"/grounding/{name}") for name, kind in KINDS.items()
        }
        self.converse = ActionClient(self.node, Converse, "/grounding/converse")
        self.listen(GroundedFrame, f"/grounding/{self.prefix}grounding", "grounding")
        self.listen(Detection2DArray, f"/grounding/{self.prefix}detections", "detections")
        self.listen(DiagnosticArray, "/diagnostics", "diagnostics")
        self._executor = Executor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(PATIENCE_S)
        self.node.destroy_node()

    def listen(self, kind, topic, name) -> None:
        def hear(message):
            with self.news:
                self.heard[name].append(message)
                self.news.notify_all()

        self.node.create_subscription(kind, topic, hear, 100)

    def listen_3d(self) -> None:
        self.listen(Detection3DArray, f"/grounding/{self.prefix}detections_3d", "detections_3d")

    def wait(self, name: str, is_it=lambda message: True, since: int = 0):
        """The first message after the first `since` ones that is it."""

        def found():
            return next((message for message in self.heard[name][since:] if is_it(message)), None)

        with self.news:
            assert self.news.wait_for(lambda: found() is not None, PATIENCE_S), f"no such message: {name}"
            return found()

    # What it sends.

    def publisher(self, kind, topic, qos=10):
        """Once somebody hears it."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(kind, topic, qos)
        publisher = self._publishers[topic]
        assert poll(publisher.get_subscription_count), f"nobody listens to {topic}"
        return publisher

    def header(self, number: int = 0, stamp_ns: int | None = None):
        now_ns = self.node.get_clock().now().nanoseconds
        return ROS.header(now_ns + number if stamp_ns is None else stamp_ns, "camera_optical_frame")

    def show(self, pixels=None, head=None):
        """An image; its message."""
        pixels = np.full((48, 64, 3), 90, np.uint8) if pixels is None else pixels
        message = ROS.image(head or self.header(), pixels)
        return self.send(message)

    def send(self, message):
        self.publisher(Image, f"/{self.prefix}image", IMAGES).publish(message)
        return message

    def command(self, text: str) -> None:
        self.publisher(String, "/grounding/command").publish(String(data=text))

    def show_scene(self, shot, depth="32FC1", with_transforms=True):
        """All that a depth camera sends of one moment."""
        head = self.header()
        height, width = shot.image.shape[:2]
        if with_transforms:
            transform = ROS.transform(ROS.header(_ns(head), "world"), head.frame_id, shot.pose)
            self.publisher(TFMessage, "/tf").publish(ROS.transforms(transform))
        info = ROS.camera_info(head, shot.camera, width, height)
        for topic in ("camera_info", "depth/camera_info"):
            self.publisher(CameraInfo, f"/{self.prefix}{topic}").publish(info)
        self.publisher(Image, f"/{self.prefix}depth/image").publish(
            ROS.depth_image(head, shot.depth_m, depth)
        )
        return self.show(shot.image, head)

    # What it asks.

    def call(self, service: str, **fields):
        client = self._clients[service]
        assert client.wait_for_service(PATIENCE_S)
        return self.result(client.call_async(KINDS[service].Request(**fields)))

    def meet_services(self):
        """Call each service until it answers: an answer is lost if the node does not know its caller yet."""
        for name, client in self._clients.items():
            assert client.wait_for_service(PATIENCE_S)
            answers = threading.Semaphore(0)
            for _ in range(int(PATIENCE_S / MEETING_S)):
                future = client.call_async(KINDS[name].Request())
                future.add_done_callback(lambda _, answers=answers: answers.release())
                if answers.acquire(timeout=MEETING_S):
                    break
            else:
                raise AssertionError(f"{name} does not answer")

    def result(self, future):
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE_S), "no answer"
        return future.result()

    def status(self, part: str, is_it=lambda status: True):
        """The next diagnostic status of a part that is it."""
        seen = len(self.heard["diagnostics"])

        def of(message):
            return next(
                (status for status in message.status if status.name.endswith(f": {part}") and is_it(status)),
                None,
            )

        return of(self.wait("diagnostics", of, seen))


def poll(is_so) -> bool:
    """Wait until something is so of which no event tells. Return whether it came to be."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / POLL_S)):
        if is_so():
            return True
        pause.wait(POLL_S)
    return False


def _ns(head) -> int:
    return head.stamp.sec * 10**9 + head.stamp.nanosec


def values(status) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}

"""Boxes in space and pictures take long to publish: tests that they do not hold up boxes in pixels."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from geometry_msgs.msg import TransformStamped
from robot import IMAGES
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from traffic import until
from vision_msgs.msg import Detection3DArray

from kosmos2_ros.messages import ROS

RATE_HZ = 30
WIDTH, HEIGHT = 64, 48
CAMERA = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
OK, WARN = b"\0", b"\1"


class DepthCameras:
    """Cameras that send images, depth and calibration; with a transform while `transforms` is set."""

    def __init__(self, robot, names):
        self.robot, self.names = robot, names
        self.transforms = True
        create = robot.node.create_publisher
        self._tf = create(TFMessage, "/tf", 10)
        self._images = {name: create(Image, f"/{name}/image", IMAGES) for name in names}
        self._depths = {name: create(Image, f"/{name}/depth/image", IMAGES) for name in names}
        self._infos = {name: create(CameraInfo, f"/{name}/camera_info", IMAGES) for name in names}

    @contextmanager
    def sending(self, seconds):
        """Send so many seconds of frames; yields an event that is set after the last one."""
        left, sent = int(seconds * RATE_HZ), threading.Event()

        def send():
            nonlocal left
            if left:
                left -= 1
                for name in self.names:
                    self._send(name)
            else:
                sent.set()

        timer = self.robot.node.create_timer(1 / RATE_HZ, send)
        try:
            yield sent
        finally:
            self.robot.node.destroy_timer(timer)

    def _send(self, name):
        header = ROS.header(self.robot.node.get_clock().now().nanoseconds, f"{name}_optical_frame")
        if self.transforms:
            transform: TransformStamped = ROS.transform(
                ROS.header(self.robot.node.get_clock().now().nanoseconds, "world"), header.frame_id, np.eye(4)
            )
            self._tf.publish(ROS.transforms(transform))
        self._infos[name].publish(ROS.camera_info(header, CAMERA, WIDTH, HEIGHT))
        self._depths[name].publish(
            ROS.depth_image(header, np.full((HEIGHT, WIDTH), 1.0, np.float32), "32FC1")
        )
        self._images[name].publish(ROS.image(header, np.full((HEIGHT, WIDTH, 3), 90, np.uint8)))


def processed(node, name):
    return node._frames[name].latest.counts.snapshot().outcomes["processed"]


def results(node, cameras, seconds):
    """Return how many frames of each camera are answered in so many seconds."""
    before = {name: processed(node, name) for name in cameras.names}
    with cameras.sending(seconds) as sent:
        assert sent.wait(seconds + 60)
    until(lambda: not any(node._frames[name].latest.counts.snapshot().in_flight for name in cameras.names))
    return {name: processed(node, name) - before[name] for name in cameras.names}


@pytest.mark.row(
    *(28, "transforms stop; somebody listens to one camera's boxes in space; two cameras at 30 Hz"),
    "boxes in pixels within 2 % of the undisturbed rate; WARN with the reason",
)
def test_missing_transforms_cost_no_boxes_in_pixels(serve, robot, count, record_property):
    seconds = count(60, 2)
    node = serve(command="the mug", cameras=["left", "right"], target_frame="world", tf_timeout_s=1.0)
    cameras = DepthCameras(robot, ["left", "right"])
    robot.listen(Detection3DArray, "/grounding/left/detections_3d", "detections_3d")
    with cameras.sending(60):
        robot.wait("detections_3d", lambda message: message.detections)
        robot.status("right", lambda status: status.level == OK)
    before = results(node, cameras, seconds)
    cameras.transforms = False
    during = results(node, cameras, seconds)
    with cameras.sending(60):
        warning = robot.status("left", lambda status: status.level == WARN)
        robot.status("right", lambda status: status.level == OK)
        cameras.transforms = True
        since = len(robot.heard["detections_3d"])
        robot.wait("detections_3d", lambda message: message.detections, since)
        robot.status("left", lambda status: status.level == OK)
    record_property("figure", f"{seconds} s: {before} frames with transforms, {during} without")
    assert "after the last pose" in warning.message
    for name in cameras.names:
        assert during[name] >= count(0.98, 0.5) * before[name]


@pytest.mark.row(
    *(40, "somebody listens to 4K pictures"),
    "boxes in pixels within 10 % of the undisturbed rate",
)
def test_pictures_cost_few_boxes_in_pixels(serve, robot, model, count, record_property):
    seconds, inference_s = count(20, 1), 0.05
    node = serve(command="the mug")
    pause = threading.Event()
    model.pass_ = lambda jobs: pause.wait(inference_s)
    large = np.full((2160, 3840, 3), 90, np.uint8)

    def answered():
        done = node._frames[""].latest.counts
        before, end = done.snapshot().outcomes["processed"], threading.Event()
        timer = robot.node.create_timer(0.2, lambda: robot.show(large))
        end.wait(seconds)
        robot.node.destroy_timer(timer)
        return done.snapshot().outcomes["processed"] - before

    robot.show(large)
    robot.wait("grounding")
    before = answered()
    robot.listen(Image, "/grounding/annotated", "annotated")
    during = answered()
    robot.wait("annotated")
    record_property("figure", f"{before} results in {seconds} s without a listener, {during} with one")
    assert during >= count(0.9, 0.4) * before

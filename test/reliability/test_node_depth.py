"""Depth images, calibrations and transforms that lie about themselves: bounded, and refused with a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from geometry_msgs.msg import TransformStamped
from processes import process
from robot import values
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from traffic import resident_kib, until

from kosmos2_io.transforms import MAX_DISTANCE_M
from kosmos2_ros.errors import Code
from kosmos2_ros.messages import ROS
from kosmos2_sim.tabletop import Tabletop

# Row 38.


@pytest.fixture(scope="module")
def shot():
    with Tabletop(320, 240) as tabletop:
        return tabletop.shoot(3)


def shifted(x_m):
    pose = np.eye(4)
    pose[0, 3] = x_m
    return pose


ABSURD = {
    "a pose that is not finite": {"pose": shifted(math.inf)},
    "a pose of NaN": {"pose": shifted(math.nan)},
    "a pose 86,000 km away": {"pose": shifted(8.6e7)},
    "poses that add up to 86,000 km": {"pose": shifted(9e6), "steps": 10},
    "a depth camera 1 km beside the camera": {"offset": shifted(1000.0)},
    "a focal length that is not finite": {"focal": math.inf},
    "a focal length of a millionth": {"focal": 1e-6},
    "a principal point 1,000 km outside": {"centre": 1e9},
}


def show(robot, shot, pose=None, offset=None, focal=None, centre=None, steps=1):
    """Send what a depth camera sends of one moment, with something changed."""
    header = robot.header()
    frames = [*(f"step{number}" for number in range(1, steps)), header.frame_id]
    parents = ["world", *frames]
    links = [
        ROS.transform(ROS.header(stamp_of(header), parent), frame, pose if pose is not None else shot.pose)
        for parent, frame in zip(parents, frames, strict=False)
    ]
    depth_header = ROS.header(stamp_of(header), "depth_frame")
    links.append(
        ROS.transform(
            ROS.header(stamp_of(header), header.frame_id),
            "depth_frame",
            offset if offset is not None else np.eye(4),
        )
    )
    robot.publisher(TFMessage, "/tf").publish(ROS.transforms(*links))
    camera = shot.camera.copy()
    camera[0, 0] = camera[1, 1] = camera[0, 0] if focal is None else focal
    camera[0, 2] = camera[0, 2] if centre is None else centre
    height, width = shot.image.shape[:2]
    for topic in ("camera_info", "depth/camera_info"):
        robot.publisher(CameraInfo, f"/{topic}").publish(ROS.camera_info(header, camera, width, height))
    robot.publisher(Image, "/depth/image").publish(ROS.depth_image(depth_header, shot.depth_m, "32FC1"))
    return robot.show(shot.image, header)


def stamp_of(header):
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def locate(robot, shot, **changes):
    """Ask for boxes in space about such an image, until the node has received all of it."""
    while True:
        sent = show(robot, shot, **changes)
        answer = robot.call("locate", text="it", want_3d=True, not_before=sent.header.stamp)
        waiting = "within sync_slop_s" in answer.message or "camera_info has arrived" in answer.message
        late = answer.error == Code.NO_TRANSFORM and "after the last" in answer.message
        if answer.error not in (Code.NO_IMAGE, Code.STALE) and not waiting and not late:
            return answer


@pytest.mark.row(
    *(38, "poses, intrinsics and offsets that cannot be"),
    "each refused with its reason; no box farther than the transforms may reach",
)
@pytest.mark.parametrize("changes", ABSURD.values(), ids=ABSURD.keys())
def test_no_box_is_placed_by_numbers_that_cannot_be(serve, robot, model, shot, changes, record_property):
    model.boxes = (max(shot.things, key=lambda thing: thing.visible).box,)
    serve(target_frame="world", tf_timeout_s=1.0)
    answer = locate(robot, shot, **changes)
    record_property("figure", answer.message.rstrip("."))
    assert answer.error in (Code.NO_DEPTH, Code.NO_TRANSFORM)
    assert answer.message
    assert answer.detections.detections, "boxes in pixels are answered all the same"
    assert not answer.detections_3d.detections


def test_with_numbers_that_can_be_a_box_is_placed(serve, robot, model, shot):
    model.boxes = (max(shot.things, key=lambda thing: thing.visible).box,)
    serve(target_frame="world", tf_timeout_s=1.0)
    [placed] = locate(robot, shot).detections_3d.detections
    assert np.linalg.norm([placed.bbox.center.position.x, placed.bbox.center.position.y]) < MAX_DISTANCE_M


# Row 36.


@pytest.mark.row(
    *(36, "depth images of 1 x 1 pixel that carry 30 MiB; depth images of 15 MiB; 500 transforms at 100 Hz"),
    "memory grows by at most 256 MiB: 64 of depth images, about 50 of transforms, the rest buffers of DDS",
)
def test_floods_of_depth_and_transforms_stay_within_bounds(robot, count, record_property):
    with process("node_process.py", 0, 0.0, "--ros-args", "-p", "command:=the mug") as node:
        node.wait("active")
        answered(robot)
        depths = robot.publisher(Image, "/depth/image", 10)
        lying = Image(height=1, width=1, step=4, encoding="32FC1", data=bytes(30 * 2**20))
        large = Image(height=1920, width=2048, step=8192, encoding="32FC1", data=bytes(15 * 2**20))
        flood(robot, depths, (lying, large), 2)  # DDS makes room for messages of this size
        before_kib = resident_kib(node.popen.pid)
        flood(robot, depths, (lying, large), count(20, 8))
        floods = robot.publisher(TFMessage, "/tf", 100)
        for number in range(count(400, 50)):
            floods.publish(TFMessage(transforms=[link(number, frame) for frame in range(500)]))
        answered(robot)
        grown_mib = (resident_kib(node.popen.pid) - before_kib) / 1024
        status = values(robot.status("camera"))
    record_property("figure", f"{grown_mib:+.0f} MiB")
    assert grown_mib <= 256, status


def answered(robot):
    """Show images until one is answered: the first ones after a flood may be lost."""
    since = len(robot.heard["grounding"])
    until(lambda: robot.show() is None or len(robot.heard["grounding"]) > since)


def flood(robot, publisher, messages, times):
    for number in range(times):
        for message in messages:
            message.header = robot.header(number)
            publisher.publish(message)
            seen = len(robot.heard["diagnostics"])
            until(lambda seen=seen: len(robot.heard["diagnostics"]) > seen)


def link(number, frame):
    transform = TransformStamped(child_frame_id=f"frame_{frame}")
    transform.header.frame_id = "world"
    transform.header.stamp.sec, transform.header.stamp.nanosec = divmod(10**9 + number * 10**7, 10**9)
    transform.transform.rotation.w = 1.0
    return transform

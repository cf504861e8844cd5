"""The planner's examples, as a robot runs them: processes of their own between real topics."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from robot import PATIENCE_S  # noqa: E402
from vision_msgs.msg import (  # noqa: E402
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)
from visualization_msgs.msg import Marker  # noqa: E402

from kosmos2_ros.messages import ROS  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOPIC = "/grounding/detections_3d"


@contextmanager
def running(name, **parameters):
    """An example, until the test is over; it ends without a word."""
    options = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--ros-args", *options]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 0
    assert "Traceback" not in said


def detection(name, phrase, score, x_m, side_m=0.1):
    pose = ROS.pose((x_m, 0.2, 0.3), (0.0, 0.0, 0.0, 1.0))
    hypothesis = ObjectHypothesis(class_id=phrase, score=score)
    bbox = BoundingBox3D(center=pose, size=ROS.vector((side_m, 2 * side_m, 3 * side_m)))
    return Detection3D(id=name, results=[ObjectHypothesisWithPose(hypothesis=hypothesis)], bbox=bbox)


def send(robot, seconds, *found):
    message = Detection3DArray(header=ROS.header(seconds * 10**9, "world"), detections=list(found))
    robot.publisher(Detection3DArray, TOPIC).publish(message)


def send_until_heard(robot, name, *found):
    """The first answer: before it has found the test, an example talks to nobody."""
    while True:
        send(robot, 10, *found)
        with robot.news:
            if robot.news.wait_for(lambda: robot.heard[name], 0.2):
                return robot.heard[name][0]


def test_the_surest_of_a_class_is_picked_and_nothing_unsure(robot):
    robot.listen(PoseStamped, "/pick_pose", "picks")
    mug, sure = ("1/0/0", "the mug"), 0.9
    with running("pick_best", class_id="the mug", min_score=0.6):
        first = send_until_heard(
            robot,
            "picks",
            detection(*mug, 0.7, x_m=1.0),
            detection("1/0/1", "the mug", sure, x_m=2.0),
            detection("1/0/2", "the mug", math.nan, x_m=3.0),
            detection("1/1/0", "the bowl", 0.99, x_m=4.0),
        )
        assert (first.header.frame_id, first.header.stamp.sec) == ("world", 10)
        assert (first.pose.position.x, first.pose.orientation.w) == (2.0, 1.0)
        send(robot, 11, detection(*mug, 0.5, x_m=5.0))
        send(robot, 12, Detection3D(id="no hypothesis"), detection(*mug, sure, x_m=6.0))
        send(robot, 13, detection(*mug, sure, x_m=7.0))
        robot.wait("picks", lambda message: message.header.stamp.sec == 13)
    assert {message.pose.position.x for message in robot.heard["picks"]} == {2.0, 7.0}


def test_what_is_seen_becomes_an_object_and_what_is_not_seen_any_more_is_removed(robot):
    """MoveIt's messages where they are installed, markers elsewhere."""
    kind, topic = Marker, "/collision_markers"
    if find_spec("moveit_msgs"):
        from moveit_msgs.msg import CollisionObject as kind

        topic = "/collision_object"
    robot.listen(kind, topic, "objects")
    with running("collision_objects", min_score=0.6, margin_m=0.01, keep_s=1.5):
        mug, unsure = detection("1/0/0", "the mug", 0.9, x_m=1.0), detection("1/1/0", "a bowl", 0.5, x_m=2.0)
        first = told(send_until_heard(robot, "objects", mug, unsure))
        assert first == ("1/0/0", 10, "add", (1.0, 0.2, 0.3), pytest.approx((0.12, 0.22, 0.32)))
        bowl = detection("2/0/0", "a bowl", 0.8, x_m=2.0)
        send(robot, 11, bowl)
        send(robot, 12, bowl)
        robot.wait("objects", lambda message: told(message)[1] == 12 and told(message)[2] == "remove")
    heard = [told(message)[:3] for message in robot.heard["objects"]]
    assert heard[-3:] == [("2/0/0", 11, "add"), ("2/0/0", 12, "add"), ("1/0/0", 12, "remove")]
    assert {name for name, *_ in heard} == {"1/0/0", "2/0/0"}


def told(message):
    """Of either kind: id, second, what to do, where, how large."""
    if isinstance(message, Marker):
        name, position = message.ns, message.pose.position
        doing = {Marker.ADD: "add", Marker.DELETE: "remove"}[message.action]
        sides = (message.scale.x, message.scale.y, message.scale.z)
    else:
        name, doing = message.id, {message.ADD: "add", message.REMOVE: "remove"}[message.operation]
        position = message.primitive_poses[0].position if message.primitive_poses else message.pose.position
        sides = tuple(message.primitives[0].dimensions) if message.primitives else ()
    return name, message.header.stamp.sec, doing, (position.x, position.y, position.z), sides

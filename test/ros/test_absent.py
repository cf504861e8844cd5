"""An object that is not there, asked of the shipped model by every way a robot can ask: it is not found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
pytest.importorskip("mujoco", reason="this environment was set up without the simulation")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from robot import MEETING_S, PATIENCE_S  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from kosmos2_ros.errors import Code  # noqa: E402
from kosmos2_ros.node import load_engine  # noqa: E402
from kosmos2_sim.tabletop import Tabletop  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PRESENT, ABSENT = "the mug", "the banana"


@pytest.fixture(scope="module")
def shot():
    with Tabletop(320, 240) as tabletop:
        shot = tabletop.shoot(3, "standard")
    shapes = [thing.shape for thing in shot.things if thing.box]
    assert "mug" in shapes
    assert "banana" not in shapes
    return shot


@contextmanager
def planner(name, **parameters):
    """An example planner as a process of its own."""
    options = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--ros-args", *options]
    with subprocess.Popen(command, env=os.environ) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)


def answer_to(robot, shot, text):
    """Give a command; its phrases, 2D and 3D boxes for one image."""
    robot.command(text)
    frame = solid = None
    while not (frame and frame.text == text and solid):
        since = len(robot.heard["grounding"])
        robot.show_scene(shot)
        frame = robot.wait("grounding", since=since)
        solid = of_image(robot, "detections_3d", frame)
    robot.wait("detections", lambda message: message.header.stamp == frame.header.stamp)
    return frame, of_image(robot, "detections", frame), solid


def stamp_of(message):
    """Return the time of the image that a message is about."""
    return message.header.stamp.sec, message.header.stamp.nanosec


def meet_planners(robot, shot, *names):
    """Show an object that is there until all planners have acted on it."""
    robot.command(PRESENT)
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / MEETING_S)):
        if all(robot.heard[name] for name in names):
            return
        robot.show_scene(shot)
        pause.wait(MEETING_S)
    raise AssertionError(f"one of them does not act: {', '.join(names)}")


def of_image(robot, name, frame):
    """The newest message about the same image, if it has come."""
    found = [message for message in robot.heard[name] if message.header.stamp == frame.header.stamp]
    return found[-1] if found else None


def test_an_absent_object_is_not_found_by_any_way(serve, robot, shot):
    serve(load=load_engine, model=str(ROOT / "models/tabletop-tiny"), target_frame="world")
    robot.listen_3d()
    robot.listen(PoseStamped, "/pick_pose", "picks")
    robot.listen(Marker, "/collision_markers", "obstacles")
    acts = ["picks"] if find_spec("moveit_msgs") else ["picks", "obstacles"]
    with planner("pick_best", min_score=0.0), planner("collision_objects", min_score=0.0):
        meet_planners(robot, shot, *acts)
        frame, flat, solid = answer_to(robot, shot, ABSENT)
        assert frame.phrases[0].phrase == ABSENT
        assert len(frame.phrases[0].boxes) == len(flat.detections) == len(solid.detections) == 0
        assert 0 < frame.phrases[0].presence < 0.5
        assert frame.markdown == f"[{ABSENT}]()"
        assert solid.header.frame_id == "world"

        response = robot.call("locate", text=ABSENT, want_3d=True)
        assert (response.error, response.message) == (Code.OK, "")
        assert len(response.detections.detections) == len(response.detections_3d.detections) == 0

        frame, flat, solid = answer_to(robot, shot, PRESENT)
        assert len(flat.detections) == len(solid.detections) == 1
        for name in acts:
            robot.wait(name, lambda act: stamp_of(act) == stamp_of(solid))
    absent = {stamp_of(frame) for frame in robot.heard["grounding"] if frame.text == ABSENT}
    assert not absent & {stamp_of(pose) for pose in robot.heard["picks"]}
    assert not absent & {stamp_of(box) for box in robot.heard["obstacles"] if box.action == Marker.ADD}

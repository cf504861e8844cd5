"""A robot's workspace: colcon finds one package, builds it, and a planner builds on its messages."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(1800)]
rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

ROOT = Path(__file__).resolve().parents[2]
NOT_CLONED = shutil.ignore_patterns(".*", "build", "install", "log", "out", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def workspace(robot_ros, tmp_path_factory):
    """An ordinary workspace with a clone in src, built the ordinary way."""
    workspace = tmp_path_factory.mktemp("robot_ws")
    shutil.copytree(ROOT, workspace / "src/any_name", ignore=NOT_CLONED)
    robot_ros.run("colcon build", workspace)
    return workspace


@pytest.fixture(scope="module")
def planner(robot_ros, workspace, tmp_path_factory):
    """The workspace of somebody else's planner, built on top."""
    planner = tmp_path_factory.mktemp("planner_ws")
    shutil.copytree(ROOT / "test/package/planner", planner / "src/example_planner")
    robot_ros.run(f"source {workspace}/install/setup.bash && colcon build", planner)
    return planner


def test_colcon_sees_exactly_one_package(robot_ros, workspace):
    assert robot_ros.run("colcon list --names-only", workspace).stdout.split() == ["kosmos2"]


def test_the_overlay_has_its_own_copy_of_the_python_packages(robot_ros, workspace):
    code = "import kosmos2_core, kosmos2_ros, kosmos2.srv; print(kosmos2_core.__file__)"
    printed = robot_ros.run(
        f"source install/setup.bash && cd / && {sys.executable} -c {shlex.quote(code)}", workspace
    ).stdout
    assert Path(printed.strip()).is_relative_to(workspace / "install")


def test_ros2_run_finds_the_command_in_either_kind_of_overlay(robot_ros, workspace):
    """ros2 looks for executable files below lib/kosmos2; a link to one without that bit is none."""
    for overlay in (workspace / "install", ROOT / "install"):
        entry = overlay / "kosmos2/lib/kosmos2/kosmos2"
        assert os.access(entry, os.X_OK)
        printed = robot_ros.run(f"source {overlay}/setup.bash && {entry} --version", workspace).stdout
        assert printed.startswith("kosmos2 ")


def test_ros2_run_uses_an_interpreter_that_has_torch(robot_ros, workspace):
    """ros2 starts the entry with the system's Python, here one without torch."""
    bare = workspace / "bare"
    subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    entry = "install/kosmos2/lib/kosmos2/kosmos2 --version"
    start = f"source install/setup.bash && env -u VIRTUAL_ENV {{}} PATH={bare}/bin:/usr/bin:/bin {entry}"

    python, environment = shlex.quote(sys.executable), shlex.quote(sys.prefix)
    for has_it in (f"KOSMOS2_PYTHON={python}", f"VIRTUAL_ENV={environment}"):
        assert robot_ros.run(start.format(has_it), workspace).stdout.startswith("kosmos2 ")

    missing = robot_ros.run(start.format(""), workspace, exit_code=2)
    assert missing.stderr.count("\n") == 1
    assert "no Python with torch" in missing.stderr
    assert f"`make setup` in {workspace}/src/any_name" in missing.stderr


def test_a_planner_in_cpp_builds_on_the_messages(robot_ros, planner):
    printed = robot_ros.run(
        "source install/setup.bash && install/example_planner/lib/example_planner/pick_best", planner
    )
    assert printed.stdout == "the red mug 0.9\n"


def test_a_planner_in_python_answers_a_grounded_frame(robot_ros, planner):
    """The planner runs in its overlay; the frame comes from here, by DDS."""
    talk = """
import rclpy
from example_planner.msg import PickTarget
from kosmos2.msg import Box, GroundedFrame, GroundedPhrase
from rclpy.qos import DurabilityPolicy, QoSProfile
kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
rclpy.init()
node = rclpy.create_node("camera_side")
chosen = rclpy.task.Future()
node.create_subscription(PickTarget, "target", chosen.set_result, kept)
frame = GroundedFrame(phrases=[
    GroundedPhrase(phrase="the cup"),
    GroundedPhrase(phrase="the bowl", boxes=[Box(score=0.4)]),
    GroundedPhrase(phrase="the red mug", boxes=[Box(score=0.9)])])
node.create_publisher(GroundedFrame, "grounding", kept).publish(frame)
rclpy.spin_until_future_complete(node, chosen, timeout_sec=60)
print(chosen.result().target.phrase)
"""
    script = f"{shlex.quote(sys.executable)} install/example_planner/lib/example_planner/pick_best.py"
    done = robot_ros.run(
        f"source install/setup.bash && {script} & source install/setup.bash &&"
        f" {shlex.quote(sys.executable)} -c {shlex.quote(talk)} && wait $!",
        planner,
    )
    assert done.stdout == "the red mug\n"

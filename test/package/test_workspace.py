"""A robot's workspace: colcon finds one package, builds it, and a planner builds on its messages."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

ROOT = Path(__file__).resolve().parents[2]
NOT_CLONED = shutil.ignore_patterns(".*", "build", "install", "log", "out", "*.egg-info", "__pycache__")
PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


def robot_environ() -> dict[str, str]:
    """This environment as a robot has it: ROS 2 with vision_msgs, and no kosmos2 yet."""
    environ = dict(os.environ)
    for name in PATHS:
        kept = [part for part in environ.get(name, "").split(":") if "install/kosmos2" not in part]
        environ[name] = ":".join(part for part in kept if part != str(ROOT / "install"))
    return environ


def run(command: str, cwd: Path, exit_code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=robot_environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """An ordinary workspace with a clone in src, built the ordinary way."""
    workspace = tmp_path_factory.mktemp("robot_ws")
    shutil.copytree(ROOT, workspace / "src/any_name", ignore=NOT_CLONED)
    run("colcon build", workspace)
    return workspace


@pytest.fixture(scope="module")
def planner(workspace, tmp_path_factory):
    """The workspace of somebody else's planner, built on top."""
    planner = tmp_path_factory.mktemp("planner_ws")
    shutil.copytree(ROOT / "test/package/planner", planner / "src/example_planner")
    run(f"source {workspace}/install/setup.bash && colcon build", planner)
    return planner


def test_colcon_sees_exactly_one_package(workspace):
    assert run("colcon list --names-only", workspace).stdout.split() == ["kosmos2"]


def test_the_overlay_has_its_own_copy_of_the_python_packages(workspace):
    code = "import kosmos2_core, kosmos2_ros, kosmos2.srv; print(kosmos2_core.__file__)"
    printed = run(
        f"source install/setup.bash && cd / && {sys.executable} -c {shlex.quote(code)}", workspace
    ).stdout
    assert Path(printed.strip()).is_relative_to(workspace / "install")


def test_ros2_run_finds_the_command_in_either_kind_of_overlay(workspace):
    """ros2 looks for executable files below lib/kosmos2; a link to one without that bit is none."""
    for overlay in (workspace / "install", ROOT / "install"):
        entry = overlay / "kosmos2/lib/kosmos2/kosmos2"
        assert os.access(entry, os.X_OK)
        printed = run(f"source {overlay}/setup.bash && {entry} --version", workspace).stdout
        assert printed.startswith("kosmos2 ")


def test_ros2_run_uses_an_interpreter_that_has_torch(workspace):
    """ros2 starts the entry with the system's Python, here one without torch."""
    bare = workspace / "bare"
    subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    entry = "install/kosmos2/lib/kosmos2/kosmos2 --version"
    start = f"source install/setup.bash && env -u VIRTUAL_ENV {{}} PATH={bare}/bin:/usr/bin:/bin {entry}"

    python, environment = shlex.quote(sys.executable), shlex.quote(sys.prefix)
    for has_it in (f"KOSMOS2_PYTHON={python}", f"VIRTUAL_ENV={environment}"):
        assert run(start.format(has_it), workspace).stdout.startswith("kosmos2 ")

    missing = run(start.format(""), workspace, exit_code=2)
    assert missing.stderr.count("\n") == 1
    assert "no Python with torch" in missing.stderr
    assert f"`make setup` in {workspace}/src/any_name" in missing.stderr


def test_a_planner_in_cpp_builds_on_the_messages(planner):
    printed = run(
        "source install/setup.bash && install/example_planner/lib/example_planner/pick_best", planner
    )
    assert printed.stdout == "the red mug 0.9\n"


def test_a_planner_in_python_answers_a_grounded_frame(planner):
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
    done = run(
        f"source install/setup.bash && {script} & source install/setup.bash &&"
        f" {shlex.quote(sys.executable)} -c {shlex.quote(talk)} && wait $!",
        planner,
    )
    assert done.stdout == "the red mug\n"

"""The node and the camera as processes that are ended and killed, whatever they are at."""

from __future__ import annotations

import os
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from processes import PATIENCE_S, process
from traffic import stamp_ns, traffic

LONG_S = 600.0
MUG = ("--ros-args", "-p", "command:=the mug")

# Rows 16 and 17.

FULL_ONLY = pytest.mark.skipif(
    os.environ.get("KOSMOS2_RELIABILITY") != "full", reason="a minute: with `make reliability`"
)


@FULL_ONLY
@pytest.mark.row(
    *(16, "the node killed (`kill -9`) and started again, under 10 Hz of images"),
    "20 kills; the first answer within the load time + 5 s",
)
def test_a_node_that_was_killed_answers_again(robot, count, record_property):
    kills, waits_s = count(20, 1), []
    with traffic(robot, 10):
        for _ in range(kills + 1):
            began_ns = robot.node.get_clock().now().nanoseconds
            with process("node_process.py", 0, 0.02, *MUG) as node:
                active_s = node.wait("active")
                robot.wait("grounding", lambda message, since=began_ns: stamp_ns(message) > since)
                waits_s.append(time.monotonic() - active_s)
    slowest_s = max(waits_s[1:])
    record_property("figure", f"{kills} kills, the first answer {slowest_s:.2f} s after loading at most")
    assert slowest_s <= count(5, PATIENCE_S)


@FULL_ONLY
@pytest.mark.row(
    *(17, "the camera killed (`kill -9`) and started again"),
    "20 kills; STALE on /diagnostics within 2 s; answers again within 4 s",
)
def test_a_camera_that_was_killed_is_told_of_and_heard_again(serve, robot, count, record_property):
    serve(command="the mug")
    kills, stale_s, again_s = count(20, 1), [], []
    for number in range(kills + 1):
        since = len(robot.heard["grounding"])
        with process("camera_process.py") as camera:
            sending_s = camera.wait("sending")
            robot.wait("grounding", since=since)
            again_s.append(time.monotonic() - sending_s)
            robot.status("camera", lambda status: "arrive" in status.message)
            if number == kills:
                break
            killed_s = camera.kill()
            robot.status("camera", lambda status: "stale" in status.message)
            stale_s.append(time.monotonic() - killed_s)
    slowest = max(stale_s), max(again_s[1:])
    record_property(
        "figure", f"{kills} kills, stale after {slowest[0]:.2f} s, answers after {slowest[1]:.2f} s at most"
    )
    assert slowest[0] <= count(2, PATIENCE_S)
    assert slowest[1] <= count(4, PATIENCE_S)


# Row 18.

ARGUMENTS = {"idle": (0, 0), "in inference": (0, LONG_S, *MUG), "in loading": (LONG_S, 0)}
WORDS = {"idle": "active", "in inference": "running", "in loading": "loading"}


@pytest.mark.row(18, "SIGINT and SIGTERM: idle, in inference, in loading", "60 runs; exit 0 within 2 s")
@pytest.mark.parametrize("state", ARGUMENTS)
def test_a_node_ends_when_it_is_told_to(robot, state, count, record_property):
    runs, slowest_s = count(20, 1), 0.0
    first = list(ARGUMENTS).index(state)
    for number in range(first, first + runs):
        with traffic(robot, 10), process("node_process.py", *ARGUMENTS[state]) as node:
            node.wait(WORDS[state])
            status, ended_s = node.send((signal.SIGINT, signal.SIGTERM)[number % 2])
            assert status == 0
            slowest_s = max(slowest_s, ended_s)
    record_property("figure", f"{runs} runs {state}, {slowest_s:.2f} s at most")
    assert slowest_s <= count(2, PATIENCE_S)

"""Cameras of all kinds: slow ones, many, flooding ones, ones that change or stand still for a while."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from processes import process
from robot import IMAGES
from sensor_msgs.msg import Image
from traffic import counts_of, meet, until

from kosmos2_ros.messages import ROS

OK, WARN = b"\0", b"\1"
GREY = np.full((48, 64, 3), 90, np.uint8)
INFERENCE_S = 0.05


def sleeping(model):
    """Let each inference take INFERENCE_S."""
    model.pass_ = lambda jobs: time.sleep(INFERENCE_S)


@contextmanager
def timer(robot, rate_hz, call):
    handle = robot.node.create_timer(1 / rate_hz, call)
    try:
        yield
    finally:
        robot.node.destroy_timer(handle)


# Row 41.


@pytest.mark.row(
    *(41, "a camera that sends rarely"),
    "no warning between two of its images; a warning when it stops",
)
def test_a_slow_camera_is_not_called_stale(serve, robot, count, record_property):
    interval_s, frames = count(5.0, 2.0), count(8, 4)
    node = serve(command="the mug")
    robot.show()  # the first to be received may be lost

    def received():
        return counts_of(node).snapshot().received

    with timer(robot, 1 / interval_s, robot.show):
        until(lambda: received() >= 2)
        robot.status("camera", lambda status: status.level == OK)
        since, begun = len(robot.heard["diagnostics"]), received()
        until(lambda: received() >= begun + frames)
    levels = [
        status.level
        for message in robot.heard["diagnostics"][since:]
        for status in message.status
        if status.name.endswith(": camera")
    ]
    record_property(
        "figure", f"an image in {interval_s:g} s: {levels.count(WARN)} of {len(levels)} reports warn"
    )
    assert set(levels) == {OK}
    assert "stale" in robot.status("camera", lambda status: status.level == WARN).message


# Row 42.


@pytest.mark.row(
    *(42, "8 cameras at 15 Hz that share a model of 50 ms"),
    "residual 0; each camera has at least 80 % of the results of any other",
)
def test_eight_cameras_share_the_model(serve, robot, model, count, record_property):
    names = [f"camera_{number}" for number in range(8)]
    node = serve(command="the mug", cameras=names)
    publishers = [robot.node.create_publisher(Image, f"/{name}/image", IMAGES) for name in names]
    sleeping(model)

    def send():
        for publisher in publishers:
            publisher.publish(ROS.image(robot.header(), GREY))

    def snapshots():
        return [node._frames[name].latest.counts.snapshot() for name in names]

    def processed():
        return [snapshot.outcomes["processed"] for snapshot in snapshots()]

    with timer(robot, 15, send):
        until(lambda: min(processed()))
        before, wanted = processed(), count(300, 15)
        until(lambda: max(processed()) - max(before) >= wanted)
    until(lambda: not any(snapshot.in_flight for snapshot in snapshots()))
    results = [now - then for now, then in zip(processed(), before, strict=True)]
    record_property("figure", f"{min(results)} to {max(results)} results of each camera")
    assert all(snapshot.residual == 0 for snapshot in snapshots())
    assert min(results) >= 0.8 * max(results)


# Row 43.

KINDS = [("rgb8", 3), ("bgr8", 3), ("mono8", 1), ("rgba8", 4)]


@pytest.mark.row(*(43, "size and encoding change in mid-stream"), "each image is answered in its own pixels")
def test_images_may_change_in_mid_stream(serve, robot, model, count, record_property):
    node, frames = serve(command="the mug"), count(500, 20)
    meet(node, robot)
    for number in range(frames):
        encoding, channels = KINDS[number % len(KINDS)]
        width, height = 64 + 16 * (number % 5), 48 + 8 * (number % 3)
        message = Image(
            header=robot.header(number),
            width=width,
            height=height,
            step=width * channels,
            encoding=encoding,
            data=bytes(width * height * channels),
        )
        robot.send(message)
        answer = robot.wait("grounding", lambda answer, sent=message: answer.header == sent.header)
        assert (answer.image_width, answer.image_height) == (width, height)
        [box] = answer.phrases[0].boxes
        assert (box.x_max, box.y_max) == (0.75 * width, height)
    record_property("figure", f"{frames} images of 4 encodings and 15 sizes")


# Row 44.


def results_in(node, seconds):
    """Return how many results there are in so many seconds."""
    before, pause = counts_of(node).snapshot().outcomes["processed"], threading.Event()
    pause.wait(seconds)
    return counts_of(node).snapshot().outcomes["processed"] - before


@pytest.mark.row(*(44, "images at 1 kHz into a model of 50 ms"), "at least 80 % of the undisturbed results")
@pytest.mark.parametrize("size_px", [(64, 48), (640, 480)], ids=["64x48", "640x480"])
def test_a_flood_of_images_costs_few_results(serve, robot, model, size_px, count, record_property):
    seconds, node = count(20, 1), serve(command="the mug")
    sleeping(model)
    results = []
    for rate_hz in (30, 1000):
        with process("camera_process.py", rate_hz, *size_px) as camera:
            camera.wait("sending")
            begun = counts_of(node).snapshot().received
            until(lambda begun=begun: counts_of(node).snapshot().received > begun + 3)
            received = counts_of(node).snapshot().received
            results.append(results_in(node, seconds))
            received = counts_of(node).snapshot().received - received
    record_property(
        "figure",
        f"{size_px[0]} x {size_px[1]}: {results[0]} results in {seconds} s at 30 Hz, {results[1]} when"
        f" {received / seconds:.0f} images arrive per second",
    )
    assert results[1] >= count(0.8, 0.3) * results[0]


# Row 45.


@pytest.mark.row(
    *(45, "the camera's process is stopped (SIGSTOP) and continued"),
    "a warning while it stands still; the next image is answered; residual 0",
)
def test_a_camera_may_stand_still(serve, robot, record_property):
    node = serve(command="the mug")
    with process("camera_process.py") as camera:
        camera.wait("sending")
        robot.status("camera", lambda status: status.level == OK)
        until(lambda: node._frames[""].latest.interval_s)
        camera.popen.send_signal(signal.SIGSTOP)
        assert "stale" in robot.status("camera", lambda status: status.level == WARN).message
        camera.popen.send_signal(signal.SIGCONT)
        robot.status("camera", lambda status: status.level == OK)
        done = counts_of(node).snapshot().outcomes["processed"]
        until(lambda: counts_of(node).snapshot().outcomes["processed"] > done + 3)
    until(lambda: not counts_of(node).snapshot().in_flight)
    assert counts_of(node).snapshot().residual == 0
    record_property("figure", "warned, and answered again")

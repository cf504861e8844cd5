"""Large images from another process, by best effort and with the middleware's profile.

`make reliability` lets the camera run at its own rate, as robots do, and needs an idle machine. `make test`
lets it wait for its subscriber: what is lost then was lost by the middleware, however busy the machine is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

HERE = Path(__file__)
PROFILE = HERE.parents[2] / "config" / "fastdds.xml"
SIZES = [(640, 480), (1280, 720)]
GREETING = "greeting"  # as in image_stream.py, which cannot be imported: it is a process
AHEAD = 4  # images that may be on their way; the shared memory of the profile holds 11 of the larger size
PATIENCE_S = 120.0


@pytest.fixture
def with_profile(monkeypatch):
    """By the name that this middleware reads."""
    name = "FASTRTPS" if os.environ.get("ROS_DISTRO") == "jazzy" else "FASTDDS"
    monkeypatch.setenv(f"{name}_DEFAULT_PROFILES_FILE", str(PROFILE))


@pytest.mark.row(
    *(2, "images of 640x480 and 1280x720 by best effort, with config/fastdds.xml"),
    "299 of 300 each",
)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_large_images_arrive_by_best_effort(with_profile, width, height, count, record_property):
    images = count(300, 60)
    came = len(heard(width, height, images, ahead=count(images, AHEAD)))
    record_property("figure", f"{came} of {images} of {width}x{height}")
    assert came >= images - 1


def heard(width, height, images, ahead):
    """The numbers of the images that came from another process."""
    numbers = []
    rclpy.init()
    node = rclpy.create_node("audience")
    last = rclpy.task.Future()

    def hear(image):
        assert len(image.data) == 3 * width * height
        process.stdin.write(b"\n")
        process.stdin.flush()
        if image.header.frame_id == GREETING:
            return
        numbers.append(image.header.stamp.sec)
        if numbers[-1] == images - 1:
            last.set_result(None)

    node.create_subscription(Image, "stream", hear, qos_profile_sensor_data)
    script = HERE.with_name("image_stream.py")
    command = [sys.executable, str(script), str(width), str(height), str(images), str(ahead)]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            rclpy.spin_until_future_complete(node, last, timeout_sec=PATIENCE_S)
            process.stdin.close()
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return numbers

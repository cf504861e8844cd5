"""What the node adds to the model's own time: image in to detection out, less the inference.

A camera's process sends 640x480 images at 30 Hz; the node is a process of its own whose model only sleeps.

    python test/bench/node.py
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

RATE_HZ, FRAMES, WARM_UP = 30.0, 600, 30
WIDTH, HEIGHT = 640, 480
INFERENCE_S = 0.02
HERE = Path(__file__)


class Sleeper:
    """A model whose time is known."""

    def run(self, jobs, decoding=None):
        sys.path.insert(0, str(HERE.parents[1] / "support"))
        from stand_in import answer

        time.sleep(INFERENCE_S)
        return [answer("the mug") for _ in jobs]

    def locate_in_parts(self, jobs):
        answers = self.run(jobs)
        yield
        return answers


def serve() -> None:
    from rclpy.parameter import Parameter

    from kosmos2_ros.apps.grounding import autostart
    from kosmos2_ros.node import GroundingNode
    from kosmos2_ros.process import run

    command = [Parameter("command", value="the mug")]
    run(
        "grounding",
        lambda: GroundingNode(lambda parameters: Sleeper(), parameter_overrides=command),
        autostart,
    )


def send() -> None:
    """Images, stamped when they are sent."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    from kosmos2_ros.messages import ROS

    rclpy.init()
    node = rclpy.create_node("bench_camera")
    publisher = node.create_publisher(Image, "/image", qos_profile_sensor_data)
    while not publisher.get_subscription_count():
        time.sleep(0.05)
    image = ROS.image(ROS.header(0, "camera"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    next_s = time.monotonic()
    while True:
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)
        next_s += 1 / RATE_HZ
        time.sleep(max(0.0, next_s - time.monotonic()))


def measure() -> np.ndarray:
    """Of each frame, the node's share of the time from its stamp to its detections here, in seconds."""
    import rclpy
    from kosmos2.msg import GroundedFrame
    from rclpy.executors import SingleThreadedExecutor
    from vision_msgs.msg import Detection2DArray

    rclpy.init()
    node = rclpy.create_node("bench_planner")
    arrived: dict[int, float] = {}
    spent: dict[int, float] = {}
    done = threading.Event()

    def detections(message):
        arrived.setdefault(_ns(message.header.stamp), node.get_clock().now().nanoseconds / 1e9)
        if len(arrived) >= FRAMES + WARM_UP:
            done.set()

    def frame(message):
        spent[_ns(message.header.stamp)] = message.inference_time.nanosec / 1e9

    node.create_subscription(Detection2DArray, "/grounding/detections", detections, 10)
    node.create_subscription(GroundedFrame, "/grounding/grounding", frame, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not done.is_set():
        executor.spin_once(timeout_sec=1.0)
    both = sorted(arrived.keys() & spent.keys())[WARM_UP:]
    return np.array([arrived[stamp] - stamp / 1e9 - spent[stamp] for stamp in both])


def _ns(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def main() -> None:
    os.environ |= {
        "ROS_DOMAIN_ID": str(random.randrange(1, 102)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    others = [subprocess.Popen([sys.executable, str(HERE), part]) for part in ("serve", "send")]
    try:
        overhead_ms = measure() * 1000
    finally:
        for process in others:
            process.send_signal(signal.SIGINT)
        for process in others:
            process.wait(10)
    p50, p95 = np.percentile(overhead_ms, (50, 95))
    size = f"{WIDTH}x{HEIGHT} at {RATE_HZ:g} Hz"
    print(f"{len(overhead_ms)} frames of {size}, a model of {INFERENCE_S * 1000:g} ms")
    print(f"the node adds {p50:.1f} ms (p50), {p95:.1f} ms (p95); asked for: 5 and 10")


if __name__ == "__main__":
    {"serve": serve, "send": send}.get(sys.argv[1] if sys.argv[1:] else "", main)()

"""Row 6: bytes from the network that are no message of their type.

They are given to rclpy in a process of its own, and published to the topics of the node's process. What they
may not do is end a process: a node dies of a crash in C++ without a word.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from processes import environment, process  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from robot import PATIENCE_S, values  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from kosmos2_ros.messages import ROS  # noqa: E402

ROW = (6, "payloads that are no message: cut, bits flipped, lying lengths; to rclpy and to the node",
       "10,000 each; no process ends, and the node answers the next good frame")  # fmt: skip
LENGTHS = (0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
GREY = np.full((48, 64, 3), 90, np.uint8)


def originals():
    """A good message of each type that the node subscribes to, by topic."""
    head = ROS.header(10**18, "camera")
    info = ROS.camera_info(head, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), 64, 48)
    pose = ROS.transform(head, "hand", np.eye(4))
    return {
        "/image": ROS.image(head, GREY),
        "/image/compressed": ROS.compressed_image(head, GREY),
        "/depth/image": ROS.depth_image(head, np.ones((48, 64), np.float32), "32FC1"),
        "/camera_info": info,
        "/depth/camera_info": info,
        "/tf": ROS.transforms(pose, pose),
        "/grounding/command": ROS.string("put the mug into the bowl"),
    }


def mutate(data, rng):
    """Cut it, flip bits, or let a length lie; mostly near the beginning, where lengths are."""
    damaged = bytearray(data)
    reach = min(len(damaged), 100)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(damaged[: rng.integers(len(damaged))])
    if kind == 1:
        for index in rng.integers(reach, size=rng.integers(1, 9)):
            damaged[index] ^= 1 << rng.integers(8)
    elif kind == 2:
        index = 4 * rng.integers(reach // 4)
        damaged[index : index + 4] = int(LENGTHS[rng.integers(len(LENGTHS))]).to_bytes(4, "little")
    else:
        damaged = bytearray(data[:4] + rng.bytes(rng.integers(200)))
    return bytes(damaged)


def payloads(number):
    """So many mutated payloads, as pairs of topic and bytes, the same in each run."""
    whole = [(topic, serialize_message(message)) for topic, message in originals().items()]
    for index in range(number):
        topic, data = whole[index % len(whole)]
        yield topic, mutate(data, np.random.default_rng(index))


def deserialize(number):
    """Give each payload to rclpy; return how many it took for a message."""
    kinds = {topic: type(message) for topic, message in originals().items()}
    taken = 0
    for topic, data in payloads(number):
        try:
            deserialize_message(data, kinds[topic])
            taken += 1
        except Exception:  # whatever it says: the process lives
            continue
    return taken


@pytest.mark.row(*ROW)
def test_no_payload_ends_a_process_that_reads_it(count, record_property):
    number = count(10_000, 2_000)
    command = [sys.executable, __file__, str(number)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    record_property("figure", f"{number:,} to rclpy, of which it refused {number - int(ended.stdout):,}")


@pytest.mark.row(*ROW)
@pytest.mark.timeout(1800)
def test_no_payload_ends_the_node(robot, count, record_property):
    number, together = count(10_000, 1_000), 50
    kinds = {"/image": Image, "/image/compressed": CompressedImage, "/depth/image": Image,
             "/camera_info": CameraInfo, "/depth/camera_info": CameraInfo, "/tf": TFMessage,
             "/grounding/command": String}  # fmt: skip
    with process("soak_process.py", "stub", "--ros-args", "-p", "command:=the mug", patience_s=1700) as node:
        node.wait("active")
        publishers = {topic: robot.node.create_publisher(kind, topic, 10) for topic, kind in kinds.items()}
        answer(robot, node, publishers)
        for index, (topic, data) in enumerate(payloads(number), 1):
            publishers[topic].publish(data)
            if index % together == 0:
                answer(robot, node, publishers)
        assert node.popen.poll() is None
        refused = int(values(robot.status("camera"))["rejected"])
    record_property(
        "figure",
        f"{number:,} to the node, which answered after each {together} and rejected {refused:,} images",
    )
    assert refused > 0


def answer(robot, node, publishers):
    """Wait until the node answers a good frame: of a good command, which another text may have replaced."""
    seen = len(robot.heard["grounding"])
    for _ in range(int(PATIENCE_S / 0.05)):
        assert node.popen.poll() is None, "the node has ended"
        publishers["/grounding/command"].publish(String(data="the mug"))
        head = Header(stamp=robot.node.get_clock().now().to_msg(), frame_id="good")
        publishers["/image"].publish(ROS.image(head, GREY))
        with robot.news:
            if robot.news.wait_for(lambda: answered(robot, seen), 0.05):
                return
    raise AssertionError("a good frame is not answered any more")


def answered(robot, seen):
    return any(
        frame.header.frame_id == "good" and frame.text == "the mug"
        for frame in robot.heard["grounding"][seen:]
    )


if __name__ == "__main__":
    print(deserialize(int(sys.argv[1])))

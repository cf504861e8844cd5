"""The simulated camera, as a robot's nodes see it: another process that publishes."""

import os
import signal
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
pytest.importorskip("mujoco", reason="set up without the extra `sim`")

from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from kosmos2_ros.apps.sim_camera import shots, slowness  # noqa: E402
from kosmos2_sim.tabletop import Tabletop  # noqa: E402

SIZE = 96, 64
PATIENCE_S = 60.0
ENOUGH = 3  # images
HEARD = {
    "eye/image": Image,
    "eye/camera_info": CameraInfo,
    "eye/image/compressed": CompressedImage,
    "eye/depth/image": Image,
    "eye/depth/camera_info": CameraInfo,
}


def start(**parameters):
    given = {"width": SIZE[0], "height": SIZE[1], "camera": "eye", "seed": 3, "loop_s": 0.5} | parameters
    options = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "kosmos2_ros.apps.sim_camera", "--ros-args", *options]
    return subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def listen():
    """A node that hears everything until each of some topics had enough; its messages by topic."""
    rclpy.init()
    node = rclpy.create_node("audience")
    heard: dict[str, list] = {}

    def until(topics):
        done = rclpy.task.Future()

        def hear(topic, message):
            heard[topic].append(message)
            if all(len(heard[name]) >= ENOUGH for name in topics) and heard["/tf_static"] and not done.done():
                done.set_result(None)

        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic, kind in {**HEARD, "/tf": TFMessage, "/tf_static": TFMessage}.items():
            heard[topic] = []
            qos = {"/tf": QoSProfile(depth=100), "/tf_static": latched}.get(topic, qos_profile_sensor_data)
            node.create_subscription(kind, topic, lambda message, topic=topic: hear(topic, message), qos)
        rclpy.spin_until_future_complete(node, done, timeout_sec=PATIENCE_S)
        assert done.done(), {topic: len(those) for topic, those in heard.items()}
        return heard

    yield until
    node.destroy_node()
    rclpy.shutdown()


def stamp_ns(header):
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def end(process, number):
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0


def test_a_moving_camera_sends_all_of_one_stamp_and_says_where_it_is(listen):
    with start(compressed=True, depth="16UC1", rate_hz=5.0) as process:
        heard = listen([*HEARD, "/tf"])
        end(process, signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
    stamps = {topic: {stamp_ns(message.header) for message in heard[topic]} for topic in HEARD}
    stamps["/tf"] = {stamp_ns(message.transforms[0].header) for message in heard["/tf"]}
    assert set.intersection(*stamps.values())
    for topic in HEARD:
        assert {message.header.frame_id for message in heard[topic]} == {"eye_optical_frame"}
    image, depth = heard["eye/image"][0], heard["eye/depth/image"][0]
    assert (image.encoding, image.width, image.height) == ("rgb8", *SIZE)
    assert depth.encoding == "16UC1"
    [lens] = heard["/tf_static"][-1].transforms
    assert (lens.header.frame_id, lens.child_frame_id) == ("eye_link", "eye_optical_frame")
    ways = [message.transforms[0] for message in heard["/tf"]]
    assert {(transform.header.frame_id, transform.child_frame_id) for transform in ways} == {
        ("world", "eye_link")
    }
    assert len({transform.transform.translation.x for transform in ways}) > 1


def test_a_still_camera_sends_the_scene_s_image_again_and_again(listen):
    topics = ["eye/image", "eye/depth/image"]
    with start(still=True) as process:
        heard = listen(topics)
        end(process, signal.SIGTERM)
    with Tabletop(*SIZE) as tabletop:
        shot = tabletop.shoot(3, "standard")
    images, depths = (heard[topic] for topic in topics)
    assert len({bytes(image.data) for image in images}) == 1
    seen = np.frombuffer(images[0].data, np.uint8).reshape(shot.image.shape)
    np.testing.assert_allclose(seen.astype(int), shot.image, atol=1)
    assert depths[0].encoding == "32FC1"
    np.testing.assert_allclose(np.frombuffer(depths[0].data, "<f4"), shot.depth_m.ravel(), atol=1e-5)
    frames = {
        message.child_frame_id: message.header.frame_id for message in heard["/tf_static"][-1].transforms
    }
    assert frames == {"eye_optical_frame": "eye_link", "eye_link": "world"}
    assert not heard["/tf"]
    assert not heard["eye/image/compressed"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"split": "easy"}, "there is no split 'easy'"),
        ({"depth": "64FC1"}, "there is no depth encoding '64FC1'"),
        ({"width": 5}, "width out of range"),
    ],
)
def test_what_cannot_be_rendered_is_said_in_one_line(wrong, words):
    with start(**wrong) as process:
        assert process.wait(PATIENCE_S) == 2
        said = process.stderr.read()
    assert words in said
    assert said.count("\n") == 1


class Numbered:
    """A film whose shots are their numbers, at 10 Hz."""

    def shoot(self, time_s):
        return round(time_s * 10)


def test_a_loop_goes_there_and_back_without_a_jump_and_no_loop_goes_on():
    assert list(islice(shots(Numbered(), 10.0, 3), 12)) == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0]
    assert list(islice(shots(Numbered(), 10.0, 0), 5)) == [0, 1, 2, 3, 4]


def test_only_a_slow_machine_is_called_slow():
    assert slowness(9.5, 10.0) == ""
    assert slowness(3.21, 10.0) == "3.2 images per second, not 10: this machine renders no faster."

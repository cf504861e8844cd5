"""The files below config/: what they name is there, and large images arrive."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
# What an unnamed camera's topics are, and what shows them in RViz.
SHOWN = {"/grounding/annotated": "Image", "/grounding/markers": "MarkerArray"}
SIZES = [(640, 480), (1280, 720)]
PATIENCE_S = 60.0
FULL = os.environ.get("KOSMOS2_RELIABILITY") == "full"


def test_parameters_are_the_node_s_at_its_defaults():
    pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
    from kosmos2_ros.options import defaults

    [node] = yaml.safe_load((CONFIG / "grounding.yaml").read_text()).values()
    assert node["ros__parameters"] == defaults()


def test_rviz_shows_the_node_s_topics_over_the_world():
    view = yaml.safe_load((CONFIG / "grounding.rviz").read_text())["Visualization Manager"]
    shown = {one["Topic"]["Value"]: one["Class"] for one in view["Displays"] if "Topic" in one}
    assert shown == {topic: f"rviz_default_plugins/{kind}" for topic, kind in SHOWN.items()}
    assert view["Global Options"]["Fixed Frame"] == "world"
    assert "rviz_default_plugins/TF" in [one["Class"] for one in view["Displays"]]


def test_foxglove_shows_the_same_topics_and_every_panel_is_placed():
    layout = json.loads((CONFIG / "foxglove.json").read_text())
    panels = layout["configById"]
    assert panels["Image!annotated"]["imageMode"]["imageTopic"] == "/grounding/annotated"
    assert list(panels["3D!boxes"]["topics"]) == ["/grounding/markers"]
    assert panels["RawMessages!grounding"]["topicPath"] == "/grounding/grounding"
    assert panels["DiagnosticSummary!health"]["topicToRender"] == "/diagnostics"
    assert panels["Publish!command"]["topicName"] == "/grounding/command"
    assert sorted(placed(layout["layout"])) == sorted(panels)


def placed(tile):
    return [tile] if isinstance(tile, str) else [*placed(tile["first"]), *placed(tile["second"])]


def test_the_middleware_s_profile_is_the_default_one_with_room_for_large_images():
    root = ET.parse(CONFIG / "fastdds.xml").getroot()
    transports = {one.findtext("{*}transport_id"): one for one in root.iterfind(".//{*}transport_descriptor")}
    assert {one.findtext("{*}type") for one in transports.values()} == {"SHM", "UDPv4"}
    assert transports["shared_memory"].findtext("{*}segment_size") == str(32 * 2**20)
    [participant] = root.iterfind(".//{*}participant")
    assert participant.get("is_default_profile") == "true"
    used = participant.iterfind(".//{*}userTransports/{*}transport_id")
    assert [one.text for one in used] == list(transports)


@pytest.fixture
def with_profile(monkeypatch):
    """By the name that this middleware reads."""
    name = "FASTRTPS" if os.environ.get("ROS_DISTRO") == "jazzy" else "FASTDDS"
    monkeypatch.setenv(f"{name}_DEFAULT_PROFILES_FILE", str(CONFIG / "fastdds.xml"))


@pytest.mark.ros
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_large_images_arrive_by_best_effort(with_profile, width, height):
    images = 300 if FULL else 60
    assert len(heard(width, height, images)) >= images - 1


def heard(width, height, images):
    """The numbers of the images that came from another process."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    numbers = []
    rclpy.init()
    node = rclpy.create_node("audience")
    last = rclpy.task.Future()

    def hear(image):
        assert len(image.data) == 3 * width * height
        numbers.append(image.header.stamp.sec)
        if numbers[-1] == images - 1:
            last.set_result(None)

    node.create_subscription(Image, "stream", hear, qos_profile_sensor_data)
    script = Path(__file__).with_name("image_stream.py")
    command = [sys.executable, str(script), str(width), str(height), str(images)]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            rclpy.spin_until_future_complete(node, last, timeout_sec=PATIENCE_S)
            process.stdin.close()
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return numbers

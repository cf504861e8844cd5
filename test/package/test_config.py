"""The files below config/: what they name is there."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
# What an unnamed camera's topics are, and what shows them in RViz.
SHOWN = {"/grounding/annotated": "Image", "/grounding/markers": "MarkerArray"}


def test_parameters_are_the_node_s_at_its_defaults():
    pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
    from kosmos2_ros.parameters import defaults

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

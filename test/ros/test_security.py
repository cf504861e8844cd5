"""The SROS2 policy allows all that the node does, and nothing else."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from robot import poll

POLICY = Path(__file__).resolve().parents[2] / "config/sros2_policy.xml"
OF_OTHER_SETTINGS = {"/clock", "/depth/image/compressedDepth", "/image/compressed"}  # time, transport
OF_ACTIONS = "/_action/"


def allowed(tag, rule):
    """The full names that a rule of the policy allows."""
    profile = ElementTree.parse(POLICY).find(".//profile")
    names = [entry.text for block in profile.findall(tag) if block.get(rule) == "ALLOW" for entry in block]
    return {f"/grounding/{name[1:]}" if name.startswith("~") else f"/{name}" for name in names}


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_policy_is_what_the_node_does(serve, robot, transport):
    node = serve(command="the mug", target_frame="map", image_transport=transport)

    def names(found):
        return {name for name, _ in found if OF_ACTIONS not in name}

    def published():
        return names(node.get_publisher_names_and_types_by_node("grounding", "/"))

    def subscribed():
        return names(node.get_subscriber_names_and_types_by_node("grounding", "/"))

    def served():
        return names(node.get_service_names_and_types_by_node("grounding", "/"))

    # DDS tells of a node's own topics one after the other: they are compared once all are known.
    unused = {"/image"} if transport == "compressed" else set()
    used = allowed("topics", "subscribe") - OF_OTHER_SETTINGS - {"/parameter_events"} - unused
    poll(lambda: published() >= allowed("topics", "publish"))
    poll(lambda: subscribed() >= used)
    poll(lambda: served() >= allowed("services", "reply"))
    assert published() == allowed("topics", "publish")
    assert used <= subscribed() <= allowed("topics", "subscribe")
    assert served() == allowed("services", "reply")
    assert allowed("actions", "execute") == {"/grounding/converse"}

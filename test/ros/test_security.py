"""The SROS2 policy allows all that the node does, and nothing else."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")


POLICY = Path(__file__).resolve().parents[2] / "config/sros2_policy.xml"
OF_OTHER_SETTINGS = {"/clock", "/depth/image/compressedDepth", "/image/compressed"}  # time, transport
OF_RCL = {"/rosout", "/grounding/transition_event"}  # published by rcl itself, for every node of this kind


def allowed(tag, rule):
    """The full names that a rule of the policy allows."""
    profile = ElementTree.parse(POLICY).find(".//profile")
    names = [entry.text for block in profile.findall(tag) if block.get(rule) == "ALLOW" for entry in block]
    return {f"/grounding/{name[1:]}" if name.startswith("~") else f"/{name}" for name in names}


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_policy_is_what_the_node_does(serve, robot, transport):
    node = serve(command="the mug", target_frame="map", image_transport=transport)

    published = {publisher.topic_name for publisher in node.publishers} | OF_RCL
    subscribed = {subscription.topic_name for subscription in node.subscriptions}
    served = {service.service_name for service in node.services}
    unused = {"/image"} if transport == "compressed" else set()
    used = allowed("topics", "subscribe") - OF_OTHER_SETTINGS - {"/parameter_events"} - unused
    assert published == allowed("topics", "publish")
    assert used <= subscribed <= allowed("topics", "subscribe")
    assert served == allowed("services", "reply")
    assert allowed("actions", "execute") == {"/grounding/converse"}

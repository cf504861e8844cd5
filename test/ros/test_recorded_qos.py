"""QoS of recordings of any version, as it is offered again."""

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from kosmos2_io.bag_reader import Topic
from kosmos2_ros.apps.bag_player import recorded_qos

FAST, SAFE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
KEPT, GONE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE


def profile(reliability, durability):
    return f"- history: 3\n  depth: 0\n  reliability: {reliability}\n  durability: {durability}\n"


@pytest.mark.parametrize(
    ("text", "reliability", "durability"),
    [
        ("", SAFE, GONE),
        (profile(1, 2), SAFE, GONE),
        (profile(2, 2), FAST, GONE),
        (profile(1, 1), SAFE, KEPT),
        (profile("best_effort", "volatile"), FAST, GONE),
        (profile("reliable", "transient_local"), SAFE, KEPT),
        (profile(1, 2) + profile(2, 2), SAFE, GONE),
        (profile("unknown", "unknown"), SAFE, GONE),
        ("[[[", SAFE, GONE),
        ("a: b", SAFE, GONE),
        ("- 7", SAFE, GONE),
    ],
)
def test_it_suits_whoever_heard_it_live(text, reliability, durability):
    qos = recorded_qos(Topic("/a", "std_msgs/msg/String", 3, True, text))
    assert (qos.reliability, qos.durability) == (reliability, durability)
    assert qos.depth == (3 if durability == KEPT else 10)

"""The counts and rates that the answer recorder reports."""

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from kosmos2_ros.apps.answer_recorder import COUNTED, AnswerStats


def report(stats, *numbers, name="grounding: camera"):
    """Of received, processed, replaced, rejected, expired, failed, in flight."""
    values = dict(zip(COUNTED, numbers, strict=True)) if numbers else {"state": "inactive"}
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    stats.add_diagnostics([DiagnosticStatus(name=name, hardware_id="camera", values=pairs)])


def test_what_was_counted_before_does_not_count_but_what_was_in_flight_does():
    stats = AnswerStats("grounding")
    report(stats, 10, 7, 2, 0, 0, 0, 1)
    report(stats, 20, 15, 3, 1, 0, 0, 1)
    counts = stats.counts()["camera"]
    assert counts == dict(zip(COUNTED, (11, 8, 1, 1, 0, 0, 1), strict=True))
    assert counts["received"] == sum(counts[name] for name in COUNTED[1:])


def test_a_camera_that_began_meanwhile_and_a_restarted_node_count_from_nothing():
    stats = AnswerStats("grounding")
    report(stats, name="grounding: model")
    report(stats, 10, 9, 0, 0, 0, 0, 1)
    assert stats.counts()["camera"]["received"] == 10
    report(stats, 3, 3, 0, 0, 0, 0, 0)
    assert stats.counts()["camera"]["received"] == 3


def test_other_nodes_are_not_listened_to():
    stats = AnswerStats("grounding")
    report(stats, 10, 9, 0, 0, 0, 0, 1, name="other: camera")
    assert stats.counts() == {}


def test_what_a_person_sees():
    stats = AnswerStats("grounding")
    for age_ms in (10, 20, 30):
        stats.add_answer("/grounding/grounding", age_ms * 1_000_000)
    report(stats)
    report(stats, 5, 3, 2, 0, 0, 0, 0)
    assert list(stats.lines()) == [
        "      3 on /grounding/grounding, from stamp to arrival p50 20.0, p95 29.0, max 30.0 ms",
        "      5 images of camera: 3 processed, 2 replaced, 0 rejected, 0 expired, 0 failed, 0 in_flight",
    ]
    assert stats.notes() == {
        "/grounding/grounding latency_ms": "p50 20.0, p95 29.0, max 30.0",
        "camera frames": "3 processed, 2 replaced, 0 rejected, 0 expired, 0 failed, 0 in_flight",
    }

"""What a recorder of answers counts."""

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from kosmos2_ros.answer_tally import COUNTED, Tally


def report(tally, *counts, name="grounding: camera"):
    """Of received, processed, replaced, rejected, expired, failed, in flight."""
    values = dict(zip(COUNTED, counts, strict=True)) if counts else {"state": "inactive"}
    told = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    tally.books([DiagnosticStatus(name=name, hardware_id="camera", values=told)])


def test_what_was_counted_before_does_not_count_but_what_was_in_flight_does():
    tally = Tally("grounding")
    report(tally, 10, 7, 2, 0, 0, 0, 1)
    report(tally, 20, 15, 3, 1, 0, 0, 1)
    books = tally.since()["camera"]
    assert books == dict(zip(COUNTED, (11, 8, 1, 1, 0, 0, 1), strict=True))
    assert books["received"] == sum(books[name] for name in COUNTED[1:])


def test_a_camera_that_began_meanwhile_and_a_node_that_was_started_anew_count_from_nothing():
    tally = Tally("grounding")
    report(tally, name="grounding: model")
    report(tally, 10, 9, 0, 0, 0, 0, 1)
    assert tally.since()["camera"]["received"] == 10
    report(tally, 3, 3, 0, 0, 0, 0, 0)
    assert tally.since()["camera"]["received"] == 3


def test_other_nodes_are_not_listened_to():
    tally = Tally("grounding")
    report(tally, 10, 9, 0, 0, 0, 0, 1, name="other: camera")
    assert tally.since() == {}


def test_what_a_person_sees():
    tally = Tally("grounding")
    for age_ms in (10, 20, 30):
        tally.answer("/grounding/grounding", age_ms * 1_000_000)
    report(tally)
    report(tally, 5, 3, 2, 0, 0, 0, 0)
    assert list(tally.lines()) == [
        "      3 on /grounding/grounding, from stamp to arrival p50 20.0, p95 29.0, max 30.0 ms",
        "      5 images of camera: 3 processed, 2 replaced, 0 rejected, 0 expired, 0 failed, 0 in_flight",
    ]
    assert tally.notes() == {
        "/grounding/grounding latency_ms": "p50 20.0, p95 29.0, max 30.0",
        "camera books": "3 processed, 2 replaced, 0 rejected, 0 expired, 0 failed, 0 in_flight",
    }

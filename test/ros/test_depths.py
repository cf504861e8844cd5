"""A frame's depth is found however long the model takes, and nothing else is kept."""

from __future__ import annotations

from kosmos2_ros.depths import EXPECTED, RECENT, Depths

SLOP_NS = 5


def test_depth_of_an_expected_frame_is_kept_while_others_come():
    depths = Depths()
    depths.put(100, "right")
    depths.expect(100)
    for number in range(10 * RECENT):
        depths.put(1000 + number, "later")
    assert depths.at(100, SLOP_NS) == "right"


def test_depth_may_come_after_its_frame_was_taken():
    depths = Depths()
    depths.put(90, "before")
    depths.expect(100)
    depths.put(103, "near")
    depths.put(101, "nearest")
    depths.put(104, "after")
    assert depths.at(100, SLOP_NS) == "nearest"
    assert depths.at(100, 0) is None


def test_what_nobody_expects_is_forgotten():
    depths = Depths()
    for number in range(3 * EXPECTED):
        depths.put(number, number)
        depths.expect(number)
    assert depths.at(0, SLOP_NS) is None
    assert depths.at(3 * EXPECTED - 1, 0) == 3 * EXPECTED - 1
    depths.clear()
    assert depths.at(3 * EXPECTED - 1, SLOP_NS) is None

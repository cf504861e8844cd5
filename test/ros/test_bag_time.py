"""The time of a recording, by a clock of our own."""

import threading

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2_ros.apps.bag_player import BagTime


class Wall:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def wall():
    return Wall()


def test_it_runs_at_its_rate(wall):
    time = BagTime(2.0, 7, clock_s=wall)
    wall.now_s += 1
    assert time.now_ns() == 7  # it is not started
    time.start(1_000)
    assert time.now_ns() == 1_000
    wall.now_s += 1.5
    assert time.now_ns() == 3_000_001_000
    assert time.wait_until(3_000_001_000)


def test_it_stands_while_paused(wall):
    time = BagTime(1.0, 0, paused=True, clock_s=wall)
    time.start(5)
    wall.now_s += 10
    assert time.now_ns() == 5
    time.pause(False)
    wall.now_s += 1
    time.pause(True)
    time.pause(True)
    wall.now_s += 10
    assert time.now_ns() == 1_000_000_005


def test_who_waits_for_a_paused_time_goes_on_with_it():
    time = BagTime(1000.0, 0, paused=True)
    time.start(0)
    came = []
    waiting = threading.Thread(target=lambda: came.append(time.wait_until(1_000_000)))
    waiting.start()
    time.pause(False)
    waiting.join(60)
    assert came == [True]


def test_who_waits_for_a_time_that_never_comes_is_told():
    time = BagTime(1.0, 0, paused=True)
    came = []
    waiting = threading.Thread(target=lambda: came.append(time.wait_until(10**18)))
    waiting.start()
    time.end()
    waiting.join(60)
    assert came == [False]

"""The executor ends between two callbacks, whatever is going on."""

import threading

import pytest

pytestmark = pytest.mark.ros
rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2_ros.process import Executor  # noqa: E402

PATIENCE_S = 60.0


@pytest.fixture
def node():
    rclpy.init()
    node = rclpy.create_node("busy")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def spinning(node):
    executor = Executor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    return executor, thread


def test_it_ends_after_what_it_is_doing(node, monkeypatch):
    begun, never, ended, raised = threading.Event(), threading.Event(), threading.Event(), []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    def work():
        ended.clear()
        begun.set()
        never.wait(0.01)  # a moment's work
        ended.set()

    node.create_timer(0.001, work)
    for _ in range(20):
        executor, thread = spinning(node)
        assert begun.wait(PATIENCE_S)
        assert executor.shutdown()
        assert ended.is_set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        begun.clear()
    assert raised == []


def test_it_may_be_ended_by_what_it_is_doing(node):
    ending = threading.Event()

    def end():
        if not ending.is_set():
            ending.set()
            executor.shutdown()

    executor, thread = spinning(node)
    node.create_timer(0.001, end)
    executor.wake()
    assert ending.wait(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert executor.shutdown()  # once more does no harm

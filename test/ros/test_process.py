"""The executor ends between two callbacks, whatever is going on."""

import threading

import pytest

pytestmark = pytest.mark.ros
rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from rcl_interfaces.srv import GetParameters  # noqa: E402

from kosmos2_core.errors import InputError  # noqa: E402
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


def test_an_exception_in_a_callback_is_logged_and_the_next_callback_runs(node, capfd):
    again = threading.Event()
    calls = iter([ValueError("this one is broken")])

    def work():
        if error := next(calls, None):
            raise error
        again.set()

    node.create_timer(0.001, work)
    executor, thread = spinning(node)
    try:
        assert again.wait(PATIENCE_S)
    finally:
        executor.shutdown()
        thread.join(PATIENCE_S)
    assert "ValueError: this one is broken" in capfd.readouterr().err


def test_an_error_of_the_project_s_own_ends_the_spinning(node):
    def fail():
        raise InputError("the bag ended.")

    node.create_timer(0.001, fail)
    executor = Executor()
    executor.add_node(node)
    with pytest.raises(InputError, match="the bag ended"):
        executor.spin()
    executor.shutdown()


def test_an_exception_in_a_service_is_logged(node, capfd):
    def fail(request, response):
        raise ValueError("no such answer")

    node.create_service(GetParameters, "broken", fail)
    executor, thread = spinning(node)
    try:
        client = node.create_client(GetParameters, "broken")
        assert client.wait_for_service(PATIENCE_S)
        client.call_async(GetParameters.Request())
        logged = ""
        while "ValueError: no such answer" not in logged:
            logged += capfd.readouterr().err
    finally:
        executor.shutdown()
        thread.join(PATIENCE_S)

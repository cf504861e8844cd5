"""A model that hangs, and one that is only slow: what the node says, and who may use the model then."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from builtin_interfaces.msg import Duration
from rclpy.lifecycle import TransitionCallbackReturn
from robot import PATIENCE_S
from traffic import meet, traffic

from kosmos2_ros.errors import Code

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ERROR, OK = b"\2", b"\0"


# Row 14.


@pytest.mark.row(
    *(14, "the model hangs: who says so, and when"),
    "ERROR on /diagnostics by the deadline + 1 s; services answer BUSY within 200 ms",
)
def test_a_hang_is_told_and_services_still_answer(serve, robot, model, count, record_property):
    deadline_s, hang_s = count(10.0, 0.5), count(30.0, 1.0)
    node = serve(command="the mug", hang_timeout_s=deadline_s)
    meet(node, robot)
    hang(model, robot)
    began_s = time.monotonic()
    hung = robot.status("model", lambda status: status.level == ERROR)
    told_s = time.monotonic() - began_s
    assert "not answered" in hung.message
    slowest_s = max(busy_s(robot, kind) for kind in ("locate", "describe", "ask"))
    while time.monotonic() - began_s < hang_s:
        slowest_s = max(slowest_s, busy_s(robot, "locate"))
    model.open = True
    model.let.release()
    robot.status("model", lambda status: status.level == OK)
    last = robot.show()
    robot.wait("grounding", lambda message: message.header == last.header)
    assert robot.call("locate", text="the mug").error == Code.OK
    record_property(
        "figure",
        f"ERROR {told_s - deadline_s:.2f} s after a deadline of {deadline_s:g} s;"
        f" BUSY after {1000 * slowest_s:.0f} ms at most",
    )
    assert told_s > deadline_s
    assert told_s <= deadline_s + count(1, PATIENCE_S)
    assert slowest_s <= count(0.2, PATIENCE_S)


def busy_s(robot, kind):
    """Return the seconds that a service takes to answer that the model is busy."""
    began_s = time.monotonic()
    text = {"locate": {"text": "the mug"}, "ask": {"question": "what?"}}.get(kind, {})
    assert robot.call(kind, **text).error == Code.BUSY
    return time.monotonic() - began_s


# Row 30.


@pytest.mark.row(
    *(30, "the model hangs; deactivate, three times activate, then clean up and configure"),
    "activate and configure refused, ERROR on /diagnostics; one thread in the model, one model loaded",
)
def test_a_second_thread_never_enters_a_model_that_hangs(serve, robot, model, record_property):
    loaded = []
    node = serve(command="the mug", load=lambda parameters: loaded.append(model) or model)
    meet(node, robot)
    hang(model, robot)
    assert node.trigger_deactivate() == SUCCESS
    for _ in range(3):
        assert node.trigger_activate() == FAILURE
        assert "still computes" in robot.status("model", lambda status: status.level == ERROR).message
    assert node.trigger_cleanup() == SUCCESS
    assert node.trigger_configure() == FAILURE
    threads = sum(thread.name == "kosmos2-model" for thread in threading.enumerate())
    assert (threads, len(loaded)) == (1, 1)
    record_property("figure", "refused 4 of 4 times; 1 thread, 1 model")

    model.open = True
    model.let.release()
    robot.status("model", lambda status: status.level == OK)
    assert (node.trigger_configure(), node.trigger_activate()) == (SUCCESS, SUCCESS)
    last = robot.show()
    robot.wait("grounding", lambda message: message.header == last.header)


def hang(model, robot):
    """Show an image that the model does not finish until it is let go."""
    model.arrived, model.open = threading.Semaphore(0), False
    robot.show()
    model.wait()


# Row 31.


@pytest.mark.row(
    *(31, "a healthy model whose inference takes longer than a query may wait"),
    "no false ERROR on /diagnostics; every query that can wait is answered",
)
def test_a_slow_model_is_not_called_hung(serve, robot, model, count, record_property):
    inference_s, reports = count(1.6, 0.3), count(40, 6)
    model.pass_ = lambda jobs: time.sleep(inference_s)
    node = serve(command="the mug", query_timeout_s=inference_s / 2, hang_timeout_s=inference_s / 2)
    meet(node, robot)
    errors, answers = [], []
    with traffic(robot, 10):
        for _ in range(reports):
            status = robot.status("model")
            errors += [status] if status.level == ERROR else []
            if len(answers) < reports // 3:
                answers.append(robot.call("locate", text="the mug", timeout=Duration(sec=60)).error)
    record_property(
        "figure",
        f"{len(errors)} ERROR in {reports} reports; {answers.count(Code.OK)} of {len(answers)} queries"
        " answered",
    )
    assert not errors
    assert answers == [Code.OK] * len(answers)

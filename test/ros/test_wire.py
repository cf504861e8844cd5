"""Two processes exchange every message, service and action type over real DDS."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from action_msgs.msg import GoalStatus  # noqa: E402
from example_messages import example, plain  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from wire import KEPT, load, names_in  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name for package in (ROOT, *sorted((ROOT / "interfaces").iterdir())) for name in names_in(package)]
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def echo():
    environ = os.environ | {
        "PYTHONPATH": f"{ROOT / 'test/support'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    }
    command = [sys.executable, str(ROOT / "test/ros/echo_process.py"), *NAMES]
    with subprocess.Popen(command, env=environ) as process:
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def node(echo):
    rclpy.init()
    node = rclpy.create_node("wire_test")
    yield node
    node.destroy_node()
    rclpy.shutdown()


def wait(node, future):
    rclpy.spin_until_future_complete(node, future, timeout_sec=PATIENCE_S)
    assert future.done(), f"no answer within {PATIENCE_S} s"
    return future.result()


def those(kind):
    return [name for name in NAMES if f"/{kind}/" in name]


@pytest.mark.parametrize("name", those("msg"))
def test_a_message_returns_as_it_was_sent(node, name):
    returned = rclpy.task.Future()
    node.create_subscription(load(name), f"/back/{name}", returned.set_result, KEPT)
    sent = example(load(name))
    node.create_publisher(load(name), f"/there/{name}", KEPT).publish(sent)
    assert plain(wait(node, returned)) == plain(sent)


@pytest.mark.parametrize("name", those("srv"))
def test_a_service_gets_the_request_and_gives_the_response(node, name):
    service = load(name)
    client = node.create_client(service, f"/{name}")
    assert client.wait_for_service(PATIENCE_S)
    request = example(service.Request)
    response = plain(wait(node, client.call_async(request)))
    assert json.loads(response.pop("message")) == plain(request)
    expected = plain(example(service.Response))
    expected.pop("message")
    assert response == expected


@pytest.mark.parametrize("name", those("action"))
def test_an_action_gets_the_goal_streams_feedback_and_ends_when_cancelled(node, name):
    action = load(name)
    client = ActionClient(node, action, f"/{name}")
    assert client.wait_for_server(PATIENCE_S)
    goal, heard = example(action.Goal), rclpy.task.Future()

    def hear(message):
        if not heard.done():
            heard.set_result(message.feedback)

    handle = wait(node, client.send_goal_async(goal, feedback_callback=hear))
    assert handle.accepted
    assert plain(wait(node, heard)) == plain(example(action.Feedback))
    wait(node, handle.cancel_goal_async())
    answer = wait(node, handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED
    result, expected = plain(answer.result), plain(example(action.Result))
    assert json.loads(result.pop("message")) == plain(goal)
    expected.pop("message")
    assert result == expected

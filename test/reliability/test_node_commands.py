"""The node under commands: repeated ones, ones that change all the time, far too long ones."""

from __future__ import annotations

import itertools
import json
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2.action import Converse
from processes import process
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from robot import PATIENCE_S, values
from std_msgs.msg import String
from traffic import counts_of, finished, meet, resident_kib, traffic, until

INFERENCE_S, FRAMES_HZ = 0.1, 30
MUG = "the mug"


@contextmanager
def publishing(robot, texts, rate_hz):
    """The next of the texts on the command topic, so many times a second."""
    publisher = robot.publisher(String, "/grounding/command")
    sent, sending = [], threading.Lock()

    def send():
        with sending:
            sent.append(next(texts))
            publisher.publish(String(data=sent[-1]))

    timer = robot.node.create_timer(1 / rate_hz, send)
    try:
        yield sent
    finally:
        with sending:
            robot.node.destroy_timer(timer)


def results_of(robot, node, seconds):
    """The results of so many seconds of images."""
    since = len(robot.heard["grounding"])
    processed = counts_of(node).snapshot().outcomes["processed"]
    with traffic(robot, FRAMES_HZ, int(seconds * FRAMES_HZ)) as sent:
        sent.wait()
    until(lambda: finished(node))
    done = counts_of(node).snapshot().outcomes["processed"] - processed
    until(lambda: len(robot.heard["grounding"]) - since >= done)
    return robot.heard["grounding"][since:]


@pytest.fixture
def busy(serve, robot, model):
    """A node whose model takes INFERENCE_S, with images."""
    node = serve(command=MUG)
    model.pass_ = lambda jobs: time.sleep(INFERENCE_S)
    meet(node, robot)
    return node


@pytest.mark.row(
    25, "the same command, published again at 50 Hz", "results within 5 % of the undisturbed rate; one id"
)
def test_a_repeated_command_costs_no_result(busy, robot, count, record_property):
    seconds = count(20, 2)
    before = results_of(robot, busy, seconds)
    with publishing(robot, itertools.repeat(MUG), 50) as sent:
        during = results_of(robot, busy, seconds)
    record_property(
        "figure",
        f"{len(before)} results in {seconds} s undisturbed, {len(during)} during {len(sent)} commands",
    )
    assert {result.command_id for result in during} == {"1"}
    assert counts_of(busy).snapshot().outcomes["expired"] == 0
    assert len(during) >= count(0.95, 0.3) * len(before)


@pytest.mark.row(
    26,
    "different commands at 20 Hz",
    "results >= 80 % of the undisturbed rate, each under its own id; the last command's first result within"
    " two inferences",
)
def test_changing_commands_coalesce(busy, robot, count, record_property):
    seconds = count(20, 2)
    before = results_of(robot, busy, seconds)
    texts = (f"mug number {number}" for number in itertools.count())
    with publishing(robot, texts, 20) as sent:
        during = results_of(robot, busy, seconds)
    ids = {result.text: result.command_id for result in during}
    assert len(set(ids.values())) == len(ids), "each text under an id of its own"
    assert all(result.text in {MUG, *sent} for result in during)
    heard = [result.text for result in during]
    assert heard == sorted(heard, key=[MUG, *sent].index), "in the order of the commands"
    late_s = first_result_s(busy, robot)
    record_property(
        "figure",
        f"{len(before)} results in {seconds} s undisturbed, {len(during)} during {len(sent)} commands;"
        f" the last command's first after {late_s / INFERENCE_S:.1f} inferences",
    )
    assert counts_of(busy).snapshot().outcomes["expired"] == 0
    assert len(during) >= count(0.8, 0.3) * len(before)
    assert late_s <= count(2 * INFERENCE_S + 0.05, 60)


def first_result_s(node, robot):
    """Return the seconds from a command, given while the model is working, to its first result."""
    with traffic(robot, FRAMES_HZ):
        until(lambda: node._session.inference.busy_s)
        began_s = time.monotonic()
        robot.command("the last one")
        robot.wait("grounding", lambda result: result.text == "the last one")
        return time.monotonic() - began_s


SIZES = (15_000, 100_000, 400_000, 1_000_000)


def words(size):
    return ("the mug and " * (size // 12 + 1))[:size]


def marks(size):
    return ("[a];" * (size // 4 + 1))[:size]


@pytest.mark.row(
    29,
    "texts of 15 kB to 1 MB, on each way in",
    "refused in a sentence within 50 ms; diagnostics keep their rate; memory + <= 10 MiB",
)
def test_a_text_far_too_long_is_refused_at_once(robot, count, record_property):
    parameters = robot.node.create_client(SetParameters, "/grounding/set_parameters")
    texts = [make(size) for size in SIZES for make in (words, marks)]
    with process("node_process.py", 0, 0.0, "--ros-args", "-p", f"command:={MUG}") as node:
        node.wait("active")
        robot.meet_services()
        refuse(robot, parameters, texts[-1])  # buffers for messages of this size
        rss_kib, began_s = resident_kib(node.popen.pid), time.monotonic()
        reports = len(robot.heard["diagnostics"])
        times_s = [time_s for text in texts * count(5, 1) for time_s in refuse(robot, parameters, text)]
        robot.status("model", lambda status: values(status)["command"] == MUG)
        rate_hz = (len(robot.heard["diagnostics"]) - reports) / (time.monotonic() - began_s)
        grown_mib = (resident_kib(node.popen.pid) - rss_kib) / 1024
    record_property(
        "figure",
        f"{len(times_s)} texts, {1000 * max(times_s):.0f} ms at most; diagnostics at {rate_hz:.1f} Hz;"
        f" {grown_mib:+.1f} MiB",
    )
    assert max(times_s) <= count(0.05, 60)
    assert rate_hz >= count(1.5, 0)
    assert grown_mib <= count(10, 50)


def refuse(robot, parameters, text):
    """Send a text by every way in, each of which must refuse it; the seconds that each answer took."""
    robot.command(text)
    assert parameters.wait_for_service(PATIENCE_S)
    command = Parameter("command", value=text).to_parameter_msg()
    dialogue = json.dumps([["what?", text * (5 if len(text) < 66_000 else 1)]])  # its limit is 65,536 bytes
    calls = {
        "locate": lambda: robot.call("locate", text=text).message,
        "ask": lambda: robot.call("ask", question=text).message,
        "parameter": lambda: (
            robot.result(parameters.call_async(SetParameters.Request(parameters=[command]))).results[0].reason
        ),
        "converse": lambda: converse(robot, text=text),
        "dialogue": lambda: converse(robot, text="what?", dialogue=dialogue),
    }
    times_s = []
    for name, call in calls.items():
        began_s = time.monotonic()
        assert "max_text_bytes" in call(), name
        times_s.append(time.monotonic() - began_s)
    return times_s


def converse(robot, **goal):
    """The message of a dialogue's result."""
    handle = robot.result(robot.converse.send_goal_async(Converse.Goal(**goal)))
    return robot.result(handle.get_result_async()).result.message

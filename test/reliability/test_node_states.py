"""The node's states and parameters under traffic: nothing is left behind, nothing is taken by half."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from traffic import counts_of, traffic, until

from kosmos2_ros.parameters import FIXED, GroundingParameters

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

# Row 15.

SETTLED = 5  # cycles, after which all threads there ever are have begun
# In which transition what of the node fails, and at which of its calls.
TRAPS = {
    "configure": [("_load", 1), ("create_publisher", 3), ("create_subscription", 2)],
    "activate": [("create_subscription", 1), ("create_subscription", 3)],
    "deactivate": [("destroy_subscription", 1), ("destroy_subscription", 2)],
    "cleanup": [("destroy_publisher", 3), ("destroy_subscription", 2)],
}


def cycle(node, robot, where="", trap=()):
    """Up to an answer and down again; where there is a trap, that transition fails, and is tried again."""
    since = len(robot.heard["grounding"])
    for name in TRAPS:
        change = getattr(node, f"trigger_{name}")
        if name == where:
            with trapped(node, *trap):
                assert change() == FAILURE
        assert change() == SUCCESS
        if name == "activate":
            robot.wait("grounding", since=since)


@contextmanager
def trapped(node, name, nth):
    """That call of the node raises an error."""
    original, calls = getattr(node, name), itertools.count(1)

    def call(*arguments, **keywords):
        if next(calls) == nth:
            raise RuntimeError(f"{name} failed")
        return original(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node, name, call)
        yield


def kept(node):
    """What an unconfigured node has: publishers, subscriptions, threads."""
    threads = sum(thread.name == "kosmos2-model" for thread in threading.enumerate())
    return len(list(node.publishers)), len(list(node.subscriptions)), threads


def opened():
    """The process's threads and files. The robot's own pool of threads may still grow."""
    pool = sum(thread.name.startswith("ThreadPool") for thread in threading.enumerate())
    return len(os.listdir("/proc/self/task")) - pool, len(os.listdir("/proc/self/fd"))


def memory_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


ROW = pytest.mark.row(
    *(15, "lifecycle cycles under 30 Hz of images, an error in every other one"),
    "200 cycles; threads, files, subscriptions, publishers constant; at most 10 MiB more memory",
)


@ROW
@pytest.mark.parametrize(("where", "trap"), [(where, trap) for where in TRAPS for trap in TRAPS[where]])
def test_a_transition_that_failed_leaves_nothing_behind(serve, robot, where, trap):
    node = serve(active=False, command="the mug")
    with traffic(robot, 30):
        cycle(node, robot)
        before = kept(node)
        cycle(node, robot, where, trap)
        assert kept(node) == before


@ROW
def test_cycles_leave_nothing_behind(serve, robot, count, record_property):
    node, rng = serve(active=False, command="the mug"), random.Random(0)
    cycles = count(200, 12)
    with traffic(robot, 30):
        for number in range(cycles):
            where = rng.choice(list(TRAPS)) if number % 2 else ""
            cycle(node, robot, where, rng.choice(TRAPS[where]) if where else ())
            robot.heard.clear()
            if number == SETTLED:
                before, before_mib = (kept(node), opened()), memory_mib()
        grown_mib = memory_mib() - before_mib
        assert (kept(node), opened()) == before
    assert grown_mib <= count(10, 100)
    threads, files = before[1]
    record_property(
        "figure",
        f"{cycles} cycles, {cycles // 2} with an error; {threads} threads and {files} files before and after;"
        f" {grown_mib:.1f} MiB more",
    )


# Row 21.

PARAMETERS = pytest.mark.row(
    *(21, "each parameter too low, too high, NaN, of another type, fixed; random sets under traffic"),
    "none invalid accepted; no half-applied set in 500",
)
ABOUT = {parameter.name: (parameter.default, parameter.metadata) for parameter in fields(GroundingParameters)}
STRANGERS = (None, True, 3, 0.5, "two", ["a", "b"], [1, 2], [0.5], [True], [b"\1"])


def wrong_values(name):
    default, about = ABOUT[name]
    kind = list if isinstance(default, tuple) else type(default)
    accepted = (float, int) if kind is float else (kind,)  # `min_score:=1` means 1.0
    wrong = [value for value in STRANGERS if type(value) not in accepted]
    if name == "command":
        wrong.remove(["a", "b"])  # YAML's reading of `[a, b]`
    low, high = about["range"]
    if low is not None:
        wrong += [kind(low - 1), kind(high + 1)]
    if kind is float:
        wrong += [float(text) for text in ("nan", "inf", "-inf", "-1e300")]
    if about["choices"]:
        wrong += ["no_such", ""]
    if kind is list:
        wrong += [
            [],
            ["a", "a"],
            ["", "a"],
            ["a b"],
            ["/a"],
            ["1"],
            ["a\n"],
            ["ä"],
            [f"c{i}" for i in range(65)],
        ]
    if name == "command":
        wrong += [" ; ", "...", "?!", "[ ]", "the mug and [?]", ["?!"]]
    return wrong


def right_value(name, rng):
    default, about = ABOUT[name]
    low, high = about["range"]
    if isinstance(default, bool):
        return rng.random() < 0.5
    if isinstance(default, str):
        return (
            rng.choice(("", "the mug", "find [the bowl]")) if name == "command" else rng.choice(("", "map"))
        )
    return rng.randint(low, high) if isinstance(default, int) else rng.uniform(low, high)


def stands(node):
    """The node's parameters, where they and its options are the same."""
    values = {name: node.get_parameter(name).value for name in ABOUT}
    values["cameras"] = tuple(values["cameras"])
    assert values == vars(node.parameters)
    return values


@PARAMETERS
def test_no_value_that_makes_no_sense_is_taken(serve, record_property):
    node = serve(active=False)
    before, wrong = stands(node), [(name, value) for name in ABOUT for value in wrong_values(name)]
    for name, value in wrong:
        [result] = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful, (name, value)
        assert result.reason
        assert stands(node) == before
    record_property("figure", f"{len(wrong)} values of {len(ABOUT)} parameters refused")


@PARAMETERS
def test_random_sets_are_taken_whole_or_not_at_all(serve, robot, count, record_property):
    node, rng = serve(command="the mug"), random.Random(0)
    client, taken, number = AsyncParameterClient(robot.node, "/grounding"), 0, count(500, 50)
    assert client.wait_for_services(60)
    with traffic(robot, 30):
        for _ in range(number):
            before = stands(node)
            wanted, sound = random_set(before, rng)
            answer = robot.result(client.set_parameters_atomically(wanted)).result
            assert answer.successful == sound, (wanted, answer.reason)
            changes = {parameter.name: parameter.value for parameter in wanted} if sound else {}
            assert stands(node) == before | changes
            taken += sound
    assert counts_of(node).snapshot().residual == 0
    record_property("figure", f"{number} random sets, {taken} taken, {number - taken} refused, none by half")


def random_set(before, rng):
    """Some parameters and their values, and whether all of them can be taken."""
    names = rng.sample(sorted(ABOUT), rng.randint(1, 5))
    wrong = {name for name in names if name in FIXED or rng.random() < 0.15}
    values = {
        name: rng.choice(wrong_values(name)[1:]) if name in wrong else right_value(name, rng)
        for name in names
    }
    after = before | values
    sound = not wrong and after["depth_min_m"] < after["depth_max_m"]
    return [Parameter(name, value=value) for name, value in values.items()], sound


@PARAMETERS
def test_commands_and_sets_at_once_are_all_taken(serve, robot, count, record_property):
    """A topic and a service, in threads of their own, that change other parts of the same set."""
    node, number = serve(), count(500, 50)
    client = AsyncParameterClient(robot.node, "/grounding")
    assert client.wait_for_services(60)
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for turn in range(number):
            robot.command(f"mug {turn}")
            robot.result(client.set_parameters_atomically([Parameter("max_boxes", value=turn % 100 + 1)]))
            until(lambda turn=turn: node.get_parameter("command").value == f"mug {turn}")
            until(lambda turn=turn: node.parameters.command == f"mug {turn}")
            stands(node)
    finally:
        sys.setswitchinterval(switch_s)
    record_property("figure", f"{number} sets and commands at once")


@PARAMETERS
def test_what_is_fixed_stands_while_the_model_loads(serve, model, record_property):
    began, let = threading.Event(), threading.Event()

    def load(options):
        began.set()
        assert let.wait(60)
        return model

    node = serve(active=False, load=load)
    configuring = threading.Thread(target=node.trigger_configure)
    configuring.start()
    assert began.wait(60)
    before = stands(node)
    [result] = node.set_parameters([Parameter("model", value="another")])
    let.set()
    configuring.join()
    assert not result.successful
    assert stands(node) == before
    record_property("figure", "fixed while loading")

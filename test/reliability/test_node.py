"""The node under stress: where each frame goes, faults of the model, stamps of all kinds."""

from __future__ import annotations

import math
import random
import time
from collections import Counter

import numpy as np
import pytest
import torch

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from builtin_interfaces.msg import Time  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data  # noqa: E402
from robot import PATIENCE_S  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from traffic import counts_of, finished, meet, resident_kib, stamp_ns, traffic, until  # noqa: E402

from kosmos2_core.boxes import Box  # noqa: E402
from kosmos2_ros.errors import Code  # noqa: E402

SECOND_NS = 10**9


# Row 1.

INFERENCE_S, RATE_HZ = 0.1, 30
FIFO = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def watch(latest):
    """Return a list that records each popped frame, and whether it was the newest when popping began."""
    popped, pop = [], latest.pop

    def watched():
        before = latest.newest
        frame = pop()
        if frame:
            popped.append((frame.stamp_ns, before is None or frame.stamp_ns >= before.stamp_ns))
        return frame

    latest.pop = watched
    return popped


@pytest.mark.row(
    *(1, "frame counts at 30 Hz into a model of 100 ms; best-effort and reliable, depth 1 and 5"),
    "3,000 frames; residual 0 in every snapshot; the newest frame each time",
)
@pytest.mark.parametrize("depth", [1, 5])
@pytest.mark.parametrize("qos", [qos_profile_sensor_data, FIFO], ids=["best-effort", "reliable"])
def test_frame_counts_add_up_and_the_newest_frame_is_next(
    serve, robot, model, qos, depth, count, record_property
):
    frames = count(750, 30)
    node = serve(command="the mug", **{"qos_overrides./image.subscription.depth": depth})
    model.pass_ = lambda jobs: time.sleep(INFERENCE_S)
    meet(node, robot)
    taken, snapshots = watch(node._frames[""].latest), 0
    first = counts_of(node).snapshot().received
    with traffic(robot, RATE_HZ, frames, qos) as sent:
        while not (sent.wait(0.001) and finished(node)):
            counts, snapshots = counts_of(node).snapshot(), snapshots + 1
            assert counts.residual == 0
            assert 0 <= counts.in_flight <= 3  # with the model, waiting, and just being replaced
        until(lambda: robot.heard["grounding"] and stamp_ns(robot.heard["grounding"][-1]) == taken[-1][0])
    counts = counts_of(node).snapshot()
    answered = [stamp_ns(message) for message in robot.heard["grounding"]]
    assert counts.outcomes["processed"] == len(answered)
    assert counts.received == len(answered) + counts.outcomes["replaced"]
    assert counts.outcomes["replaced"] > 0
    assert answered == sorted(set(answered))
    assert answered[-len(taken) :] == [stamp for stamp, _ in taken]
    assert all(newest for _, newest in taken)
    record_property(
        "figure",
        f"{counts.received - first} frames, {len(taken)} answered, residual 0 in {snapshots:,} snapshots",
    )


# Row 3.


@pytest.mark.row(
    *(3, "overload: 30 Hz into a model of 2 Hz, with a query in every third second"),
    "60 s; the newest frame each time; 99 % of ages <= 2 inferences + 50 ms; 95 % of what the model can do;"
    " memory + <= 5 MiB; a query answered within two inferences",
)
def test_overload(serve, robot, model, count, record_property):
    seconds, inference_s = count(60, 4), count(0.5, 0.1)
    node = serve(command="the mug")
    model.pass_ = lambda jobs: time.sleep(inference_s)
    meet(node, robot)
    answered, waits_s = len(robot.heard["grounding"]), []
    taken, rss_kib, began_s = watch(node._frames[""].latest), resident_kib(), time.monotonic()
    with traffic(robot, RATE_HZ, seconds * RATE_HZ) as sent:
        while not sent.wait(6 * inference_s):
            asked_s = time.monotonic()
            assert robot.call("locate", text="the bowl").error == Code.OK
            waits_s.append(time.monotonic() - asked_s)
    lasted_s = time.monotonic() - began_s
    until(lambda: finished(node))
    grown_mib = (resident_kib() - rss_kib) / 1024
    until(lambda: len(robot.heard["grounding"]) - answered >= len(taken))
    ages_s = [seconds_of(message.frame_age) for message in robot.heard["grounding"][answered:]]
    p99_s, done = float(np.quantile(ages_s, 0.99)), (len(taken) + len(waits_s)) * inference_s / lasted_s
    record_property(
        "figure",
        f"{lasted_s:.0f} s, {len(taken)} frames answered, each the newest; p99 of ages {p99_s:.3f} s;"
        f" {done:.0%} of what the model can do; {grown_mib:+.1f} MiB; {len(waits_s)} queries,"
        f" {max(waits_s):.3f} s at most",
    )
    assert all(newest for _, newest in taken)
    assert counts_of(node).snapshot().residual == 0
    assert p99_s <= count(2 * inference_s + 0.05, PATIENCE_S)
    assert done >= count(0.95, 0)
    assert grown_mib <= count(5, 50)
    assert max(waits_s) <= count(2 * inference_s + 0.05, PATIENCE_S)


def seconds_of(duration):
    return duration.sec + duration.nanosec / SECOND_NS


# Row 13.

SHORT_S = 0.1  # the shortest deadline there is
ERRORS = (RuntimeError, torch.OutOfMemoryError, MemoryError)
FAULTS = (
    *(error.__name__ for error in ERRORS),
    "ModelError",
    "hang",
)  # as the counts name them; NaN is the fourth


@pytest.mark.row(
    *(13, "the model fails, p = 0.2: RuntimeError, out of memory (GPU's, Python's), NaN, a hang"),
    "1,000 frames; the frame counts add up; each frame after is answered",
)
def test_a_fault_costs_its_own_frame_only(serve, robot, model, count, record_property):
    rng, number = random.Random(0), count(1000, 100)
    plan = [rng.choice(FAULTS) if rng.random() < 0.2 else "" for _ in range(number)]
    node = serve(command="the mug", query_timeout_s=SHORT_S, hang_timeout_s=SHORT_S)
    meet(node, robot)
    answered = until_finished(node, counts_of(node).snapshot().received)
    for fault in plan:
        before = counts_of(node).snapshot().received
        cause(fault, model)
        sent = robot.show()
        counts = until_finished(node, before + 1)
        model.boxes, model.pass_ = (Box(0.25, 0.5, 0.75, 1.0, 0.9),), type(model).pass_.__get__(model)
        failed = fault not in ("", "hang")
        assert counts.outcomes["processed"] == answered.outcomes["processed"] + (not failed), fault
        if not failed:
            robot.wait("grounding", lambda message, head=sent.header: message.header == head)
        answered = counts
    causes = {
        f"failed: {fault}": number for fault, number in Counter(plan).items() if fault not in ("", "hang")
    }
    assert answered.reasons == causes
    assert answered.residual == 0
    faults = ", ".join(f"{number} {fault}" for fault, number in sorted(Counter(plan).items()) if fault)
    record_property("figure", f"{number:,} frames, {faults}; {answered.outcomes['processed']} answered")


def cause(fault, model):
    if fault == "ModelError":
        model.boxes = (Box(0.25, 0.5, 0.75, 1.0, math.nan),)
    elif fault == "hang":
        model.pass_ = lambda jobs: time.sleep(1.5 * SHORT_S)
    elif fault:
        kind = {"OutOfMemoryError": torch.OutOfMemoryError, "MemoryError": MemoryError}.get(
            fault, RuntimeError
        )
        model.error = kind("at 0x7f00dead in /home/someone/model.py")


def until_finished(node, received):
    until(lambda: finished(node) == received)
    return counts_of(node).snapshot()


# Row 22.

TIMES = pytest.mark.row(
    *(22, "stamps: zero, future, backwards, equal, of no sense; simulated time that jumps"),
    "header copied exactly; no negative age",
)
NEVER = [Time(sec=-(2**31)), Time(sec=-1, nanosec=5), Time(nanosec=2**32 - 1), Time(sec=2**31 - 1)]


def ask(robot, stamp, frame="camera/optical ünter"):
    """An image of that stamp; its answer's age in seconds."""
    since = len(robot.heard["grounding"])
    sent = robot.show(head=Header(stamp=stamp, frame_id=frame))

    def is_about_it(message):  # an answer to an earlier image can still arrive
        return message.header == sent.header

    got = robot.wait("grounding", is_about_it, since)
    robot.wait("detections", is_about_it, since)
    return got.frame_age.sec + got.frame_age.nanosec / 1e9


def at(seconds):
    sec, nanosec = divmod(round(seconds * SECOND_NS), SECOND_NS)
    return Time(sec=sec, nanosec=nanosec)


@TIMES
def test_any_stamp_comes_back_as_it_was(serve, robot, record_property):
    node = serve(command="the mug", max_frame_age_s=0.0)
    meet(node, robot)
    now_s = robot.node.get_clock().now().nanoseconds // SECOND_NS
    steps = [at(0), at(0), at(now_s + 3600), *(at(now_s - back) for back in (0, 1, 1, 2, 60, 10**6))]
    ages_s = [ask(robot, stamp) for stamp in steps]
    assert min(ages_s) >= 0
    assert ages_s[0] < PATIENCE_S, "no stamp is no age"
    counts = counts_of(node).snapshot()
    assert (counts.outcomes["processed"], counts.residual) == (counts.received, 0)
    record_property("figure", f"{len(steps)} stamps, all copied, ages from {min(ages_s):.4f} s")


@TIMES
def test_a_stamp_of_no_sense_comes_back_as_it_was(serve, robot, record_property):
    node = serve(command="the mug", max_frame_age_s=0.0)
    meet(node, robot)
    assert min(ask(robot, stamp) for stamp in NEVER) >= 0
    record_property("figure", f"{len(NEVER)} stamps of no sense, all copied")


@TIMES
def test_simulated_time_may_jump(serve, robot, record_property):
    node = serve(command="the mug", use_sim_time=True, max_frame_age_s=5.0)
    clock = robot.publisher(Clock, "/clock")
    until(lambda: finished(node) or robot.show(head=Header(stamp=at(1))) is None)
    ages_s = []
    for now_s in (100, 100, 10, 2000, 0.5):  # a bag's begin, its loop, a pause
        clock.publish(Clock(clock=at(now_s)))
        until(lambda now_s=now_s: node.get_clock().now().nanoseconds == round(now_s * SECOND_NS))
        ages_s += [ask(robot, at(now_s)), ask(robot, at(now_s + 50)), ask(robot, at(max(now_s - 1, 0)))]
    assert min(ages_s) >= 0
    assert max(ages_s) <= 1 + 1e-6
    assert counts_of(node).snapshot().residual == 0
    clock.publish(Clock(clock=at(3000)))
    until(lambda: node.get_clock().now().nanoseconds == 3000 * SECOND_NS)
    robot.show(head=Header(stamp=at(2000)))
    until(lambda: counts_of(node).snapshot().outcomes["expired"])
    record_property(
        "figure", f"{len(ages_s)} frames around 4 jumps, ages of {min(ages_s):g} s to {max(ages_s):g} s"
    )

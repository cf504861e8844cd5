"""Rows 19 and 20: the node for hours. `make soak` runs them in full; `make test` shows that they run."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from kosmos2.msg import GroundedFrame  # noqa: E402
from processes import PATIENCE_S, process  # noqa: E402
from robot import values  # noqa: E402
from serving import spinning  # noqa: E402
from traffic import resident_kib  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
HOURS_S = 12 * 3600.0
MUG = ("--ros-args", "-p", "command:=the red mug")
TINY = ("-p", f"model:={ROOT / 'models/tabletop-tiny'}", "-p", "device:=cpu")
# Part of the samples after which memory, files and threads have to be steady. Until then the node's resident
# memory grows by pages of the camera's shared memory, 32 MiB with config/fastdds.xml: each page counts once
# the node has read an image in it.
WARM = 0.1


@dataclass(frozen=True)
class Sample:
    """The node's process after so many frames."""

    frames: int
    kib: int
    shared_kib: int  # of kib: pages of segments that DDS shares with other processes
    files: int
    threads: int


class Watcher:
    """Hears how many frames the node has received, and how long each inference took."""

    def __init__(self):
        self.node = rclpy.create_node("watcher")
        self.received, self.reports, self.news = 0, 0, threading.Condition()
        self.inference_s: list[float] = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._count, 10)
        self.node.create_subscription(GroundedFrame, "/grounding/grounding", self._time, 10)

    def _count(self, message):
        cameras = [values(status) for status in message.status if status.name.endswith(": camera")]
        with self.news:
            self.received = int(cameras[0]["received"]) if cameras else 0
            self.reports += 1
            self.news.notify_all()

    def _time(self, message):
        self.inference_s.append(message.inference_time.sec + message.inference_time.nanosec / 1e9)

    def wait(self):
        """Until the next report; the number of frames."""
        with self.news:
            before = self.reports
            assert self.news.wait_for(lambda: self.reports > before, PATIENCE_S), "the node is silent"
            return self.received


@contextmanager
def watching():
    watcher = Watcher()
    try:
        with spinning(watcher.node):
            yield watcher
    finally:
        watcher.node.destroy_node()


def soak(kind, arguments, camera, frames):
    """Run the node until it has received so many frames: samples of its process, and its inference times."""
    with watching() as watcher, process("soak_process.py", kind, *arguments, patience_s=HOURS_S) as node:
        node.wait("active")
        with process("soak_camera.py", *camera, patience_s=HOURS_S):
            samples = []
            while not samples or samples[-1].frames < frames:
                samples.append(sample(node.popen.pid, watcher.wait()))
    return samples, watcher.inference_s


def sample(process_id, frames):
    about = Path("/proc", str(process_id))
    files, threads = (len(list((about / name).iterdir())) for name in ("fd", "task"))
    shared_kib = resident_kib(process_id, "RssShmem")
    return Sample(frames, resident_kib(process_id), shared_kib, files, threads)


def steady(samples):
    """The samples after the first ones, in which memory is still being reserved."""
    return samples[int(len(samples) * WARM) :]


def slope_kib(samples, field="kib"):
    """Growth of memory for 1,000 frames, by least squares."""
    kib = [getattr(taken, field) for taken in samples]
    return float(np.polyfit([taken.frames / 1000 for taken in samples], kib, 1)[0])


def told(samples):
    rest, last = steady(samples), samples[-1]
    return (
        f"{last.frames:,} frames; memory {last.kib / 1024:.0f} MiB, after the first {WARM:.0%} of the frames"
        f" {slope_kib(rest):+.2f} KiB per 1,000 ({slope_kib(rest, 'shared_kib'):+.2f} of it shared memory of"
        f" DDS); files {rest[0].files} to {last.files}, threads {rest[0].threads} to {last.threads}"
    )


def check_steady(samples):
    """Neither files nor threads grow."""
    rest = steady(samples)
    assert {taken.files for taken in rest} == {rest[0].files}
    assert {taken.threads for taken in rest} == {rest[0].threads}


@pytest.mark.row(
    *(19, "soak: a model that answers at once, the frames of a day at 10 Hz"),
    "864,000 frames; memory + <= 1 KiB per 1,000 frames; files and threads constant",
)
@pytest.mark.timeout(HOURS_S)
def test_a_day_of_frames(ros, count, record_property):
    frames = count(864_000, 2_000)
    samples, _ = soak("stub", MUG, [count(2000, 500)], frames)
    record_property("figure", told(samples))
    assert samples[-1].frames >= frames
    check_steady(samples)
    assert slope_kib(steady(samples)) <= count(1, 10_000)


LONG_RUN = pytest.mark.row(
    *(20, "soak: the shipped model, with 1 % of faults; and the node as a user starts it, at 30 Hz"),
    "20,000 frames, and 20 minutes; memory + <= 16 MiB; files and threads constant; p99 of the last tenth of"
    " inferences <= 1.2 x the first",
)


def check_long_run(samples, inference_s, count, record_property):
    tenth = max(len(inference_s) // 10, 1)
    begin_s, end_s = (float(np.quantile(part, 0.99)) for part in (inference_s[:tenth], inference_s[-tenth:]))
    grown_mib = (samples[-1].kib - steady(samples)[0].kib) / 1024
    record_property(
        "figure",
        f"{told(samples)}, {grown_mib:+.1f} MiB in all; {len(inference_s):,} inferences, p99"
        f" {1000 * begin_s:.0f} ms at first, {1000 * end_s:.0f} ms at last",
    )
    check_steady(samples)
    assert grown_mib <= count(16, 100)
    assert end_s <= begin_s * count(1.2, 100)


@LONG_RUN
@pytest.mark.timeout(HOURS_S)
def test_many_frames_with_faults(ros, count, record_property):
    frames = count(20_000, 150)
    samples, inference_s = soak("faults", (*MUG, *TINY), [20, ROOT / "docs/tabletop.jpg"], frames)
    assert len(inference_s) > 0
    check_long_run(samples, inference_s, count, record_property)


@LONG_RUN
@pytest.mark.timeout(HOURS_S)
def test_twenty_minutes_at_30_hz(ros, count, record_property):
    frames = count(20 * 60 * 30, 150)
    samples, inference_s = soak("real", (*MUG, *TINY), [30, ROOT / "docs/tabletop.jpg"], frames)
    assert len(inference_s) > 0
    check_long_run(samples, inference_s, count, record_property)

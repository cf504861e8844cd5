"""Row 37: what starts, stops and crashes of the node leave in /dev/shm, which is memory."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from processes import environment, process
from reliability.test_node_processes import ARGUMENTS, WORDS
from traffic import traffic

from kosmos2_ros.shared_memory import MIN_AGE_S, remove_stale_segments

ROW = (37, "what 50 starts and stops of the node leave in /dev/shm", "1 MiB in all")
FAILED_START = """
from processes import SHARED, shared_files
from kosmos2_ros.node import GroundingNode
from kosmos2_ros.process import run

before = set(SHARED.iterdir())

def make():
    try:
        return GroundingNode(None)
    finally:
        print(*shared_files() - before)

run("grounding", make, print)
"""


def mib(files):
    return sum(file.stat().st_size for file in files if file.exists()) / (1 << 20)


@pytest.mark.row(*ROW)
@pytest.mark.parametrize("state", ARGUMENTS)
def test_a_node_that_stops_leaves_no_shared_memory_behind(robot, state, count, record_property):
    runs, held = count(18, 2), set()
    for number in range(runs):
        with traffic(robot, 10), process("node_process.py", *ARGUMENTS[state]) as node:
            node.wait(WORDS[state])
            files = node.shared_files()
            assert mib(files) > 1, "it has no shared memory: is Fast DDS in use?"
            status, _ = node.send((signal.SIGINT, signal.SIGTERM)[number % 2])
            assert status == 0
            held |= files
    record_property("figure", f"{runs} runs {state} left {mib(held):.2f} MiB")
    assert mib(held) <= 1


@pytest.mark.row(*ROW)
def test_a_node_that_cannot_be_made_leaves_no_shared_memory_behind(record_property):
    """A launch file may start it again and again."""
    command = [sys.executable, "-c", FAILED_START, "--ros-args", "-p", "max_boxes:=many"]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    files = set(map(Path, ended.stdout.split()))
    assert files
    record_property("figure", f"a failed start left {mib(files):.2f} MiB")
    assert mib(files) <= 1


@pytest.mark.row(*ROW)
def test_the_next_start_removes_what_a_killed_node_left(record_property):
    with process("node_process.py", *ARGUMENTS["idle"]) as node:
        node.wait("active")
        files = node.shared_files()
        node.popen.send_signal(signal.SIGKILL)
        node.popen.wait()
    segments = {file.with_name(file.name.removesuffix("_el")) for file in files if is_segment_lock(file)}
    left_mib = mib(segments)
    assert left_mib > 30, "a killed node leaves nothing: what remove_stale_segments does is not needed"
    for segment in segments:
        make_old(lock_file_of(segment))
    with process("node_process.py", *ARGUMENTS["idle"]) as node:
        node.wait("active")
        assert not any(file.exists() for segment in segments for file in (segment, lock_file_of(segment)))
    record_property("figure", f"the start after a kill removed {left_mib:.0f} MiB")


def is_segment_lock(file):
    return file.name.startswith(("fastrtps_", "fastdds_")) and "port" not in file.name and "_el" in file.name


def lock_file_of(segment):
    return segment.with_name(f"{segment.name}_el")


def make_old(file):
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 2 * MIN_AGE_S))


def test_the_segments_of_a_node_that_lives_stay():
    with process("node_process.py", *ARGUMENTS["idle"]) as node:
        node.wait("active")
        locks = {file for file in node.shared_files() if is_segment_lock(file)}
        assert locks
        for file in locks:
            make_old(file)
        remove_stale_segments()
        assert all(file.exists() and file.with_name(file.name[:-3]).exists() for file in locks)


@pytest.mark.parametrize(
    ("name", "old", "locked", "goes"),
    [
        ("fastrtps_0123456789abcdef", True, False, True),
        ("fastdds_0123456789abcdef", True, False, True),
        ("fastdds_0123456789abcdef", False, False, False),  # perhaps its owner has yet to lock it
        ("fastdds_0123456789abcdef", True, True, False),
        ("fastdds_port7400", True, False, False),
        ("another_program", True, False, False),
    ],
)
def test_only_old_segments_without_an_owner_are_removed(tmp_path, name, old, locked, goes):
    segment, lock = tmp_path / name, tmp_path / f"{name}_el"
    segment.write_bytes(b"x")
    with lock.open("wb") as owner:
        if locked:
            fcntl.flock(owner, fcntl.LOCK_EX)
        if old:
            make_old(lock)
        remove_stale_segments(tmp_path)
    assert (segment.exists(), lock.exists()) == (not goes, not goes)


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.touch()
    make_old(target)
    (tmp_path / "fastdds_0123456789abcdef").touch()
    (tmp_path / "fastdds_0123456789abcdef_el").symlink_to(target)
    remove_stale_segments(tmp_path)
    assert (tmp_path / "fastdds_0123456789abcdef").exists()
    remove_stale_segments(tmp_path / "missing")

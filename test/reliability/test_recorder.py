"""The answer recorder: whatever ends it, all that it wrote can be read, and its exit status is true."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
pytest.importorskip("rosbags", reason="this environment was set up without the extra `eval`")

from full_disk import small_disk  # noqa: E402
from kosmos2.msg import GroundedFrame  # noqa: E402
from processes import PATIENCE_S  # noqa: E402

from kosmos2_core.errors import InputError  # noqa: E402
from kosmos2_io.bag_reader import BagReader  # noqa: E402
from kosmos2_io.stamps import header_ns  # noqa: E402

NUMBERS = itertools.count()  # of nodes: a killed one is remembered for seconds
NOISE = random.Random(0)  # texts that cannot be compressed fill a disk, and chunks, soon
ROW = (
    34,
    "the recorder ended by SIGTERM, `kill -9` and a full disk, with MCAP and SQLite",
    "all that was written is readable; exit 0, by the signal, and 1 with one sentence",
)
STORAGES = pytest.mark.parametrize("storage", ["mcap", "sqlite3"])


class Recording:
    """A recorder, and the node whose answers it records: number N has the stamp N."""

    def __init__(self, node, name, folder, storage):
        self.topic, self.folder, self.sent = f"/{name}/grounding", folder, 0
        self.publisher = node.create_publisher(GroundedFrame, self.topic, 1000)
        command = [sys.executable, "-m", "kosmos2_ros.apps.answer_recorder", folder, "--storage", storage]
        self.process = subprocess.Popen(
            [*command, "--node", name], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        wait(self.publisher.get_subscription_count)
        wait(lambda: self.send(1) or self.numbers())  # the first ones are lost until it knows the node too
        self.first = self.numbers()[0]

    def send(self, count, size=1):
        for _ in range(count):
            self.sent += 1
            message = GroundedFrame(text=NOISE.randbytes(200 * size).hex())
            message.header.stamp.nanosec = self.sent
            self.publisher.publish(message)

    def numbers(self, folder=None):
        """The numbers of the answers in the bag, in its order; none if nothing can be read."""
        try:
            with BagReader([folder or self.folder]) as bag:
                return [header_ns(recorded.message()) for recorded in bag.messages([self.topic])]
        except InputError:
            return []

    def send_and_read(self, count):
        """Send answers, and wait until they can be read while the recorder goes on."""
        self.send(count)
        wait(lambda: self.sent in self.numbers())

    def has_no_gap(self, found):
        return found == list(range(self.first, self.first + len(found)))

    def end(self, number=signal.SIGTERM):
        """Return the exit status and what the recorder said."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        said = self.process.communicate(timeout=PATIENCE_S)[1]
        return self.process.returncode, said


@pytest.fixture
def record(ros):
    """Start a recorder, and wait until it hears its node."""
    node, started = rclpy.create_node("robot"), []

    def start(folder, storage):
        recording = Recording(node, f"grounding_{next(NUMBERS)}", folder, storage)
        started.append(recording.process)
        return recording

    yield start
    for process in started:
        process.kill()
        process.wait()
    node.destroy_node()


def wait(is_so):
    pause, until_s = threading.Event(), time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s, "it did not happen"
        pause.wait(0.01)


@STORAGES
@pytest.mark.row(*ROW)
def test_a_recorder_that_is_told_to_end_leaves_a_complete_bag(
    record, tmp_path, storage, count, record_property
):
    runs, answers = count(10, 1), 40
    for run in range(runs):
        recording = record(tmp_path / str(run), storage)
        recording.send_and_read(answers)
        assert recording.end() == (0, "")
        found = recording.numbers()
        assert found[-1] == recording.sent
        assert recording.has_no_gap(found)
        with BagReader([recording.folder]) as bag:
            assert bag.missing == []
        ending = {"mcap": "mcap", "sqlite3": "db3"}[storage]
        assert {file.name for file in recording.folder.iterdir()} == {"metadata.yaml", f"{run}.{ending}"}
    record_property("figure", f"{storage}, SIGTERM: {runs} of {runs} complete, exit 0")


@STORAGES
@pytest.mark.row(*ROW)
def test_a_recorder_that_is_killed_has_kept_each_answer(record, tmp_path, storage, count, record_property):
    """At a random moment under a stream of answers, of which some megabytes are written before."""
    runs, rng, kept = count(20, 2), random.Random(0), 0
    for run in range(runs):
        recording = record(tmp_path / str(run), storage)
        recording.send_and_read(40)
        for _ in range(rng.randrange(200, 400)):
            recording.send(1, size=rng.randrange(1, 100))
        seen = recording.numbers()
        assert recording.end(signal.SIGKILL) == (-signal.SIGKILL, "")
        found = recording.numbers()
        assert len(found) >= max(len(seen), 40)
        assert recording.has_no_gap(found)
        kept += len(found)
    record_property("figure", f"{storage}, killed: {runs} of {runs} readable, {kept:,} answers without a gap")


@STORAGES
@pytest.mark.row(*ROW)
def test_a_recorder_on_a_full_disk_says_so_and_keeps_what_it_wrote(
    record, tmp_path, storage, count, record_property
):
    runs, kept = count(5, 1), 0
    for run in range(runs):
        with small_disk(tmp_path / str(run), (1 << 20) + run * 100_000) as disk:
            recording, copy = record(disk / "answers", storage), tmp_path / f"copy {run}"
            recording.send_and_read(10)
            while recording.process.poll() is None:
                seen = recording.numbers()
                recording.send(10, size=20)
            status, said = recording.wait()
            found = recording.numbers()
            shutil.copytree(recording.folder, copy)
        assert status == 1
        kept_here = f"the bag {recording.folder}, in which {len(found):,} messages are kept, "
        assert said.startswith(f"answer_recorder: {kept_here}cannot be written (")
        assert said.count("\n") == 1
        assert len(found) >= max(len(seen), 10)
        assert recording.has_no_gap(found)
        assert recording.numbers(copy) == found
        kept += len(found)
    record_property("figure", f"{storage}, full disk: exit 1 in {runs} of {runs}, {kept:,} answers readable")

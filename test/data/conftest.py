"""A short simulated recording, and bags made from the messages that a test gives."""

from pathlib import Path

import pytest
from recordings import write_mcap

from kosmos2_sim.bag import BagPlan, make_bag


@pytest.fixture(scope="session")
def sim_bag(tmp_path_factory):
    """6 s at 2 Hz, 12 tiny images."""
    folder = tmp_path_factory.mktemp("bags") / "run"
    return make_bag(folder, BagPlan(seconds=6, rate_hz=2, seed=6, width=320, height=240))


@pytest.fixture
def bag_of(tmp_path):
    """Write messages, in the order of their log times, as a bag."""

    def write(said, name="made.mcap") -> Path:
        ordered = sorted(said, key=lambda message: message.stamp_ns)
        return write_mcap(tmp_path / name, ordered)

    return write

"""What all tests share: this session's ROS traffic stays on this machine and in this session."""

import fcntl
import importlib.util
import os
import random
import tempfile
from pathlib import Path
from typing import IO

import pytest
from hypothesis import settings

# The same examples in every run, however slow the machine; `pytest --hypothesis-profile=default` explores.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]


def reserve_domain_id() -> tuple[int, IO[str]]:
    """A domain id no other session on this machine uses, ours as long as the file stays open."""
    for domain in random.sample(range(1, 102), 101):  # above 101 the ports meet Linux's ephemeral ones
        lock = None
        try:
            lock = (Path(tempfile.gettempdir()) / f"kosmos2-ros-domain-{domain}.lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held by another session, or made by another user
            if lock:
                lock.close()
            continue
        return domain, lock
    raise RuntimeError("all ROS domain ids are in use on this machine")


DOMAIN_ID, _lock = reserve_domain_id()
# Small models are not worth two threads: on a busy machine one waits for the other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= {"ROS_DOMAIN_ID": str(DOMAIN_ID), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}

HAS_ROS = importlib.util.find_spec("rclpy") is not None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ros: needs ROS 2 and the built interfaces")
    config.addinivalue_line("markers", "slow: takes a minute or more; only `make test-all` runs it")
    config.addinivalue_line(
        "markers", "extra(name, module): needs an extra that only `make test-all` installs"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without_ros = pytest.mark.skip(reason="this environment was set up without ROS (ROS=none)")
    for item in items:
        if item.get_closest_marker("ros") and not HAS_ROS:
            item.add_marker(without_ros)
        for marker in item.iter_markers("extra"):
            name, module = marker.args
            if importlib.util.find_spec(module) is None:
                reason = f"set up without the extra `{name}`; `make test-all` has it"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT

"""The demo, as its user runs it: real camera, node and model, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2_ros.apps.demo import ABSENT, COMMANDS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def nodes_of(out: Path) -> list[str]:
    """Processes that were started with this folder's marker and still run."""
    marker = f"KOSMOS2_DEMO_TEST={out}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in process.read_bytes().split(b"\0"):
                found.append(process.parent.name)
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def test_it_shows_the_main_job_and_leaves_nothing_running(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kosmos2_ros.apps.demo", "--out", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"KOSMOS2_DEMO_TEST": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert nodes_of(tmp_path) == []
    lines = done.stdout.splitlines()
    for text in COMMANDS:
        assert any(line.startswith("command: " + text[:20]) for line in lines)
    missing = [line for line in lines if "not found" in line]
    assert [ABSENT in line for line in missing] == [True], done.stdout
    pictures = [np.asarray(Image.open(tmp_path / f"command-{number}.png")) for number in (1, 2, 3)]
    assert all(picture.shape == (480, 640, 3) for picture in pictures)
    for asked in ("locate:", "describe:", "ask:", "converse:"):
        assert any(line.startswith(asked) for line in lines)

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

from kosmos2_ros.apps.demo import ABSENT, COMMANDS, live_help  # noqa: E402

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


def test_the_live_demo_names_only_programs_that_are_installed(tmp_path, monkeypatch):
    for installed in ((), ("ros2", "rviz2")):
        monkeypatch.setattr(
            "kosmos2_ros.apps.demo.shutil.which",
            lambda name, found=installed: name if name in found else None,
        )
        words = " ".join(live_help(tmp_path)).split()
        assert [name in words for name in ("ros2", "rviz2")] == [
            name in installed for name in ("ros2", "rviz2")
        ]


def test_the_live_demo_has_the_topics_that_the_views_in_config_show():
    """One camera without a name: /grounding/annotated, not /grounding/camera/annotated."""
    source = (ROOT / "kosmos2_ros/apps/demo.py").read_text()
    assert "cameras=" not in source
    assert "/grounding/annotated" in (ROOT / "config/grounding.rviz").read_text()

"""Programs of kosmos2_ros, started where there is no ROS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("program", ["apps.grounding", "apps.demo", "apps.bag_player", "node"])
def test_without_ros_a_program_says_so_in_one_sentence(program):
    done = subprocess.run(
        [sys.executable, "-S", "-m", f"kosmos2_ros.{program}"],  # -S: no installed packages
        env=os.environ | {"PYTHONPATH": str(ROOT)},  # nor those of a sourced ROS
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("kosmos2: this program needs ROS 2")
    assert done.stderr.count("\n") == 1

"""Programs of kosmos2_ros, started where there is no ROS."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["apps.grounding", "apps.demo", "apps.bag_player", "node"])
def test_without_ros_a_program_says_so_in_one_sentence(program):
    command = [sys.executable, "-S", "-m", f"kosmos2_ros.{program}"]  # -S: no installed packages
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("kosmos2: this program needs ROS 2")
    assert done.stderr.count("\n") == 1

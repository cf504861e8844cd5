"""A robot's ROS 2: this environment's, with the interface packages built completely, C++ too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


@dataclass(frozen=True)
class Robot:
    """An environment with ROS 2, vision_msgs and tf2_msgs, and no kosmos2 yet."""

    messages: Path  # where vision_msgs and tf2_msgs are installed
    environ: Mapping[str, str]

    def run(self, command: str, cwd: Path, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        command = f"source {self.messages}/setup.bash && {command}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=cwd, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="session")
def robot_ros(tmp_path_factory) -> Robot:
    """Set-up builds these packages for Python only; on a robot they come from ROS, complete."""
    environ = dict(os.environ)
    for name in PATHS:
        parts = environ.get(name, "").split(os.pathsep)
        environ[name] = os.pathsep.join(part for part in parts if not part.startswith(f"{ROOT}/install"))
    environ["MAKEFLAGS"] = f"-j{os.cpu_count()}"  # colcon's own limit stops the build on a busy machine
    folder = tmp_path_factory.mktemp("robot_ros")
    build = ["colcon", "build", "--base-paths", str(ROOT / "interfaces"), "--cmake-args", "-G", "Ninja"]
    done = subprocess.run(build, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Robot(folder / "install", environ)

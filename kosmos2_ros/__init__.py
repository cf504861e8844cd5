"""The ROS 2 node `grounding`, and in `apps` the programs around it. The only package that imports rclpy."""

import importlib.util
import sys


def _require_ros() -> None:
    """End `python -m kosmos2_ros.<program>` with a sentence if ROS 2 or our messages are missing."""
    if all(importlib.util.find_spec(package) for package in ("rclpy", "kosmos2")):
        return
    print(
        "kosmos2: this program needs ROS 2 and this package's messages: `source env.sh`, or the setup.bash of"
        " ROS and of the workspace.",
        file=sys.stderr,
    )
    raise SystemExit(2)


if sys.argv[:1] == ["-m"]:  # so it is only while Python looks for the module of `python -m`
    _require_ros()

"""What tests of the node share."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("rclpy"):
    from serving import model, robot, ros, serve  # noqa: F401

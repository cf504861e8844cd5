"""The process of the node `grounding`: `kosmos2 node`, `ros2 run kosmos2 grounding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from rclpy.lifecycle import TransitionCallbackReturn

from kosmos2_ros.process import run


def make() -> Any:
    from kosmos2_ros.node import GroundingNode  # torch: seconds, in which signals are heard

    return GroundingNode()


def started(node: Any) -> None:
    """A node that cannot be configured stays, with the reason in its log, to be configured otherwise."""
    if node.options.autostart and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
        node.trigger_activate()


def main(args: Sequence[str] | None = None) -> NoReturn:
    run("grounding", make, started, args)


if __name__ == "__main__":
    main()

"""The process of the node `grounding`: `kosmos2 node`, `ros2 run kosmos2 grounding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from rclpy.lifecycle import TransitionCallbackReturn

from kosmos2_ros.process import run


def make_node() -> Any:
    """Return the node."""
    from kosmos2_ros.node import GroundingNode  # imports torch for seconds, during which signals work

    return GroundingNode()


def autostart(node: Any) -> None:
    """Configure and activate the node if its parameter `autostart` says so.

    A node that cannot be configured stays, with the reason in its log, so that it can be configured again.
    """
    if node.parameters.autostart and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
        node.trigger_activate()


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM."""
    run("grounding", make_node, autostart, args)


if __name__ == "__main__":
    main()

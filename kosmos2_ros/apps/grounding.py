"""The process of the node `grounding`: `kosmos2 node`, `ros2 run kosmos2 grounding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import TransitionCallbackReturn

from kosmos2_ros.apps.arguments import ROS_EPILOG, RosArgumentParser
from kosmos2_ros.process import run

NAME: Final = "grounding"
DESCRIPTION: Final = "Run the node: camera images and a command in, boxes out."
EXAMPLES: Final = (
    f"{ROS_EPILOG} For example: --ros-args -p model:=models/tabletop-tiny -p command:='the red mug'"
    " -r image:=/camera/image --params-file robot.yaml --log-level grounding:=debug. docs/interfaces.md lists"
    " all parameters and topics."
)
# Nodes on this machine find each other within a second.
NAMESAKE_PERIOD_S: Final = 0.5
NAMESAKE_LOOKS: Final = 10


def make_node() -> Any:
    """Return the node."""
    from kosmos2_ros.node import GroundingNode  # imports torch for seconds, during which signals work

    return GroundingNode()


def start(node: Any) -> None:
    """Begin the node's work when it spins."""
    NamesakeWarning(node)
    autostart(node)


class NamesakeWarning:
    """Looks for another node of the same name during the first seconds, and warns if there is one."""

    def __init__(self, node: Any) -> None:
        self._node, self._looks = node, 0
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time can stand still
        self._timer = node.create_timer(NAMESAKE_PERIOD_S, self._look, clock=steady)

    def _look(self) -> None:
        node, self._looks = self._node, self._looks + 1
        named = node.get_node_names_and_namespaces().count((node.get_name(), node.get_namespace()))
        if named > 1:
            node.get_logger().warning(
                f"another node is named {node.get_fully_qualified_name()}: its command ids and its names on"
                " /diagnostics cannot be told from this node's, and commands reach both. Give this node"
                " another name (`-r __node:=NAME`, `name:=NAME` of the launch file) or a namespace. A node"
                " that was killed stays visible for up to 20 s."
            )
        if named > 1 or self._looks == NAMESAKE_LOOKS:
            node.destroy_timer(self._timer)


def autostart(node: Any) -> None:
    """Configure and activate the node if its parameter `autostart` says so.

    A node that cannot be configured stays, with the reason in its log, so that it can be configured again.
    """
    if node.parameters.autostart and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
        node.trigger_activate()


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM."""
    RosArgumentParser(prog=NAME, description=DESCRIPTION, epilog=EXAMPLES).parse_without_ros(args)
    run(NAME, make_node, start, args)


if __name__ == "__main__":
    main()

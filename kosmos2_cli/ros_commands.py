"""Commands that need ROS 2: node, watch, say. ROS is imported only when one of them runs."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

from kosmos2_cli.main import CliCommand
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate

NODE_EXAMPLES = """
Examples:

  kosmos2 node -p model:=models/tabletop-tiny -p command:="the red mug" -r image:=/camera/image
  kosmos2 node --params-file robot.yaml --log-level debug

docs/node.md lists the parameters, topics and services. In another terminal, `kosmos2 say` sends commands to
the node and `kosmos2 watch` shows what it detects.
"""

WATCH_EXAMPLES = """
Examples:

  kosmos2 watch
  kosmos2 watch --node /robot/grounding
  kosmos2 watch --once --json

Shows the newest result of each camera of the node, on a terminal as a table that is updated. Without a
terminal, and with --json, each result is printed. Ctrl-C ends the command.
"""

SAY_EXAMPLES = """
Examples:

  kosmos2 say "the red mug"
  kosmos2 say "put [the red mug] into [the bowl]" --node /robot/grounding

Publishes the command on the node's topic `command`, waits for the first result of this command and prints its
command id. If there is no result, a message says why, and the exit code is 2. The command stays in force: the
node locates these objects in every image until it gets another command. docs/node.md explains commands.
"""

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
DEFAULT_NODE = "/grounding"


def import_ros(module: str) -> ModuleType:
    """Import a module that needs ROS.

    Raises:
        InputError: ROS or this package's messages are not in the environment.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"this command needs ROS 2 and the messages of this package, but {error.name} is not found:"
            " source ROS and the workspace, or run `make setup` and `source env.sh`."
        ) from None


def _add_node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ros-args",
        action="store_true",
        help="accepted, and not needed: the options below are ROS arguments",
    )
    parser.add_argument(
        "-p", action="append", default=[], metavar="NAME:=VALUE", help="set a parameter of the node"
    )
    parser.add_argument(
        "-r",
        action="append",
        default=[],
        metavar="FROM:=TO",
        help="rename a topic or service, the namespace (__ns:=/robot) or the node (__node:=name)",
    )
    parser.add_argument(
        "--params-file", action="append", default=[], metavar="FILE", help="read parameters from a YAML file"
    )
    parser.add_argument(
        "--log-level",
        action="append",
        default=[],
        metavar="[LOGGER:=]LEVEL",
        help=f"least severe messages to log: {', '.join(LOG_LEVELS)} (default: info)",
    )


def _run_node(arguments: argparse.Namespace) -> None:
    ros_arguments = make_ros_arguments(arguments)
    import_ros("kosmos2_ros.apps.grounding").main(ros_arguments)


def make_ros_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments for rclpy.

    Raises:
        InputError: an argument is not of the form that ROS reads.
    """
    words = []
    for parameter in arguments.p:
        words += ["-p", quote_command(_check_assignment("-p", parameter, "max_boxes:=3"))]
    for rule in arguments.r:
        words += ["-r", _check_assignment("-r", rule, "image:=/camera/image")]
    for file in arguments.params_file:
        if not Path(file).is_file():
            raise InputError(f"--params-file {file} is not a file.")
        words += ["--params-file", file]
    for level in arguments.log_level:
        if level.rpartition(":=")[2].lower() not in LOG_LEVELS:
            raise InputError(f"--log-level {level} is not a level: choose one of {', '.join(LOG_LEVELS)}.")
        words += ["--log-level", level]
    return ["--ros-args", *words] if words else []


def _check_assignment(option: str, text: str, example: str) -> str:
    name, separator, value = text.partition(":=")
    if not (name.strip() and separator and (value or option == "-p")):
        raise InputError(f"{option} {text} is not of the form NAME:=VALUE, such as {option} {example}.")
    return text


def quote_command(parameter: str) -> str:
    """Return a parameter such that ROS, which reads values as YAML, takes a command as text.

    Without the quotes `command:=[the mug]` would be a list.
    """
    name, separator, value = parameter.partition(":=")
    if not (separator and name == "command"):
        return parameter
    return f"{name}:={json.dumps(value, ensure_ascii=False)}"


def _add_node_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--node",
        default=DEFAULT_NODE,
        metavar="NAME",
        help="name of the running node, with its namespace (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="S",
        help="wait this many seconds for the node and for the first result (default: 10)",
    )


def _add_watch(parser: argparse.ArgumentParser) -> None:
    _add_node_name(parser)
    parser.add_argument("--once", action="store_true", help="print the first result and stop")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per result")


def _run_watch(arguments: argparse.Namespace) -> None:
    _check_timeout(arguments.timeout)
    watch = import_ros("kosmos2_ros.apps.watch").watch
    watch(arguments.node, arguments.once, arguments.json, arguments.timeout)


def _add_say(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text",
        metavar="TEXT",
        help="what to locate: a phrase, several phrases separated by `;`, or a command to a robot",
    )
    _add_node_name(parser)


def _run_say(arguments: argparse.Namespace) -> None:
    _check_timeout(arguments.timeout)
    Locate(arguments.text).grounded()  # reports a text that names nothing before ROS is started
    print(import_ros("kosmos2_ros.apps.say").say(arguments.text, arguments.node, arguments.timeout))


def _check_timeout(timeout_s: float) -> None:
    if not timeout_s > 0:  # NaN fails too
        raise InputError(f"--timeout is {timeout_s:g}: it must be more than 0 seconds.")


NODE = CliCommand(_add_node, _run_node, NODE_EXAMPLES)
WATCH = CliCommand(_add_watch, _run_watch, WATCH_EXAMPLES)
SAY = CliCommand(_add_say, _run_say, SAY_EXAMPLES)

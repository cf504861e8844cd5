"""Example:

  kosmos2 node -p model:=models/tabletop-tiny -p command:="the red mug" -r image:=/camera/image

docs/node.md says which parameters, topics and services there are.
"""

from __future__ import annotations

import argparse
import json
from typing import NoReturn

from kosmos2_core.errors import InputError

# ROS's own, which stand after --ros-args.
OPTIONS = {
    "-p": ("NAME:=VALUE", "a parameter"),
    "-r": ("FROM:=TO", "another name for a topic or service, or __ns:=/robot, __node:=name"),
    "--params-file": ("FILE", "parameters from a YAML file"),
    "--log-level": ("LEVEL", "debug, info, warn, error"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ros-args", action="store_true", help="may be said, as to any node")
    for option, (kind, about) in OPTIONS.items():
        parser.add_argument(option, metavar=kind, help=about, action="append", default=[])


def run(arguments: argparse.Namespace) -> NoReturn:
    try:
        from kosmos2_ros.apps.grounding import main
    except ModuleNotFoundError as error:
        raise InputError(
            f"the node needs ROS 2 and this package's messages, and {error.name} is not found: source ROS and"
            " the workspace, or run `make setup` and `source env.sh`."
        ) from None
    values = vars(arguments)
    given = [
        word
        for option in OPTIONS
        for value in values[option.lstrip("-").replace("-", "_")]
        for word in (option, quoted(value) if option == "-p" else value)
    ]
    main(["--ros-args", *given] if given else [])


def quoted(parameter: str) -> str:
    """ROS reads values as YAML, to which `[the mug]` is a list: a command stays as it was written."""
    name, said, value = parameter.partition(":=")
    return f"{name}:={json.dumps(value, ensure_ascii=False)}" if said and name == "command" else parameter

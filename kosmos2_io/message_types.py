"""ROS message types where no ROS is: what ROS 2 Jazzy has, and those that are defined in this repository.

`new("std_msgs/msg/String", data="...")` makes a message. Its bytes are those that ROS sends.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError

try:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    from rosbags.typesys.store import Typestore
except ImportError as error:
    raise InputError(
        f"bags cannot be read or written, rosbags cannot be imported ({error}): install the extra sim or"
        " eval (`pip install '.[sim]'`)."
    ) from None

DEFINED_HERE = ("kosmos2", "vision_msgs")  # Jazzy's own, tf2_msgs among them, rosbags knows


@cache
def typestore() -> Typestore:
    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for package in DEFINED_HERE:
        for file in _definitions(package):
            types.update(get_types_from_msg(file.read_text("utf-8"), f"{package}/msg/{file.stem}"))
    store.register(types)
    return store


def new(name: str, /, **fields: Any) -> Any:
    """A message of a type such as `std_msgs/msg/String`, with all its fields."""
    return typestore().types[name](**fields)


def _definitions(package: str) -> list[Path]:
    """The package's .msg files: of this clone, or where colcon or pip installed them."""
    clone = Path(__file__).resolve().parents[1]
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = [
        clone / "msg" if package == "kosmos2" else clone / "interfaces" / package / "msg",
        *(Path(prefix, "share", package, "msg") for prefix in prefixes),
    ]
    for folder in folders:
        if files := sorted(folder.glob("*.msg")):
            return files
    raise InputError(
        f"the message definitions of {package} are not found: source the ROS workspace that has them, or run"
        " from a clone of this repository."
    )

"""Messages of the ROS that runs here, made by the same code that makes those of bags."""

from __future__ import annotations

from array import array
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from kosmos2_io.answer_messages import AnswerMessages
from kosmos2_io.messages import Messages

TYPECODES = {"uint8": "B", "uint16": "H", "double": "d"}


def new(name: str, /, **fields: Any) -> Any:
    """A message of a type such as `std_msgs/msg/String`."""
    kind = message_class(name)
    declared = kind.get_fields_and_field_types()
    return kind(**{field: _value(declared[field], value) for field, value in fields.items()})


@cache
def message_class(name: str) -> Any:
    package, folder, kind = name.split("/")
    return getattr(import_module(f"{package}.{folder}"), kind)


def _value(declared: str, value: Any) -> Any:
    """Sequences of numbers as arrays, which rclpy takes whole; anything else it checks number by number."""
    if not isinstance(value, np.ndarray) or not declared.startswith("sequence<"):
        return value
    return array(TYPECODES[declared.removeprefix("sequence<").removesuffix(">")], value.tobytes())


ROS = Messages(new)
ANSWERS = AnswerMessages(ROS)

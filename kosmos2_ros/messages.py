"""Messages of the ROS that runs this process, made by the same code that makes the messages of bags."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_io.answer_messages import AnswerMessages
from kosmos2_io.messages import Messages

TYPECODES = {"uint8": "B", "uint16": "H", "double": "d"}


def new(name: str, /, **fields: Any) -> Any:
    """Return a message of a type such as `std_msgs/msg/String`."""
    kind = message_class(name)
    declared = kind.get_fields_and_field_types()
    return kind(**{field: _field_value(declared[field], value) for field, value in fields.items()})


@cache
def message_class(name: str) -> Any:
    """Return the Python class of a message type such as `std_msgs/msg/String`.

    Raises:
        ImportError, AttributeError, ValueError: This ROS does not know the type.
    """
    package, folder, kind = name.split("/")
    return getattr(import_module(f"{package}.{folder}"), kind)


def _field_value(declared: str, value: Any) -> Any:
    """Convert NumPy sequences to arrays: rclpy takes them whole, and checks lists number by number."""
    if not isinstance(value, np.ndarray) or not declared.startswith("sequence<"):
        return value
    return array(TYPECODES[declared.removeprefix("sequence<").removesuffix(">")], value.tobytes())


ROS = Messages(new)
ANSWERS = AnswerMessages(ROS)


# cv_bridge reads image encodings that kosmos2_io does not know. The package of this name in PyPI is ROS 1's,
# and ROS 2's does not load beside every NumPy: one orange pixel shows if it works.

BRIDGE_FAILURES = (ImportError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, cv2.error)


def cv_bridge_fallback() -> Callable[[Any], Pixels] | None:
    """Return a converter of image messages to RGB by cv_bridge, or None if it does not work."""
    orange = new(
        "sensor_msgs/msg/Image", height=1, width=1, encoding="bgr16", step=6, data=b"\x00\x00\x00\x80\xff\xff"
    )
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        works = bridge.imgmsg_to_cv2(orange, "rgb8").tolist() == [[[255, 128, 0]]]
    except BRIDGE_FAILURES:
        return None

    def to_rgb(message: Any) -> Pixels:
        try:
            return bridge.imgmsg_to_cv2(message, "rgb8")
        except BRIDGE_FAILURES as error:
            raise InputError(
                f"neither kosmos2 nor cv_bridge reads the image's encoding {message.encoding[:60]!r}"
                f" ({type(error).__name__})."
            ) from None

    return to_rgb if works else None

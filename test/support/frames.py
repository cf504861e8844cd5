"""Messages of cameras, as rclpy receives them and as a bag has them."""

import numpy as np
import pytest

from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages

KINDS = ["bag", pytest.param("rclpy", marks=pytest.mark.ros)]
HEAD = Messages(new).header(1_700_000_000_000_000_001, "camera_optical_frame")


def image(kind, rows, encoding, width, height, /, **fields):
    """rows: (rows, step), the message's bytes. Any field can be set to something else."""
    rows = np.ascontiguousarray(rows)
    values = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": rows.shape[1],
        "data": rows.tobytes(),
    }
    return _message(kind, "Image", values | fields)


def compressed(kind, format, data):
    return _message(kind, "CompressedImage", {"format": format, "data": data})


def _message(kind, name, fields):
    if kind == "rclpy":
        import sensor_msgs.msg

        return getattr(sensor_msgs.msg, name)(**fields)
    fields["data"] = np.frombuffer(fields["data"], np.uint8)
    return new(f"sensor_msgs/msg/{name}", header=HEAD, **fields)

"""ROS 2's cv_bridge, where it is installed and works: it reads the encodings that are not known here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
from sensor_msgs.msg import Image

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels

# The package of this name in PyPI is ROS 1's, and ROS 2's own does not load beside each NumPy: whether it
# works is tried with one orange pixel.
ORANGE = Image(height=1, width=1, encoding="bgr16", step=6, data=b"\x00\x00\x00\x80\xff\xff")
FAILURES = (ImportError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, cv2.error)


def fallback() -> Callable[[Any], Pixels] | None:
    """What `kosmos2_io.encodings.to_rgb` takes for it. None: there is none that works."""
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        works = bridge.imgmsg_to_cv2(ORANGE, "rgb8").tolist() == [[[255, 128, 0]]]
    except FAILURES:
        return None

    def to_rgb(message: Any) -> Pixels:
        try:
            return bridge.imgmsg_to_cv2(message, "rgb8")
        except FAILURES as error:
            raise InputError(
                f"neither kosmos2 nor cv_bridge reads the image's encoding {message.encoding[:60]!r}"
                f" ({type(error).__name__})."
            ) from None

    return to_rgb if works else None

"""cv_bridge is asked where it works, and says the same as we do."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from frames import image

from kosmos2_core.errors import InputError
from kosmos2_io.images import ENCODINGS, to_rgb

pytestmark = pytest.mark.ros

FOR_DISPLAY_ALONE = {"8UC1", "8UC3", "8UC4"}  # cv_bridge shows them so, but does not convert them
NOT_OF_ROS_2 = {"nv12", "nv21"}  # cv_bridge has no planes


def in_place(monkeypatch, imgmsg_to_cv2):
    """A cv_bridge that reads messages so."""
    bridge = SimpleNamespace(CvBridge=lambda: SimpleNamespace(imgmsg_to_cv2=imgmsg_to_cv2))
    monkeypatch.setitem(sys.modules, "cv_bridge", bridge)
    from kosmos2_ros.messages import cv_bridge_fallback

    return cv_bridge_fallback()


def halved(message, encoding):
    """Read three channels of 16 bits as cv_bridge reads bgr16, and nothing else."""
    if message.encoding not in ("bgr16", "16UC3"):
        raise RuntimeError(f"Unrecognized image encoding [{message.encoding}]\nmore")
    numbers = np.frombuffer(message.data, "<u2").reshape(message.height, message.width, 3)
    return np.rint(numbers[..., ::-1] / 257).astype(np.uint8)


def broken(message, encoding):
    raise RuntimeError("module compiled against another NumPy")


def test_a_cv_bridge_that_works_reads_what_we_do_not(monkeypatch):
    fallback = in_place(monkeypatch, halved)
    blue = np.tile(np.array([65535, 0, 0], "<u2").view(np.uint8), (2, 3))
    assert (to_rgb(image("rclpy", blue, "16UC3", 3, 2), fallback) == (0, 0, 255)).all()
    with pytest.raises(InputError, match="neither kosmos2 nor cv_bridge reads"):
        to_rgb(image("rclpy", blue, "64FC3", 3, 2), fallback)


@pytest.mark.parametrize(
    "read", [broken, lambda message, encoding: np.zeros((1, 1, 3), np.uint8)], ids=["raises", "lies"]
)
def test_a_cv_bridge_that_does_not_work_is_none(monkeypatch, read):
    assert in_place(monkeypatch, read) is None


def test_no_cv_bridge_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    from kosmos2_ros.messages import cv_bridge_fallback

    assert cv_bridge_fallback() is None


@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - FOR_DISPLAY_ALONE - NOT_OF_ROS_2))
def test_cv_bridge_says_the_same(encoding):
    from kosmos2_ros.messages import cv_bridge_fallback

    if (theirs := cv_bridge_fallback()) is None:
        pytest.skip("cv_bridge is not installed here, or does not work")
    wide = ENCODINGS[encoding].layout.row_bytes(16)
    rows = np.random.default_rng(0).integers(0, 256, (12, wide), np.uint8)
    message = image("rclpy", rows, encoding, 16, 12)
    assert np.array_equal(to_rgb(message), theirs(message))

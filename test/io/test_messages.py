"""Messages say what was put into them, in ROS's units and frames."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages, quaternion_xyzw

messages = Messages(new)

HEAD = messages.header(1_700_000_000_000_000_001, "camera_optical_frame")


def test_a_stamp_is_split_into_seconds_and_nanoseconds():
    assert (HEAD.stamp.sec, HEAD.stamp.nanosec) == (1_700_000_000, 1)


def test_an_image_is_its_pixels_row_by_row():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    value = messages.image(HEAD, pixels[:, ::-1])  # not contiguous
    assert (value.height, value.width, value.step, value.encoding) == (4, 5, 15, "rgb8")
    assert bytes(value.data) == pixels[:, ::-1].tobytes()


def test_a_jpeg_is_red_where_the_image_is_red():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    seen = cv2.imdecode(messages.compressed_image(HEAD, red).data, cv2.IMREAD_COLOR)[16, 16]
    assert np.abs(seen.astype(int) - (0, 0, 200)).max() < 5  # OpenCV's order is blue first


def test_depth_is_metres_or_rounded_millimetres_with_0_for_unknown():
    depth_m = np.array([[0.5004, 1.2346, 70.0, np.nan, 0.0]], np.float32)
    metres = messages.depth_image(HEAD, depth_m, "32FC1")
    assert metres.step == 20
    np.testing.assert_array_equal(metres.data.view("<f4"), depth_m[0])
    millimetres = messages.depth_image(HEAD, depth_m, "16UC1")
    assert millimetres.step == 10
    assert millimetres.data.view("<u2").tolist() == [500, 1235, 0, 0, 0]


def test_the_principal_point_of_ros_is_half_a_pixel_less():
    """The middle of an image 4 pixels wide is between pixels 1 and 2, whose centres are at 1 and 2 in ROS."""
    info = messages.camera_info(HEAD, np.array([[9.0, 0, 2], [0, 9, 1], [0, 0, 1]]), 4, 2)
    assert info.k.tolist() == [9, 0, 1.5, 0, 9, 0.5, 0, 0, 1]
    assert info.p.tolist() == [9, 0, 1.5, 0, 0, 9, 0.5, 0, 0, 0, 1, 0]


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_a_quaternion_turns_as_its_matrix_does(numbers):
    x, y, z, w = numbers / np.linalg.norm(numbers)
    matrix = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    found = np.array(quaternion_xyzw(matrix))
    assert abs(found @ (x, y, z, w)) == pytest.approx(1, abs=1e-12)
    assert found[3] >= 0

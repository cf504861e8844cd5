"""A camera model looks where OpenCV's looks, from the same CameraInfo."""

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_core.errors import InputError
from kosmos2_io.camera_model import CameraModel
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages

K = np.array([[500.0, 0, 319.5], [0, 510, 239.5], [0, 0, 1]])
PLUMB_BOB = (-0.28, 0.07, 0.0005, -0.0003, 0.01)
RATIONAL = (0.5, -2.6, 0.0006, -0.0001, 1.5, 0.38, -2.4, 1.4)
EQUIDISTANT = (-0.02, 0.01, -0.008, 0.002)
MODELS = [("plumb_bob", PLUMB_BOB), ("plumb_bob", PLUMB_BOB[:4]), ("rational_polynomial", RATIONAL)]
MODELS += [("equidistant", EQUIDISTANT), ("plumb_bob", (0,) * 5), ("", ())]
RNG = np.random.default_rng(0)
POINTS_M = np.column_stack([RNG.uniform(-0.6, 0.6, 300), RNG.uniform(-0.45, 0.45, 300), np.ones(300)])
POINTS_M *= RNG.uniform(0.3, 4, (300, 1))


def info(d=(), model="plumb_bob", k=K, width=640, height=480, binning=0, roi=(0, 0, 0, 0)):
    x, y, wide, high = roi
    return SimpleNamespace(
        k=np.array(k, float).ravel(),
        d=np.array(d, float),
        distortion_model=model,
        width=width,
        height=height,
        binning_x=binning,
        binning_y=binning,
        roi=SimpleNamespace(x_offset=x, y_offset=y, width=wide, height=high, do_rectify=False),
    )


def by_opencv(model, d, points_m):
    """Where OpenCV has points, which counts from the first pixel's centre."""
    still, d = np.zeros(3), np.array(d or (0,) * 4, float)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(points_m[:, None], still, still, K, d)[0].reshape(-1, 2)
    return cv2.projectPoints(points_m[:, None], still, still, K, d)[0].reshape(-1, 2)


@pytest.mark.parametrize(("model", "d"), MODELS)
def test_points_are_half_a_pixel_from_where_opencv_has_them(model, d):
    expected = by_opencv(model, d, POINTS_M) + 0.5
    np.testing.assert_allclose(CameraModel.of(info(d, model)).project(POINTS_M), expected, atol=1e-6)


@pytest.mark.parametrize(("model", "d"), MODELS)
def test_a_ray_leads_back_to_its_point(model, d):
    camera = CameraModel.of(info(d, model))
    points_px = RNG.uniform(0, (640, 480), (300, 2))
    rays = camera.rays(points_px)
    assert (rays[:, 2] == 1).all()
    np.testing.assert_allclose(camera.project(rays * RNG.uniform(0.1, 9, (300, 1))), points_px, atol=1e-3)


@given(st.floats(-0.35, 0.1), st.floats(0, 0.05), st.floats(0, 640), st.floats(0, 480))
def test_whatever_the_distortion_a_ray_leads_back_or_is_unknown(k1, k2, u, v):
    camera = CameraModel.of(info((k1, k2, 0, 0)))
    back = camera.project(camera.rays(np.array([[u, v]])))[0]
    assert np.isnan(back).all() or np.abs(back - (u, v)).max() < 0.11


def test_the_middle_of_the_image_of_a_simulated_camera_looks_straight_ahead():
    matrix = np.array([[80.0, 0, 50], [0, 80, 25], [0, 0, 1]])
    messages = Messages(new)
    camera = CameraModel.of(messages.camera_info(messages.header(0, "eye"), matrix, 100, 50))
    np.testing.assert_allclose(camera.matrix, matrix)
    np.testing.assert_allclose(
        camera.rays(np.array([[50.0, 25], [0, 0]])), [[0, 0, 1], [-50 / 80, -25 / 80, 1]]
    )
    assert (camera.width, camera.height, camera.distortion.size) == (100, 50, 0)


def test_what_is_behind_or_far_outside_is_nowhere_in_the_image():
    camera = CameraModel.of(info(PLUMB_BOB))
    assert np.isnan(camera.project(np.array([[0.0, 0, -1], [0, 0, 0], [30, 0, 1]]))).all()
    assert len(camera.project(np.zeros((0, 3)))) == len(camera.rays(np.zeros((0, 2)))) == 0
    wide = CameraModel.of(info(EQUIDISTANT, "equidistant"))
    assert np.isnan(wide.rays(np.array([[5000.0, 240]]))[0, :2]).all()  # more than 90 degrees to the side


def test_binning_and_a_region_of_interest_see_what_the_whole_image_sees_there():
    whole = CameraModel.of(info(PLUMB_BOB))
    part = CameraModel.of(info(PLUMB_BOB, binning=2, roi=(100, 60, 200, 120)))
    assert (part.width, part.height) == (100, 60)
    points_px = np.array([[0.0, 0], [31, 17]])
    np.testing.assert_allclose(part.rays(points_px), whole.rays(2 * points_px + (100, 60)), atol=1e-9)
    assert not part.same_as(whole)
    assert whole.same_as(CameraModel.of(info(PLUMB_BOB)))


@pytest.mark.ros
def test_a_message_of_rclpy_says_the_same():
    from sensor_msgs.msg import CameraInfo

    message = CameraInfo(
        k=K.ravel(), d=array.array("d", PLUMB_BOB), distortion_model="plumb_bob", width=640, height=480
    )
    assert CameraModel.of(message).same_as(CameraModel.of(info(PLUMB_BOB)))


NAN_K = [[np.nan, 0, 1], [0, 1, 1], [0, 0, 1]]
MIRRORED_K = [[-1, 0, 1], [0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (info(k=np.zeros((3, 3))), "not calibrated"),
        (info(k=NAN_K), "K has a number that is not finite"),
        (info(k=MIRRORED_K), "is not fx 0 cx"),
        (info((np.inf,) * 5), "D has a number that is not finite"),
        (info(PLUMB_BOB, "omnidirectional"), "'omnidirectional' is not known"),
        (info(PLUMB_BOB[:3]), "D has 3 numbers"),
        (info(k=[[1, 0, 320], [0, 1, 240], [0, 0, 1]]), "cannot belong to images of 640 x 480"),
        (info(k=[[1e9, 0, 320], [0, 1e9, 240], [0, 0, 1]]), "cannot belong to images of 640 x 480"),
        (info(k=[[500, 0, 1e6], [0, 500, 240], [0, 0, 1]]), "cannot belong to images of 640 x 480"),
        (info(width=0), "is empty"),
        (info(binning=1000), "is empty"),
    ],
)
def test_what_is_no_camera_is_refused_in_a_sentence(message, says):
    with pytest.raises(InputError, match=says) as caught:
        CameraModel.of(message)
    assert str(caught.value).endswith(".")

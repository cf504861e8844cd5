"""Depth is in metres, and NaN where the camera does not know it."""

import struct

import cv2
import numpy as np
import pytest
from frames import HEAD, KINDS, compressed, image

from kosmos2_core.errors import InputError
from kosmos2_io.depth import to_depth_m
from kosmos2_io.message_types import new
from kosmos2_io.messages import DEPTH_ENCODINGS, Messages

DEPTH_M = np.array([[0.5, 1.235, 65.535], [0.001, np.nan, 3.0]], np.float32)


def rows_of(values):
    return values.view(np.uint8)


def png(values):
    return cv2.imencode(".png", values)[1].tobytes()


@pytest.mark.parametrize("encoding", DEPTH_ENCODINGS)
def test_what_is_written_is_read_again(encoding):
    message = Messages(new).depth_image(HEAD, DEPTH_M, encoding)
    np.testing.assert_array_equal(to_depth_m(message), DEPTH_M)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_millimetres_are_metres_and_0_is_unknown(kind, padding, big, encoding):
    values = np.array([[500, 1235, 65535], [1, 0, 3000]], ">u2" if big else "<u2")
    rows = np.pad(rows_of(values), [(0, 0), (0, padding)], constant_values=9)
    found = to_depth_m(image(kind, rows, encoding, 3, 2, is_bigendian=big))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, DEPTH_M)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("order", "<>")
def test_metres_that_are_none_are_unknown(kind, padding, order):
    values = np.array([[0.25, 0, -1], [np.nan, np.inf, -np.inf]], f"{order}f4")
    rows = np.pad(rows_of(values), [(0, 0), (0, padding)], constant_values=255)
    found = to_depth_m(image(kind, rows, "32FC1", 3, 2, is_bigendian=int(order == ">")))
    np.testing.assert_array_equal(found, np.array([[0.25, np.nan, np.nan], [np.nan] * 3], np.float32))


def test_depth_is_not_a_view_of_the_message():
    message = image("bag", rows_of(np.ones((2, 3), "<f4")), "32FC1", 3, 2)
    to_depth_m(message)[:] = 7
    assert (to_depth_m(message) == 1).all()


# Compressed, as image_transport does it.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "format", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "16UC1; png compressed "]
)
def test_compressed_millimetres(kind, format):
    prefix = struct.pack("<iff", 0, 0, 0) if "compressedDepth" in format else b""
    values = np.array([[500, 1235, 65535], [1, 0, 3000]], np.uint16)
    message = compressed(kind, format, prefix + png(values))
    np.testing.assert_array_equal(to_depth_m(message), DEPTH_M)


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_metres_are_as_near_as_their_16_bits(kind):
    """As it is written: quantised so that what is near is finer, and 0 where it is far or unknown."""
    depth_m = np.random.default_rng(0).uniform(0.3, 9.9, (20, 30)).astype(np.float32)
    depth_m[3] = np.nan
    finest, farthest = 100.0, 10.0
    a = finest * (finest + 1)
    b = 1 - a / farthest
    inverse = np.where(depth_m < farthest, a / depth_m + b, 0).astype(np.uint16)
    message = compressed(kind, "32FC1; compressedDepth png", struct.pack("<iff", 0, a, b) + png(inverse))
    found = to_depth_m(message)
    assert np.isnan(found[3]).all()
    known = ~np.isnan(depth_m)
    step_m = depth_m[known] ** 2 / a  # of one of the 16 bits' values
    assert (np.abs(found[known] - depth_m[known]) <= 1.1 * step_m).all()


def test_an_inverse_that_is_no_distance_is_unknown():
    values = np.array([[0, 5, 4, 6]], np.uint16)
    message = compressed("bag", "32FC1; compressedDepth png", struct.pack("<iff", 0, 2, 5) + png(values))
    np.testing.assert_array_equal(to_depth_m(message), np.array([[np.nan, np.nan, np.nan, 2]], np.float32))


GREY8 = png(np.zeros((4, 4), np.uint8))
GREY16 = png(np.ones((4, 4), np.uint16))


@pytest.mark.parametrize(
    ("format", "data", "words"),
    [
        ("16UC1; compressedDepth png", bytes(12), "12 bytes"),
        ("16UC1; compressedDepth png", bytes(12) + GREY16[:-30], "damaged"),
        ("16UC1; compressedDepth png", GREY16, "not an image"),
        ("16UC1; compressedDepth png", bytes(12) + GREY8, "16 bits"),
        ("16UC1; compressedDepth rvl", bytes(12) + GREY16, "RVL"),
        ("32FC1; compressedDepth png", struct.pack("<iff", 0, np.nan, 1) + GREY16, "scale"),
        ("32FC1; compressedDepth png", struct.pack("<iff", 0, 0, 1) + GREY16, "scale"),
        ("32FC1; compressedDepth png", struct.pack("<iff", 0, 1, np.inf) + GREY16, "scale"),
        ("32FC1; png compressed ", GREY16, "compressedDepth"),
        ("rgb8; jpeg compressed bgr8", GREY16, "not depth, but 'rgb8; jpeg"),
        ("", GREY16, "not depth"),
    ],
)
def test_compressed_depth_that_cannot_be_used_is_said_in_a_sentence(format, data, words):
    with pytest.raises(InputError) as error:
        to_depth_m(compressed("bag", format, data))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "fields", "words"),
    [
        ("rgb8", {}, "not depth, but 'rgb8'"),
        ("16UC1", {"step": 5}, "step is 5"),
        ("16UC1", {"data": bytes(11)}, "11 bytes"),
        ("32FC1", {}, "step is 6, but 3 pixels take 12"),
        ("16UC1", {"width": 0}, "0x2"),
    ],
)
def test_depth_that_cannot_be_used_is_said_in_a_sentence(encoding, fields, words):
    message = image("bag", np.zeros((2, 6), np.uint8), encoding, 3, 2, **fields)
    with pytest.raises(InputError) as error:
        to_depth_m(message)
    assert words in str(error.value)

"""Boxes and their location tokens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.kosmos2.processing_kosmos2 import (
    coordinate_to_patch_index,
    patch_index_to_coordinate,
)

from kosmos2_core.boxes import Box, box_of_cells, box_of_pixels, cells_of_box, iou, suppress
from kosmos2_core.errors import InputError

CELLS = st.integers(0, 31)
UNIT = st.floats(0, 1, allow_subnormal=False)


@st.composite
def boxes(draw):
    x1, x2 = sorted(draw(st.lists(UNIT, min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(UNIT, min_size=2, max_size=2, unique=True)))
    return Box(x1, y1, x2, y2)


def test_the_paper_s_example():
    box = box_of_cells(44, 863)
    assert (box.x1, box.y1, box.x2, box.y2) == (0.390625, 0.046875, 0.984375, 0.828125)


@given(CELLS, CELLS, CELLS, CELLS)
def test_decoding_is_the_peer_s_and_encoding_inverts_it(left, top, right, bottom):
    upper_left, lower_right = top * 32 + left, bottom * 32 + right
    box = box_of_cells(upper_left, lower_right)
    if right < left or bottom < top:
        assert box is None
        return
    assert (box.x1, box.y1, box.x2, box.y2) == patch_index_to_coordinate(upper_left, lower_right, 32)
    assert cells_of_box(box) == (upper_left, lower_right)


@given(boxes())
def test_encoding_is_the_peer_s_and_always_a_box(box):
    corners = cells_of_box(box)
    if box.x1 < 0.9999 and box.y1 < 0.9999 and box.x2 > 1e-4 and box.y2 > 1e-4:
        assert corners == coordinate_to_patch_index((box.x1, box.y1, box.x2, box.y2), 32)
    assert box_of_cells(*corners) is not None


@given(st.integers(0, 223), st.integers(0, 223), st.integers(1, 224), st.integers(1, 224))
def test_whole_pixels_on_the_edges_of_cells(x, y, width, height):
    box = box_of_pixels(x, y, min(x + width, 224), min(y + height, 224), 224, 224)
    assert cells_of_box(box) == coordinate_to_patch_index((box.x1, box.y1, box.x2, box.y2), 32)


@pytest.mark.parametrize("pair", [(-1, 5), (0, 1024), (5, 4), (32, 31), (1024, 1024)])
def test_what_is_no_box_decodes_to_none(pair):
    assert box_of_cells(*pair) is None


@pytest.mark.parametrize(
    "corners",
    [
        (0.5, 0, 0.5, 1),
        (0.6, 0, 0.5, 1),
        (-0.1, 0, 1, 1),
        (0, 0, 1, 1.1),
        (math.nan, 0, 1, 1),
        (0, 0, math.inf, 1),
    ],
)
def test_what_is_no_box_is_refused(corners):
    with pytest.raises(InputError, match="x1 < x2"):
        Box(*corners)


def test_pixels_there_and_back():
    assert Box(0.25, 0.5, 0.75, 1).pixels(640, 480) == (160, 240, 480, 480)
    assert box_of_pixels(160, 240, 480, 480, 640, 480) == Box(0.25, 0.5, 0.75, 1)
    assert box_of_pixels(-20, -20, 700, 500, 640, 480) == Box(0, 0, 1, 1)
    with pytest.raises(InputError):
        box_of_pixels(700, 0, 800, 10, 640, 480)  # all of it outside
    with pytest.raises(InputError):
        box_of_pixels(0, 0, math.nan, 10, 640, 480)


@given(boxes(), boxes())
def test_iou_is_a_symmetric_share(a, b):
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1 + 1e-9


def test_iou_by_hand():
    assert iou(Box(0, 0, 0.5, 0.5), Box(0.25, 0, 0.75, 0.5)) == pytest.approx(1 / 3)
    assert iou(Box(0, 0, 0.5, 0.5), Box(0.5, 0, 1, 0.5)) == 0


def test_iou_of_boxes_whose_area_is_too_small_for_a_float():
    speck = Box(0, 0, 1e-200, 1e-200)
    assert iou(speck, speck) == 0


def test_near_duplicates_are_left_out_and_the_first_stays():
    first, near, far = Box(0, 0, 0.5, 0.5), Box(0, 0, 0.5, 0.52), Box(0.5, 0.5, 1, 1)
    assert suppress([first, near, far], 0.7) == [first, far]
    assert suppress([near, first, far], 0.7) == [near, far]

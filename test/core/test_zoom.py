"""The closer look: what is cut out, and where its boxes are in the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_core.boxes import Box
from kosmos2_core.zoom import LARGEST, SMALLEST, cut, cut_around, in_whole

sides = st.floats(0.001, 0.29)
corners = st.floats(0, 0.7)


@given(corners, corners, sides, sides)
def test_the_cut_shows_the_box_with_room_around(x, y, width, height):
    box = Box(x, y, x + width, y + height)
    part = cut_around(box)
    assert part is not None
    assert part.x1 <= box.x1 + 1e-9
    assert part.y1 <= box.y1 + 1e-9
    assert part.x2 >= box.x2 - 1e-9
    assert part.y2 >= box.y2 - 1e-9
    assert part.x2 - part.x1 == pytest.approx(part.y2 - part.y1)  # the image's proportions
    assert SMALLEST - 1e-9 <= part.x2 - part.x1 <= LARGEST + 1e-9


def test_a_large_box_gains_nothing():
    assert cut_around(Box(0.1, 0.4, 0.9, 0.5)) is None


@given(corners, corners, sides, sides, st.integers(1, 60), st.integers(1, 80))
def test_a_box_of_the_cut_is_where_its_pixels_are(x, y, width, height, rows, columns):
    image = np.arange(rows * columns * 3, dtype=np.uint8).reshape(rows, columns, 3)
    pixels, part = cut(image, cut_around(Box(x, y, x + width, y + height)))
    assert pixels.size
    whole = in_whole(Box(0, 0, 1, 1, 0.5), part)
    x1, y1, x2, y2 = (round(value) for value in whole.pixels(columns, rows))
    np.testing.assert_array_equal(image[y1:y2, x1:x2], pixels)
    assert whole.score == 0.5

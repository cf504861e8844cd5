"""Pictures of answers: every box can be seen, every label read, and the image itself is not touched."""

import numpy as np
import pytest

from kosmos2_core.answers import Entity
from kosmos2_core.boxes import Box
from kosmos2_core.drawing import arrange_tiles, draw


def picture(value, height=240, width=320):
    return np.full((height, width, 3), value, dtype=np.uint8)


def entity(phrase, *boxes):
    return Entity(phrase, 0, len(phrase), boxes)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_box_is_seen_on_any_background(value):
    image = picture(value)
    drawn = draw(image, [entity("the mug", Box(0.25, 0.25, 0.75, 0.75, 0.9))])
    assert (image == value).all()
    edge = drawn[120, 76:86].astype(int)  # across the left edge, at x = 80
    contrast = np.abs(edge - value).max()
    assert contrast > 100
    assert (drawn[120, 120:200] == value).all()  # the inside stays


def test_nothing_found_is_the_image_unless_it_is_to_be_said():
    image = picture(90)
    absent = [entity("the bowl")]
    assert (draw(image, absent) == image).all()
    said = draw(image, absent, missing=True)
    assert (said[:200] == image[:200]).all()
    assert (said[-10:] != image[-10:]).any()


def test_labels_of_boxes_at_one_place_do_not_hide_each_other():
    """Two labels of one box each are drawn as much as alone."""
    box = Box(0.3, 0.4, 0.7, 0.8, 0.5)
    one, other = entity("a red mug", box), entity("another thing", box)
    both = draw(picture(0), [one, other])
    inks = {tuple(colour) for colour in both.reshape(-1, 3).tolist()}
    assert (255, 210, 63) in inks
    assert (59, 206, 172) in inks
    first = draw(picture(0), [one])
    label = (first == (255, 210, 63)).all(-1)
    label[90:200, 92:230] = False  # leave out the box's lines: the second box covers them
    assert (both[label] == (255, 210, 63)).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (32, 32)])
@pytest.mark.parametrize("phrase", ["x", "the very long name of a thing " * 20, "杯子 ☕", "two\nlines", ""])
def test_any_phrase_and_any_size_is_drawn(size, phrase):
    boxes = [Box(0, 0, 1, 1, 0.1), Box(0, 0, 0.001, 0.001), Box(0.999, 0.999, 1, 1)]
    assert draw(picture(50, *size), [entity(phrase, *boxes)], missing=True).shape == (*size, 3)


def test_tiles_stand_in_rows_with_gaps_and_a_margin():
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = arrange_tiles(tiles, 2, gap_px=1, margin_px=2)
    assert sheet.shape == (2 * 2 + 1 + 4, 2 * 3 + 1 + 4, 3)
    for tile, place in zip(tiles, (sheet[2:4, 2:5], sheet[2:4, 6:9], sheet[5:7, 2:5]), strict=True):
        assert np.array_equal(place, tile)
    assert (sheet[5:7, 6:9] == 255).all()
    assert np.array_equal(arrange_tiles(tiles, 3), np.hstack(tiles))

"""Pictures of answers: every box can be seen, every label read, and the image itself is not touched."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kosmos2_core.answers import Entity
from kosmos2_core.boxes import Box
from kosmos2_core.drawing import arrange_tiles, draw, draw_box


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


@pytest.mark.parametrize("box", [(20, 30, 90, 70), (40.4, 30.6, 41, 31)])
def test_a_dashed_box_has_the_same_outline_with_gaps(box):
    plain, dashed = Image.new("RGB", (100, 80), "white"), Image.new("RGB", (100, 80), "white")
    for picture, is_dashed in ((plain, False), (dashed, True)):
        draw_box(ImageDraw.Draw(picture), box, "#ffd23f", 2, is_dashed)
    plain, dashed = np.asarray(plain), np.asarray(dashed)
    assert ((plain == 255).all(-1) == (dashed == 255).all(-1)).all()
    line, dashes = coloured(plain, "#ffd23f"), coloured(dashed, "#ffd23f")
    assert (dashes <= line).all()
    if line.sum() > 100:
        assert 0.4 * line.sum() < dashes.sum() < 0.7 * line.sum()


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
    mug, thing = entity("a red mug", box), entity("another thing", box)
    both = draw(picture(0), [mug, thing])
    inks = {tuple(colour) for colour in both.reshape(-1, 3).tolist()}
    assert (255, 210, 63) in inks
    assert (59, 206, 172) in inks
    first = draw(picture(0), [mug])
    label = (first == (255, 210, 63)).all(-1)
    label[90:200, 92:230] = False  # leave out the box's lines: the second box covers them
    assert (both[label] == (255, 210, 63)).all()


def coloured(drawn, colour):
    """The mask of pixels that have one of the labels' colours."""
    return (drawn == tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))).all(-1)


@pytest.mark.parametrize("top", [0.0, 0.02, 0.5, 0.9])
@pytest.mark.parametrize("left", [0.0, 0.4, 0.88])
def test_a_label_does_not_cover_its_object_where_there_is_room_beside_it(top, left):
    box = Box(left, top, left + 0.12, top + 0.1, 0.9)
    drawn = draw(picture(7), [entity("the red mug", box)])
    x1, y1, x2, y2 = (round(value) for value in box.pixels(320, 240))
    assert (drawn[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3] == 7).all()


def test_labels_do_not_cover_other_objects_or_the_names_of_absent_ones():
    lower, upper = Box(0.3, 0.5, 0.5, 0.7, 0.9), Box(0.3, 0.3, 0.5, 0.47, 0.8)
    bottom = Box(0.6, 0.8, 0.8, 0.9, 0.7)
    phrases = [entity("a red mug", lower), entity("a bowl", upper), entity("a can", bottom)]
    drawn = draw(picture(7), [*phrases, entity("a cone")], missing=True)
    for box in (lower, upper, bottom):
        x1, y1, x2, y2 = (round(value) for value in box.pixels(320, 240))
        assert (drawn[y1 + 4 : min(y2 - 4, 216), x1 + 4 : x2 - 4] == 7).all()
    bar = draw(picture(7), [entity("a cone")], missing=True)
    assert (drawn[-12:] == bar[-12:]).all()


def test_letters_scale_with_the_image():
    box = Box(0.4, 0.5, 0.6, 0.6, 0.9)
    small, large = (
        coloured(draw(picture(7, 240 * factor, 320 * factor), [entity("a mug", box)]), "#ffd23f").sum()
        for factor in (2, 8)
    )
    assert small * 10 < large


def test_long_phrases_are_shortened_and_keep_their_score():
    """The label ends within the image, and its end, the score, is that of a short one."""
    box = Box(0.45, 0.5, 0.55, 0.6, 0.87)
    drawn = draw(picture(7), [entity("the very long name of a thing " * 20, box)])
    label = coloured(drawn, "#ffd23f")
    label[:, -2:] = False  # the background may fill the whole width
    columns = np.flatnonzero((drawn == (16, 16, 16)).all(-1).any(0))
    assert label.any()
    assert columns.max() < 318


def test_many_absent_phrases_are_named_on_several_lines():
    names = [entity(f"the object number {number}") for number in range(30)]
    one_line, drawn = (draw(picture(90), phrases, missing=True) for phrases in (names[:1], names))
    rows = [int((pixels != 90).any((1, 2)).sum()) for pixels in (one_line, drawn)]
    assert 2 * rows[0] < rows[1] <= 3 * rows[0] + 1


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

"""The contact sheet: what is drawn is what the data says."""

from dataclasses import replace

import numpy as np
import pytest
from small_data import write_data

from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import Item
from kosmos2_data.show import IMAGE_HEIGHT, WIDTH, record_sheet, record_tile


def test_the_seed_decides_and_so_many_are_shown(tmp_path):
    write_data(tmp_path, 5)
    source = RecordSource(tmp_path)
    four, again, other = record_sheet(source, 4, 0), record_sheet(source, 4, 0), record_sheet(source, 4, 1)
    assert np.array_equal(four, again)
    assert not np.array_equal(four, other)
    assert 2 * WIDTH < four.shape[1] < 3 * WIDTH
    assert record_sheet(source, 99, 0).shape[1] > 3 * WIDTH  # all five, three in a row


def test_boxes_are_drawn_where_they_are():
    image = np.full((100, 200, 3), 128, np.uint8)
    plain, boxed = (
        record_tile(image, Item("locate", parse_markdown(text)), 1)
        for text in ("[it]()", "[it](0.5,0.5,0.75,1)")
    )
    scale = WIDTH / 200
    row = slice(int(70 * scale), int(80 * scale))  # below the label, above what says what is absent
    columns = np.flatnonzero((plain[row] != boxed[row]).any(axis=(0, 2))) / scale
    assert columns.min() == pytest.approx(100, abs=4)
    assert columns.max() == pytest.approx(150, abs=4)


def test_a_question_and_its_region_are_shown():
    image = np.full((100, 200, 3), 128, np.uint8)
    item = Item("ask", parse_markdown("red"), parse_markdown("What colour is [this](0.1,0.1,0.5,0.5)?"))
    without = record_tile(image, replace(item, question=parse_markdown("What colour is it?")), 1)
    shown = record_tile(image, item, 1)
    assert not np.array_equal(shown[:IMAGE_HEIGHT], without[:IMAGE_HEIGHT])
    assert not np.array_equal(shown[IMAGE_HEIGHT:], without[IMAGE_HEIGHT:])


def test_a_long_text_stays_in_its_tile():
    image = np.zeros((50, 50, 3), np.uint8)
    assert record_tile(image, Item("text", parse_markdown("many words " * 500)), 1).shape[1] == WIDTH


def test_bad_records_are_passed_over_and_nothing_good_is_said(tmp_path):
    write_data(tmp_path, 2)
    (tmp_path / "images/0.png").unlink()
    good = record_sheet(RecordSource(tmp_path), 4, 0)
    assert good.shape[1] < 2 * WIDTH
    (tmp_path / "images/1.png").unlink()
    with pytest.raises(InputError, match="no good record to show"):
        record_sheet(RecordSource(tmp_path), 4, 0)

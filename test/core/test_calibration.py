"""The calibration file, and what it makes of a probability."""

import json

import pytest

from kosmos2_core.calibration import FILE, Calibration, read_calibration
from kosmos2_core.errors import ModelError


def test_no_file_is_no_calibration(tmp_path):
    assert read_calibration(tmp_path) is None


def test_the_file_s_numbers_are_read(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"temperature": 1.5, "slope": 2, "fitted_on": "scenes"}))
    assert read_calibration(tmp_path) == Calibration(1.5, 2.0)


BAD = [
    *("", "[]", "{}", "\x00", '{"temperature": 1}'),
    '{"temperature": 0, "slope": 1}',
    '{"temperature": 1, "slope": NaN}',
    '{"temperature": "1", "slope": 1}',
    '{"temperature": true, "slope": 1}',
]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_one_sentence(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ModelError, match=r"calibration\.json .* calibrate again"):
        read_calibration(tmp_path)


def test_the_slope_scales_the_log_odds():
    assert Calibration(slope=2).score(0.8) == pytest.approx(16 / 17)
    assert Calibration(slope=0.5).score(0.8) == pytest.approx(2 / 3)
    for probability in (0.0, 0.5, 1.0):
        assert Calibration(slope=3).score(probability) == probability
    assert Calibration(slope=1000).score(1e-300) == 0.0

"""The calibration file, and what it makes of a probability."""

import json

import pytest

from kosmos2_core.calibration import CALIBRATION_FILE, Calibration, read_calibration, write_calibration
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.presence import PresenceWeights


def test_no_file_is_no_calibration(tmp_path):
    assert read_calibration(tmp_path) is None


def test_the_file_s_numbers_are_read(tmp_path):
    (tmp_path / CALIBRATION_FILE).write_text(
        json.dumps({"temperature": 1.5, "slope": 2, "fitted_on": "scenes"})
    )
    assert read_calibration(tmp_path) == Calibration(1.5, 2.0, refine=False)
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps({"temperature": 1, "slope": 2, "refine": True}))
    assert read_calibration(tmp_path) == Calibration(1.0, 2.0, refine=True)
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps({"temperature": 1, "slope": 2, "spread": 1}))
    assert read_calibration(tmp_path) == Calibration(1.0, 2.0, spread=1.0)


WEIGHTS = PresenceWeights({"question": 0.75, "phrase": -2.0}, 0.5, "Is there {} on the table?")


@pytest.mark.parametrize(
    "calibration", [Calibration(), Calibration(0.7, 1.25, 0.8, True, 0.4), Calibration(presence=WEIGHTS)]
)
def test_what_is_written_is_read_and_says_where_it_is_from(tmp_path, calibration):
    (tmp_path / CALIBRATION_FILE).write_text("an older one")
    file = write_calibration(tmp_path, calibration, {"data": "scenes"})
    assert read_calibration(tmp_path) == calibration
    assert json.loads(file.read_text())["data"] == "scenes"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written .* folder that you may"):
        write_calibration(tmp_path / "gone", Calibration(), {})


BAD = [
    *("", "[]", "{}", "\x00", '{"temperature": 1}'),
    '{"temperature": 0, "slope": 1}',
    '{"temperature": 1, "slope": NaN}',
    '{"temperature": "1", "slope": 1}',
    '{"temperature": true, "slope": 1}',
    '{"temperature": 1, "slope": 1, "refine": 1}',
    '{"temperature": 1, "slope": 1, "refine": null}',
    '{"temperature": 1, "slope": 1, "spread": -0.1}',
    '{"temperature": 1, "slope": 1, "spread": NaN}',
    '{"temperature": 1, "slope": 1, "spread": 1e9}',
    '{"temperature": 1, "slope": 1, "spread": true}',
    '{"temperature": 1, "slope": 1, "min_presence": 1.5}',
    '{"temperature": 1, "slope": 1, "min_presence": NaN}',
    '{"temperature": 1, "slope": 1, "min_presence": "high"}',
    *(
        f'{{"temperature": 1, "slope": 1, "presence": {presence}}}'
        for presence in (
            *("0.5", "[]", "{}", '{"weights": {}, "bias": 0, "question": "{}"}'),
            '{"weights": {"scent": 1}, "bias": 0, "question": "{}"}',
            '{"weights": {"question": "1"}, "bias": 0, "question": "{}"}',
            '{"weights": {"question": NaN}, "bias": 0, "question": "{}"}',
            '{"weights": {"question": 1}, "bias": null, "question": "{}"}',
            '{"weights": {"question": 1}, "bias": 1e9, "question": "{}"}',
            '{"weights": {"question": 1}, "bias": 0, "question": "Is there a mug?"}',
            '{"weights": {"question": 1}, "bias": 0}',
        )
    ),
]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_one_sentence(tmp_path, text):
    (tmp_path / CALIBRATION_FILE).write_text(text)
    with pytest.raises(ModelError, match=r"calibration\.json .* calibrate again"):
        read_calibration(tmp_path)


def test_the_slope_scales_the_log_odds():
    assert Calibration(slope=2).score(0.8) == pytest.approx(16 / 17)
    assert Calibration(slope=0.5).score(0.8) == pytest.approx(2 / 3)
    for probability in (0.0, 0.5, 1.0):
        assert Calibration(slope=3).score(probability) == probability
    assert Calibration(slope=1000).score(1e-300) == 0.0

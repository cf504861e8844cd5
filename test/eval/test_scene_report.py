"""Tables, charts and contact sheets show the metrics of an evaluation."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_eval.charts import save_reliability
from kosmos2_eval.contact_sheet import CAPTION, GAP, TILE, contact_sheet, highest_scores, thumbnail, tile
from kosmos2_eval.metrics import Bin
from kosmos2_eval.result_files import prepare_folder, write_results
from kosmos2_eval.scene_report import (
    presence_tables,
    reliability_text,
    table,
    write_pictures,
)
from kosmos2_eval.scenes import LocateExample, SceneEvaluation

HERE, FAR = Box(0.1, 0.1, 0.4, 0.4), Box(0.6, 0.6, 0.9, 0.9)
EXAMPLES = [
    LocateExample(0, "size", "[the small mug]", (HERE,), HERE, 0.9, 0.95, 1.0),
    LocateExample(0, "size", "[the large mug]", (FAR,), FAR, 0.7, 0.9, 0.8),
    LocateExample(1, "size", "[a mug]", (HERE,), FAR, 0.6, 0.9, 0.0),
    LocateExample(2, "absent", "[the can]", (), HERE, 0.65, 0.7, 0.0),
]
IMAGES = [np.full((60, 80, 3), 100 + number, np.uint8) for number in range(3)]


def test_the_table_has_splits_beside_each_other_and_kinds_below():
    empty = SceneEvaluation(0, (), ()).summary()
    text = table({"standard": SceneEvaluation(3, tuple(EXAMPLES), ()).summary(), "far": empty})
    lines = {line[:26].strip(): line[26:].split() for line in text.splitlines()}
    assert text.splitlines()[0].split() == ["standard", "far"]
    assert lines["size"] == ["0.667", "0.600", "-"]
    assert lines["all present phrases"] == ["0.667", "0.600", "-"]
    assert lines["presence, AUROC"] == ["1.000", "-"]
    assert lines["phrases (absent)"] == ["4", "(1)", "0", "(0)"]
    assert "absent" not in lines  # nothing to find
    assert "ask, exact" not in lines  # nothing was asked


def test_the_threshold_costs_what_the_table_says():
    examples = [replace(EXAMPLES[0], presence=0.4), *EXAMPLES[1:]]
    text = table({"standard": SceneEvaluation(3, tuple(examples), (), 0.5).summary()})
    [line] = [line for line in text.splitlines() if line.startswith("right, with the threshold")]
    assert line.split()[-1] == "0.333"


def test_the_table_of_presence_has_kinds_below_each_other():
    names = [(0, 0.9, False), (0, 0.1, False), (1, 0.8, True), (2, 0.3, True)]
    probes = [
        LocateExample(image, "name", "[it]", (HERE,) * there, HERE, 0.5, p, 0.0) for image, p, there in names
    ]
    probes.append(LocateExample(1, "", "[it]", (), HERE, 0.5, 0.9, 0.0))
    figures = SceneEvaluation(3, (), (), 0.5, tuple(probes)).summary(2)
    lines = presence_tables({"far": figures, "none": {"images": 0}}).splitlines()
    assert lines[0] == "far, 3 images: a phrase is found if its presence is at least 0.5"
    rows = {line[:14].strip(): line[14:].split() for line in lines[2:5]}
    assert rows["name"] == ["2", "0.500", "2", "0.500", "±", "0.500", "0.500"]
    assert rows["(no kind)"] == ["1", "1.000", "0", "-", "-"]
    assert rows["all"][:3] == ["3", "0.667", "±"]
    assert lines[5] == "most false alarms: (no kind); most misses: name"
    assert lines[6] == "fewer than 2 phrases in 3 images: (no kind) 0 present, 1 absent"
    assert len(lines) == 7


def test_the_sheet_has_the_surest_right_answers_then_the_surest_wrong_ones():
    assert highest_scores(EXAMPLES, True, 5) == [EXAMPLES[0]]  # one of an image
    assert highest_scores(EXAMPLES, False, 5) == [EXAMPLES[3], EXAMPLES[2]]
    assert highest_scores(EXAMPLES, False, 1) == [EXAMPLES[3]]
    picture = contact_sheet(EXAMPLES, [thumbnail(image) for image in IMAGES])
    assert picture.shape == (2 * (TILE + CAPTION + GAP) + GAP, 6 * (TILE + GAP) + GAP, 3)


def test_a_tile_shows_where_it_is_and_what_was_found():
    picture = tile(EXAMPLES[2], IMAGES[1]).astype(int)
    green = (picture[..., 1] - picture[..., 0] > 100).nonzero()
    red = (picture[..., 0] - picture[..., 1] > 100).nonzero()
    width, height = TILE, TILE * 60 // 80
    assert (green[1].min(), green[0].min()) == pytest.approx((0.1 * width, 0.1 * height), abs=3)
    assert (green[1].max(), green[0].max()) == pytest.approx((0.4 * width, 0.4 * height), abs=3)
    assert (red[1].min(), red[0].min()) == pytest.approx((0.6 * width, 0.6 * height), abs=3)


def test_text_and_picture_of_reliability(tmp_path):
    bins = [Bin(10, 0.0, 0.2), Bin(12, 0.5, 0.5), Bin(11, 1.0, 0.8)]
    lines = reliability_text(bins, width=10).splitlines()
    assert [line[23:] for line in lines[1:]] == ["|#", "#####|", "########  |"]
    save_reliability({"before": bins, "after": bins[1:]}, tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").size == (600, 600)
    with pytest.raises(InputError, match=r"plot\.xyz cannot be written"):
        save_reliability({"before": bins}, tmp_path / "plot.xyz")


def test_files_of_a_report(tmp_path):
    folder = tmp_path / "new" / "report"
    prepare_folder(folder)
    write_results(folder, SceneEvaluation(3, tuple(EXAMPLES), ()).summary())
    write_pictures(folder, "far", EXAMPLES, IMAGES)
    assert sorted(file.name for file in folder.iterdir()) == [
        "far-reliability.png",
        "far.png",
        "results.json",
    ]
    assert json.loads((folder / "results.json").read_text())["locate"]["count"] == 4
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"report cannot be written \("):
        prepare_folder(tmp_path / "file" / "report")

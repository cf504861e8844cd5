"""`kosmos2 sim show`: contact sheets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kosmos2_cli.main import main
from kosmos2_sim.tabletop import Tabletop


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sheet_shows_the_images_in_rows(in_folder, capsys):
    assert main(["sim", "show", "--seed", "3", "--count", "8"]) == 0
    assert capsys.readouterr().out == "sheet.png\n"
    sheet = np.asarray(Image.open("sheet.png"))
    assert sheet.shape == (2 * 224 + 4, 6 * 224 + 5 * 4, 3)
    with Tabletop() as tabletop:
        assert (sheet[:224, :224] == tabletop.shoot(3).image).all()
        assert (sheet[228:, 228:452] == tabletop.shoot(10).image).all()
    assert (sheet[228:, 456:] == 255).all()  # no more


def test_with_truth_boxes_masks_and_depth_are_beside_the_image(in_folder):
    assert main(["sim", "show", "--count", "1", "--split", "occluded", "--truth", "--out", "one.png"]) == 0
    sheet = np.asarray(Image.open("one.png"))
    with Tabletop() as tabletop:
        shot = tabletop.shoot(0, "occluded")
    boxes, mask, depth = (sheet[:, left : left + 448] for left in (0, 452, 904))
    assert (boxes != shot.image.repeat(2, 0).repeat(2, 1)).any()
    pixels = (shot.mask == shot.things[0].mark).repeat(2, 0).repeat(2, 1)
    assert len(np.unique(mask[pixels], axis=0)) == 1
    assert (depth[..., 0] == depth[..., 2]).all()
    nearest = np.unravel_index(shot.depth_m.argmin(), shot.depth_m.shape)
    assert depth[2 * nearest[0], 2 * nearest[1], 0] == 255


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sim"], ["COMMAND"]),
        (["sim", "shoe"], ["shoe", "show"]),
        (["sim", "show", "--split", "near"], ["'near'", "standard"]),
        (["sim", "show", "--count", "0"], ["--count is 0"]),
        (["sim", "show", "--seed", "-4"], ["-4"]),
        (["sim", "show", "--count", "1", "--out", "nowhere/sheet.png"], ["nowhere/sheet.png"]),
        (["sim", "show", "--count", "1", "--out", "sheet.xyz"], ["sheet.xyz"]),
    ],
)
def test_bad_usage_gets_one_sentence(in_folder, capsys, argv, words):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert [word for word in words if word not in error] == []

"""What masks say of a grid's cells."""

import numpy as np
import torch
from small_data import scene

from kosmos2_core.boxes import Box
from kosmos2_data.records import Record, Truth
from kosmos2_training.cells import UNKNOWN, Names, cell_truth

NAMES = Names((("blue", "red"), ("ball", "cube")))


def test_a_cell_shows_what_covers_most_of_it():
    mask = np.zeros((64, 64), np.uint8)
    mask[0:16, 0:16] = 1  # the first cell
    mask[16:24, 16:32] = 2  # half of the cell below and right
    mask[24:26, 16:20] = 1
    record = Record(
        *("a.png", (), "m.png"),
        (
            Truth(1, ("red", "ball"), Box(0, 0, 0.3, 0.4)),
            Truth(2, ("blue", "cube"), Box(0.25, 0.25, 0.5, 0.4)),
        ),
    )
    truth = cell_truth(record, mask, side=4, size=64, names=NAMES)
    assert truth.names[0].tolist() == [2, 1]
    assert truth.names[5].tolist() == [1, 2]
    assert truth.boxes[5].tolist() == torch.tensor([0.25, 0.25, 0.5, 0.4]).tolist()
    others = [cell for cell in range(16) if cell not in (0, 5)]
    assert not truth.names[others].any()
    assert truth.boxes[others].isnan().all()


def test_names_that_are_not_known_are_left_out():
    record = Record("a.png", (), "m.png", (Truth(1, ("mauve", "ball"), Box(0, 0, 1, 1)),))
    truth = cell_truth(record, np.ones((32, 32), np.uint8), side=2, size=32, names=NAMES)
    assert truth.names[0].tolist() == [UNKNOWN, 1]


def test_without_a_mask_nothing_is_known():
    truth = cell_truth(Record("a.png", ()), None, side=2, size=32, names=NAMES)
    assert (truth.names == UNKNOWN).all()
    assert truth.boxes.isnan().all()


def test_names_are_those_of_the_data():
    records = [scene(np.random.default_rng(number))[2] for number in range(8)]
    names = Names.of(records)
    assert names is not None
    assert names.kinds == (("blue", "green", "red", "yellow"), ("disc",))
    assert Names.of([Record("a.png", ())]) is None

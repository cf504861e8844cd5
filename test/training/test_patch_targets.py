"""Targets of the auxiliary losses, from masks."""

import numpy as np
import torch
from small_data import scene

from kosmos2_core.boxes import Box
from kosmos2_data.records import Record, Truth
from kosmos2_training.patch_targets import UNKNOWN, ObjectClasses, patch_targets

CLASSES = ObjectClasses((("blue", "red"), ("ball", "cube")))


def test_a_cell_shows_the_object_that_covers_most_of_it():
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
    targets = patch_targets(record, mask, side=4, size=64, object_classes=CLASSES)
    assert targets.classes[0].tolist() == [2, 1]
    assert targets.classes[5].tolist() == [1, 2]
    assert targets.boxes[5].tolist() == torch.tensor([0.25, 0.25, 0.5, 0.4]).tolist()
    others = [cell for cell in range(16) if cell not in (0, 5)]
    assert not targets.classes[others].any()
    assert targets.boxes[others].isnan().all()


def test_names_that_are_not_known_are_left_out():
    record = Record("a.png", (), "m.png", (Truth(1, ("mauve", "ball"), Box(0, 0, 1, 1)),))
    targets = patch_targets(record, np.ones((32, 32), np.uint8), side=2, size=32, object_classes=CLASSES)
    assert targets.classes[0].tolist() == [UNKNOWN, 1]


def test_without_a_mask_nothing_is_known():
    targets = patch_targets(Record("a.png", ()), None, side=2, size=32, object_classes=CLASSES)
    assert (targets.classes == UNKNOWN).all()
    assert targets.boxes.isnan().all()


def test_names_are_those_of_the_data():
    records = [scene(np.random.default_rng(number))[2] for number in range(8)]
    names = ObjectClasses.from_records(records)
    assert names is not None
    assert names.kinds == (("blue", "green", "red", "yellow"), ("disc",))
    assert ObjectClasses.from_records([Record("a.png", ())]) is None


def test_targets_are_moved_without_waiting_if_asked_to(monkeypatch):
    calls = []
    targets = patch_targets(Record("a.png", ()), None, side=2, size=32, object_classes=CLASSES)
    move = torch.Tensor.to

    def recorded(tensor, *args, **kwargs):
        calls.append(kwargs)
        return move(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", recorded)
    targets.to(torch.device("cpu"), non_blocking=True)
    assert calls == [{"non_blocking": True}] * 2

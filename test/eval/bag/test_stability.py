"""A box that follows its object is steady, however the camera moves; one that jumps to another is not."""

import pytest

from kosmos2_core.boxes import Box
from kosmos2_eval.bag.metrics import FramePair, jitter, stability_metrics


def moved(box, dx=0.0, dy=0.0):
    return Box(box.x1 + dx, box.y1 + dy, box.x2 + dx, box.y2 + dy)


HERE = Box(0.2, 0.2, 0.4, 0.6)
FAR = Box(0.7, 0.1, 0.9, 0.5)


def test_a_box_that_moves_as_the_truth_does_is_steady():
    off = moved(HERE, 0.03, -0.02)  # wrong by a little, always by the same
    pair = FramePair((off, moved(off, 0.1, 0.05)), (HERE, moved(HERE, 0.1, 0.05)))
    assert jitter(pair) == pytest.approx(0, abs=1e-9)
    assert not pair.switches


def test_jitter_is_in_shares_of_the_object_s_size():
    still = (HERE, HERE)
    assert jitter(FramePair((HERE, moved(HERE, dx=0.02)), still)) == pytest.approx(0.02 / 0.2 / 2)
    assert jitter(FramePair((HERE, moved(HERE, dy=0.02)), still)) == pytest.approx(0.02 / 0.4 / 2)
    assert jitter(FramePair((HERE, moved(HERE, dx=0.02)))) == pytest.approx(0.05)  # motion, as it is


@pytest.mark.parametrize(
    ("found", "truth", "switches"),
    [
        ((HERE, FAR), (HERE, HERE), True),
        ((FAR, HERE), (HERE, moved(HERE, 0.1)), True),
        ((HERE, FAR), (HERE, FAR), False),  # so did the truth
        ((HERE, moved(HERE, 0.1)), (HERE, HERE), False),  # still touches
        ((HERE, FAR), None, False),  # nobody knows
    ],
)
def test_a_switch_is_a_jump_that_the_truth_does_not_make(found, truth, switches):
    assert FramePair(found, truth).switches == switches


def test_figures_of_steps_with_truth_and_without():
    pairs = [
        FramePair((HERE, FAR), (HERE, HERE)),
        FramePair((HERE, HERE), (HERE, HERE)),
        FramePair((HERE, FAR)),
    ]
    found = stability_metrics(pairs)
    assert (found["steps"], found["jumps"], found["steps_with_truth"]) == (3, 2, 2)
    assert found["identity_switches"] == 1
    assert found["jitter"] == pytest.approx(jitter(pairs[0]) / 2)
    assert stability_metrics([])["identity_switches"] is stability_metrics([])["jitter"] is None

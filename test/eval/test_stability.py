"""A box that follows its object is steady, however the camera moves; one that jumps to another is not."""

import pytest

from kosmos2_core.boxes import Box
from kosmos2_eval.stability import Step, jitter, stability


def moved(box, dx=0.0, dy=0.0):
    return Box(box.x1 + dx, box.y1 + dy, box.x2 + dx, box.y2 + dy)


HERE = Box(0.2, 0.2, 0.4, 0.6)
FAR = Box(0.7, 0.1, 0.9, 0.5)


def test_a_box_that_moves_as_the_truth_does_is_steady():
    off = moved(HERE, 0.03, -0.02)  # wrong by a little, always by the same
    step = Step((off, moved(off, 0.1, 0.05)), (HERE, moved(HERE, 0.1, 0.05)))
    assert jitter(step) == pytest.approx(0, abs=1e-9)
    assert not step.switches


def test_jitter_is_in_shares_of_the_object_s_size():
    still = (HERE, HERE)
    assert jitter(Step((HERE, moved(HERE, dx=0.02)), still)) == pytest.approx(0.02 / 0.2 / 2)
    assert jitter(Step((HERE, moved(HERE, dy=0.02)), still)) == pytest.approx(0.02 / 0.4 / 2)
    assert jitter(Step((HERE, moved(HERE, dx=0.02)))) == pytest.approx(0.05)  # motion, as it is


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
    assert Step(found, truth).switches == switches


def test_figures_of_steps_with_truth_and_without():
    steps = [Step((HERE, FAR), (HERE, HERE)), Step((HERE, HERE), (HERE, HERE)), Step((HERE, FAR))]
    found = stability(steps)
    assert (found["steps"], found["jumps"], found["steps_with_truth"]) == (3, 2, 2)
    assert found["identity_switches"] == 1
    assert found["jitter"] == pytest.approx(jitter(steps[0]) / 2)
    assert stability([])["identity_switches"] is stability([])["jitter"] is None

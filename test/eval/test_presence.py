"""False alarms and misses, computed by hand on a few answers."""

import pytest

from kosmos2_core.boxes import Box
from kosmos2_eval.scenes import LocateExample, presence_of, set_metrics

HERE = Box(0.1, 0.1, 0.4, 0.4)


def answer(present, found, presence=0.5, kind="name", image=0):
    """Return a phrase whose presence is above the threshold of 0, so that it is found if it has a box."""
    box = HERE if found else None
    return LocateExample(image, kind, "", (HERE,) if present else (), box, 0.0, presence, 0.0)


def rates_of(answers):
    return presence_of(answers, 0.0)


def test_rates_are_of_the_absent_and_of_the_present_phrases():
    metrics = rates_of(
        [
            answer(False, True, 0.9, image=0),
            answer(False, False, 0.1, image=0),
            answer(False, False, 0.2, image=1),
            answer(False, False, 0.3, image=2),
            answer(True, True, 0.95, image=1),
            answer(True, False, 0.4, image=2),
        ]
    )
    [name] = metrics["kinds"].values()
    assert name == metrics["all"]
    assert (name["absent"], name["present"]) == (4, 2)
    assert name["false_alarms"] == 0.25
    assert name["misses"] == 0.5
    assert name["auroc"] == pytest.approx((4 + 3) / 8)
    assert metrics["images"] == 3


def test_standard_errors_take_the_phrases_of_an_image_together():
    """Two images whose phrases are all right or all wrong together give two independent values, not eight."""
    together = [answer(False, image == 0, image=image) for image in (0, 1) for _ in range(4)]
    apart = [answer(False, number % 2 == 0, image=number) for number in range(8)]
    assert rates_of(together)["all"]["false_alarms_error"] == pytest.approx(0.5)
    assert rates_of(apart)["all"]["false_alarms_error"] == pytest.approx((0.25 / 7) ** 0.5)
    assert rates_of(apart[:1])["all"]["false_alarms_error"] is None
    misses = [answer(True, image == 0, image=image) for image in (0, 1) for _ in range(4)]
    assert rates_of(misses)["all"]["misses_error"] == pytest.approx(0.5)


def test_kinds_are_apart_and_the_worst_is_named():
    metrics = rates_of(
        [
            *(answer(False, found, kind="size", image=image) for image, found in enumerate((True, True))),
            *(answer(False, found, kind="name", image=image) for image, found in enumerate((True, False))),
            *(answer(True, found, kind="name", image=image) for image, found in enumerate((True, False))),
            *(answer(True, found, kind="command", image=image) for image, found in enumerate((True, False))),
        ]
    )
    assert list(metrics["kinds"]) == ["command", "name", "size"]
    assert [rates["false_alarms"] for rates in metrics["kinds"].values()] == [None, 0.5, 1.0]
    assert [rates["misses"] for rates in metrics["kinds"].values()] == [0.5, 0.5, None]
    assert metrics["kinds"]["size"]["auroc"] is None
    assert metrics["all"]["false_alarms"] == 0.75
    assert metrics["worst"] == {"false_alarms": ["size"], "misses": ["command", "name"]}


def test_without_errors_no_kind_is_worst():
    assert rates_of([answer(True, True), answer(False, False)])["worst"] == {
        "false_alarms": [],
        "misses": [],
    }
    assert rates_of([])["all"]["false_alarms"] is None


def a_set(truth, boxes, presence=0.9):
    return LocateExample(
        0, "set", "[the mugs]", truth, boxes[0] if boxes else None, 0.9, presence, 1.0, boxes
    )


def scored(box, score):
    return Box(box.x1, box.y1, box.x2, box.y2, score)


def test_sets_count_each_true_box_once_and_no_box_of_a_low_score():
    left, middle, right = (Box(x, 0.1, x + 0.2, 0.4) for x in (0.1, 0.4, 0.7))
    sets = [
        a_set((left, right), (scored(left, 0.9), scored(right, 0.8), scored(middle, 0.1))),
        a_set((left, middle, right), (scored(left, 0.9), scored(left, 0.8), scored(right, 0.5))),
        a_set((left, middle), (scored(left, 0.9), scored(middle, 0.9)), presence=0.2),
        a_set((left,), (scored(left, 0.9),)),  # not a set
    ]
    metrics = set_metrics(sets, min_presence=0.5)
    assert metrics["count"] == 3
    assert metrics["recall"] == pytest.approx(4 / 7)
    assert metrics["precision"] == pytest.approx(4 / 5)
    assert metrics["exact"] == pytest.approx(1 / 3)
    assert set_metrics(sets[3:], 0.5) is None

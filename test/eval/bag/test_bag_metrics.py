"""Figures of queries, checked by hand; those of a group are of its queries alone."""

import pytest

from kosmos2_core.boxes import Box
from kosmos2_eval.bag.metrics import compare_models, frame_pairs, group_metrics, model_metrics
from kosmos2_eval.bag.queries import PhraseQuery, Prediction, QueryResult

HERE, FAR = Box(0.1, 0.1, 0.3, 0.3), Box(0.6, 0.6, 0.9, 0.9)


def result(truth=(HERE,), found=HERE, score=0.9, presence=0.9, frame=0, **fields):
    about = {"camera": "/image", "command_index": 0, "kind": "name", "index": 0} | fields
    query = PhraseQuery(
        frame=frame,
        stamp_ns=frame,
        log_ns=frame,
        width=200,
        height=100,
        text="[it]",
        phrase="it",
        truth=truth,
        **about,
    )
    boxes = (Box(found.x1, found.y1, found.x2, found.y2, score),) if found else ()
    return QueryResult(query, Prediction(boxes, presence, about.get("true_centre_m") and (0.0, 0.0, 0.0)))


def test_the_share_that_is_right_counts_what_is_there_alone():
    found = group_metrics(
        [
            result(),
            result(found=FAR, frame=1),
            result(found=None),
            result(truth=(), presence=0.2),
            result(truth=None),
        ]
    )
    assert (found["queries"], found["labelled"], found["absent"]) == (5, 4, 1)
    assert found["accuracy"]["0.5"] == found["recall"]["1"] == pytest.approx(1 / 3)
    assert found["mean_iou"] == pytest.approx(1 / 3)
    assert found["presence_auroc"] == 1.0
    assert found["found"] == 0.8
    # A box for what is absent is wrong, and what is not found has the score 0.
    assert found["brier"] == pytest.approx((0.1**2 + 0.9**2 + 0 + 0.9**2) / 4)


def test_a_box_for_an_absent_phrase_is_a_false_alarm_and_none_for_a_present_one_a_miss():
    absent = [
        result(truth=(), found=found, frame=frame) for frame, found in enumerate((HERE, None, None, None))
    ]
    present = [result(found=found, frame=frame) for frame, found in enumerate((HERE, FAR, None, HERE, HERE))]
    found = group_metrics([*absent, *present, result(truth=None, found=None)])
    assert found["false_alarms"] == 0.25
    assert found["misses"] == 0.2
    assert group_metrics(present)["false_alarms"] is None
    assert group_metrics(absent)["misses"] is None


def test_any_of_the_surest_boxes_counts_for_recall():
    results = result(found=FAR)
    several = QueryResult(results.query, Prediction((*results.prediction.boxes, *[FAR] * 4, HERE), 0.9))
    assert [group_metrics([several])["recall"][rank] for rank in ("1", "5", "10")] == [0, 0, 1]


def test_groups_are_by_kind_size_and_camera():
    results = [
        result(kind="size"),
        result(found=FAR, kind="relation", camera="/other"),
        result(truth=(FAR,), found=FAR),
    ]
    found = model_metrics(results)
    assert {name: group["accuracy"]["0.5"] for name, group in found["kinds"].items()} == {
        "name": 1.0,
        "relation": 0.0,
        "size": 1.0,
    }
    assert {name: group["queries"] for name, group in found["sizes"].items()} == {"medium": 1, "small": 2}
    assert {name: group["queries"] for name, group in found["cameras"].items()} == {"/image": 2, "/other": 1}


def test_steps_are_of_one_camera_and_one_standing_phrase():
    results = [
        result(frame=0),
        result(frame=1, found=FAR),
        result(frame=1, index=1),
        result(frame=2, command_index=1),
        result(frame=2, camera="/other"),
        result(frame=3, command_index=1, truth=(HERE, FAR)),
        result(frame=4, command_index=1, found=None),
    ]
    found = frame_pairs(results)
    assert len(found) == 2
    assert found[0].switches
    assert found[1].truth is None  # which of the two is meant is not known
    assert model_metrics(results)["stability"]["identity_switches"] == 1


def test_errors_in_space_are_of_the_things_whose_place_is_known():
    near, far = result(true_centre_m=(0.03, 0.0, 0.0)), result(found=FAR, true_centre_m=(0.0, 0.0, 0.4))
    missing = QueryResult(near.query, Prediction(near.prediction.boxes, 0.9, None, "no depth"))
    found = model_metrics([near, far, missing, result()])["space"]
    assert found["queries"] == 3
    assert found["unplaced"] == {"no depth": 1}
    assert found["all"]["mean_m"] == pytest.approx(0.215)
    assert found["right"] == {
        "count": 1,
        "mean_m": pytest.approx(0.03),
        "median_m": pytest.approx(0.03),
        "p95_m": pytest.approx(0.03),
        "within_m": {"0.02": 0.0, "0.05": 1.0, "0.1": 1.0},
    }
    assert model_metrics([result()])["space"] is None


def test_a_comparison_is_paired():
    before = [result(frame=number, found=HERE if number % 2 else FAR) for number in range(10)]
    after = [result(frame=number) for number in range(10)]
    found = compare_models(before, after)
    assert found["accuracy"]["difference"] == 0.5
    assert (found["mcnemar"]["won"], found["mcnemar"]["lost"]) == (5, 0)
    assert found["mcnemar"]["p"] == pytest.approx(2 / 2**5)
    assert compare_models([result(truth=None)], [result(truth=None)])["accuracy"]["difference"] is None

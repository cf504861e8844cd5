"""Average precision and recall are COCO's, by its own implementation, on whatever boxes there are."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kosmos2_core.boxes import Box
from kosmos2_eval.detection import (
    ALL_SIZES,
    MAX_BOXES,
    SIZES,
    RankedBoxes,
    average_precision,
    match,
    precision_curves,
    recall,
    size_of,
)

SIDE = 256  # px: unit coordinates of whole pixels are exact


@st.composite
def boxes(draw, scores=False):
    x1, y1 = draw(st.integers(0, 180)), draw(st.integers(0, 180))
    wide, high = (draw(st.sampled_from([8, 20, 33, 60, 75]) | st.integers(1, 76)) for _ in range(2))
    score = draw(st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0.01, 1)) if scores else None
    return Box(x1 / SIDE, y1 / SIDE, (x1 + wide) / SIDE, (y1 + high) / SIDE, score)


@st.composite
def phrases(draw, most_true=3):
    truth = draw(st.lists(boxes(), max_size=most_true))
    near = [Box(phrase.x1, phrase.y1, phrase.x2, phrase.y2, draw(st.floats(0.01, 1))) for phrase in truth]
    found = (
        draw(st.lists(boxes(scores=True), max_size=8))
        + draw(st.permutations(near))[: draw(st.integers(0, 3))]
    )
    found.sort(key=lambda box: -box.score)
    return RankedBoxes(tuple(truth), tuple(found), SIDE * SIDE)


def peer(ranked):
    """COCO's evaluation of the same, a small image for each phrase."""
    truth, found = [], []
    for image, phrase in enumerate(ranked, 1):
        for box in phrase.truth:
            truth.append(
                peer_box(image, box) | {"id": len(truth) + 1, "iscrowd": 0, "area": box.area * SIDE**2}
            )
        found += [peer_box(image, box) | {"score": box.score} for box in phrase.boxes]
    images = [{"id": image} for image in range(1, len(ranked) + 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truth, "categories": [{"id": 1}]}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.maxDets = [1, 5, MAX_BOXES]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def peer_box(image, box):
    x1, y1, x2, y2 = box.pixels(SIDE, SIDE)
    return {"image_id": image, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}


@settings(max_examples=60)
@given(st.lists(phrases(), min_size=1, max_size=6).filter(lambda all_: any(phrase.boxes for phrase in all_)))
def test_precision_is_coco_s_of_all_sizes_and_of_each(ranked):
    expected = peer(ranked)["precision"][:, :, 0, :, -1]  # thresholds, recalls, sizes
    for place, sizes in enumerate([ALL_SIZES, *SIZES.values()]):
        curves = precision_curves([match(phrase, sizes) for phrase in ranked])
        if curves is None:
            assert (expected[:, :, place] == -1).all()
        else:
            np.testing.assert_allclose(curves, expected[:, :, place], atol=1e-12)


@settings(max_examples=40)
@given(
    st.lists(phrases(most_true=1), min_size=1, max_size=6).filter(
        lambda all_: any(phrase.boxes for phrase in all_)
    )
)
def test_recall_is_coco_s_where_a_phrase_has_one_true_box(ranked):
    expected = peer(ranked)["recall"][0, 0, 0, :]  # at 0.5
    for most, value in zip((1, 5, MAX_BOXES), expected, strict=True):
        found = recall(ranked, most)
        if found is None:
            assert value == -1
        else:
            assert found == pytest.approx(value)


def test_any_of_several_true_boxes_will_do():
    near, far = Box(0, 0, 0.2, 0.2), Box(0.5, 0.5, 0.7, 0.7)
    phrase = RankedBoxes((near, far), (Box(0.5, 0.5, 0.7, 0.7, 0.9),), SIDE * SIDE)
    assert recall([phrase], 1) == 1.0
    assert recall([RankedBoxes((), phrase.boxes, SIDE * SIDE)], 1) is None


def test_a_box_for_what_is_absent_is_a_false_alarm():
    there = Box(0.5, 0.5, 0.7, 0.7, 0.5)
    found = RankedBoxes((there,), (there,), SIDE * SIDE)
    alarm = RankedBoxes((), (Box(0, 0, 0.1, 0.1, 0.9),), SIDE * SIDE)
    assert average_precision([match(found)]).at_50 == 1.0
    assert average_precision([match(found), match(alarm)]).at_50 == 0.5
    assert average_precision([match(alarm)]) is None


@pytest.mark.parametrize(("side", "name"), [(31, "small"), (32, "medium"), (95, "medium"), (96, "large")])
def test_sizes_are_coco_s(side, name):
    assert size_of(Box(0, 0, side / SIDE, side / SIDE), SIDE * SIDE) == name

"""RefCOCO: the release's boxes, the first of them, right from an IoU of 0.5 on."""

import numpy as np
import pytest
from official_data import mdetr_refcoco, place, write
from pycocotools import mask

from kosmos2_core.boxes import Box, iou
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, BenchmarkPart, Question
from kosmos2_eval.benchmarks.grounding import REFCOCO, REFCOCOG, best_iou

HERE, THERE = Box(0.1, 0.1, 0.4, 0.4), Box(0.6, 0.6, 0.9, 0.9)
EXPRESSIONS = ("the largest thing", "the object [left] (1)", "the red mug", "the leftmost object")


def question(truth):
    return Question("1", (), (), truth)


@pytest.fixture
def boxes(tmp_path, pictures, peer):
    """Written down as RefCOCO. What the peer says of the first two is true; of the third it says no box, and
    of the last a wrong one."""
    place(pictures[0], tmp_path / "train2014/a.jpg")
    said = [peer.boxes(pictures[0], f"<grounding><phrase> {text}</phrase>") for text in EXPRESSIONS]
    assert not said[2]
    truth = [said[0][0], said[1][0], HERE, elsewhere(said[3][0])]
    rows = [("a.jpg", text, box, 1) for text, box in zip(EXPRESSIONS, truth, strict=True)]
    write(tmp_path / "mdetr_annotations/finetune_refcoco_testA.json", mdetr_refcoco(rows))
    return said


def elsewhere(box):
    return HERE if iou(box, HERE) < 0.5 else THERE


def test_boxes_are_those_of_the_release_and_the_first_counts(evaluate, boxes):
    questions, ways, figures = evaluate(REFCOCO, "testA")
    assert all(
        question.ours.min_presence == 0 for question in questions
    )  # no expression is of an absent thing
    assert [answer.boxes for answer in ways["released"]] == [tuple(expected) for expected in boxes]
    assert figures["released"]["accuracy"].value == 50
    assert figures["released"]["accuracy"].count == 4
    assert REFCOCO.published(BenchmarkPart("testA"))["accuracy"] == 57.42
    assert len({question.images for question in questions}) == 1  # looked at once


def test_the_second_column_is_our_box_search(evaluate, boxes, tiny, pictures):
    _, ways, _ = evaluate(REFCOCO, "testA")
    [answer] = tiny.look(pictures[0]).run(Locate("the largest thing"))
    [box], [found] = ways["ours"][0].boxes, answer.phrases[0].boxes
    assert iou(box, found) > 0.99
    assert box.score is None


def test_only_the_first_box_counts_and_none_is_wrong():
    questions = [question(truth) for truth in ((HERE,), (HERE,), (HERE,), ())]
    said = [
        BenchmarkAnswer(boxes=(HERE, THERE)),
        BenchmarkAnswer(boxes=(THERE, HERE)),
        BenchmarkAnswer(),
        BenchmarkAnswer(boxes=(HERE,)),
    ]
    accuracy, mean_iou = REFCOCO.score(questions, said)
    assert (accuracy.value, mean_iou.value) == (25, 25)


@pytest.mark.parametrize(("wide", "right"), [(0.2, True), (0.21, False), (0.19, True)])
def test_half_an_overlap_is_right(wide, right):
    """Of a box of 0.1 in one `wide`, on its left edge."""
    accuracy, _ = REFCOCO.score(
        [question((Box(0, 0, wide, 1),))], [BenchmarkAnswer(boxes=(Box(0, 0, 0.1, 1),))]
    )
    assert (accuracy.value == 100) == right


def test_overlaps_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(200):
        corners = np.sort(rng.integers(0, 40, (2, 2, 2)), axis=1)  # box, end, axis
        corners[:, 1] += 1
        ours = [Box(*(cells / 41).ravel()) for cells in corners]
        theirs = [[*map(float, low), *map(float, high - low)] for low, high in corners]
        assert best_iou(ours[:1], ours[1:]) == pytest.approx(
            mask.iou(theirs[:1], theirs[1:], [0])[0, 0], abs=1e-9
        )


def test_a_true_box_over_the_edge_is_cut_off(tmp_path, pictures):
    place(pictures[0], tmp_path / "train2014/a.jpg")
    content = mdetr_refcoco([("a.jpg", "it", HERE, 1), ("a.jpg", "it", HERE, 1)])
    content["annotations"][0]["bbox"] = [112, 112, 150, 112]
    content["annotations"][1]["bbox"] = [112, 112, 0, 5]  # of no area: nothing can fit it
    write(tmp_path / "mdetr_annotations/finetune_refcoco_val.json", content)
    questions = REFCOCO.read(tmp_path, BenchmarkPart("val"))
    assert [question.truth for question in questions] == [(Box(0.5, 0.5, 1, 1),), ()]


def test_what_is_not_there_is_said_with_where_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match=r"finetune_refcocog_test\.json is missing: download it from MDETR's"
    ):
        REFCOCOG.read(tmp_path, BenchmarkPart("test"))
    write(tmp_path / "mdetr_annotations/finetune_refcocog_test.json", mdetr_refcoco([]))
    with pytest.raises(InputError, match=r"train2014 is missing: download it from COCO's train2014\.zip"):
        REFCOCOG.read(tmp_path, BenchmarkPart("test"))


@pytest.mark.parametrize("content", ["[]", '{"images": [{}], "annotations": []}', '{"images": 3}', "{"])
def test_a_file_that_is_another_is_one_sentence(tmp_path, content):
    write(tmp_path / "mdetr_annotations/finetune_refcoco_val.json", content)
    (tmp_path / "train2014").mkdir()
    with pytest.raises(Exception, match="download it again") as caught:
        REFCOCO.read(tmp_path, BenchmarkPart("val"))
    assert "\n" not in str(caught.value)

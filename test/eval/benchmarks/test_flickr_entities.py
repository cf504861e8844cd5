"""Flickr30k Entities: a phrase after its caption's beginning, any true box, any of the first k said."""

import pytest
from official_data import mdetr_flickr, place, write

from kosmos2_core.boxes import Box, iou
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, BenchmarkPart, Question
from kosmos2_eval.benchmarks.grounding import FLICKR30K

ABOVE, BELOW, SIDE, CORNER = (
    *(Box(0.0, 0.0, 0.3, 0.3), Box(0.6, 0.6, 1.0, 1.0)),
    *(Box(0.0, 0.6, 0.3, 1.0), Box(0.9, 0.0, 1.0, 0.1)),
)
CAPTION = "the largest thing is left of the smallest object and of the red mug"


@pytest.fixture
def write_data(tmp_path, pictures):
    def write_rows(rows, split="val"):
        place(pictures[0], tmp_path / "flickr30k-images/1.jpg")
        write(tmp_path / f"mdetr_annotations/final_flickr_separateGT_{split}.json", mdetr_flickr(rows))

    return write_rows


def test_each_phrase_is_asked_with_what_is_before_it(write_data, evaluate, peer, pictures):
    starts = [CAPTION.index(phrase) for phrase in ("the largest", "the smallest", "the red")]
    prompts = [
        f"<grounding>{before} <phrase>{phrase}</phrase>"  # as the release's cook_data.py writes them
        for before, phrase in zip(
            (CAPTION[:start] for start in starts),
            ("the largest thing", "the smallest object", "the red mug"),
            strict=True,
        )
    ]
    largest, smallest, mug = (peer.boxes(pictures[0], prompt) for prompt in prompts)
    assert largest
    assert smallest
    far = next(box for box in (ABOVE, BELOW) if iou(box, smallest[0]) < 0.5)
    phrases = [
        ("the largest thing", [SIDE, largest[0]]),
        ("the smallest object", [far]),
        ("the red mug", [BELOW]),
    ]
    write_data([("1.jpg", CAPTION, phrases)])
    questions, ways, figures = evaluate(FLICKR30K, "val")
    assert all(question.ours.min_presence == 0 for question in questions)  # no phrase is of an absent thing
    assert [answer.boxes for answer in ways["released"]] == [tuple(largest), tuple(smallest), tuple(mug)]
    assert figures["released"]["R@1"].value == pytest.approx(100 / 3)
    assert figures["released"]["R@10"].value == pytest.approx(100 / 3)
    assert len(ways["ours"][0].boxes) > 1  # the box search gives as many as are judged


def test_a_phrase_that_is_said_twice_has_its_own_boxes(write_data, tmp_path):
    write_data([("1.jpg", "a man sees a man", [("a man", [ABOVE]), ("a man", [BELOW, SIDE])])])
    first, second = FLICKR30K.read(tmp_path, BenchmarkPart("val"))
    assert (len(first.truth), len(second.truth)) == (1, 2)
    assert first.requests[0].text == "[a man]"
    assert second.requests[0].text == "a man sees [a man]"
    assert first.id != second.id


def test_any_box_among_the_first_k_counts_in_the_order_said():
    questions = [Question(str(number), (), (), (ABOVE, BELOW)) for number in range(4)]
    miss = (SIDE, CORNER)
    said = [
        BenchmarkAnswer(boxes=(BELOW,)),
        BenchmarkAnswer(boxes=(*miss, ABOVE)),
        BenchmarkAnswer(boxes=(*miss * 3, ABOVE)),
        BenchmarkAnswer(boxes=(*miss * 5, ABOVE)),
    ]
    assert [score.value for score in FLICKR30K.score(questions, said)] == [25, 50, 75]


def test_a_box_of_two_phrases_is_true_of_both(write_data, tmp_path):
    write_data([("1.jpg", "a mug, a cup", [("a mug", [ABOVE]), ("a cup", [ABOVE])])], "test")
    first, second = FLICKR30K.read(tmp_path, BenchmarkPart("test"))
    assert first.truth == second.truth != ()

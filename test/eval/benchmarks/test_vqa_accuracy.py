"""The rules of the VQA evaluation server, by examples of its page and by hand."""

import pytest

from kosmos2_eval.benchmarks.visual_questions import normalise_answer, vqa_accuracy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Red Mug", "red mug"),
        ("Yes.", "yes"),
        ("two", "2"),
        ("none", "0"),
        ("a", ""),
        ("dont", "don't"),
        ("couldntve", "couldntve"),  # both apostrophes missing is not in the server's list
        ("couldn'tve", "couldn't've"),
        ("lets", "lets"),  # nor is this
        ("somebody'd", "somebodyd"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("red, blue", "red blue"),
        ("1,000", "1000"),
        ("2.5", "2.5"),
        ("u.s.", "us"),
        ("3.", "3"),
        ("what?", "what"),
        ("10:30", "10:30"),  # a colon stays
        ("it's", "it's"),
        ("red,blue 1,000", "redblue 1000"),  # a number with a comma drops all punctuation
        (". " * 40, ". . . . . . . ."),  # 32 periods are dropped, no more
    ],
)
def test_what_counts_as_the_same(text, expected):
    assert normalise_answer(text) == expected


@pytest.mark.parametrize(("same", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)])
def test_three_people_make_an_answer_right_and_each_is_left_out_once(same, expected):
    answers = ["red"] * same + ["blue"] * (10 - same)
    assert vqa_accuracy("Red.", answers) == pytest.approx(expected)


def test_where_all_agree_the_answer_must_be_theirs_as_written():
    assert vqa_accuracy("Yes.", ["yes"] * 10) == 0
    assert vqa_accuracy("yes\n", ["yes"] * 10) == 1
    assert vqa_accuracy("Yes.", ["yes"] * 9 + ["Yes"]) == 1


def test_people_s_answers_are_normalised_too():
    assert vqa_accuracy("2 dogs", ["Two dogs", "the 2 dogs", "2 dogs.", "2 dogs"] + ["cats"] * 6) == 1

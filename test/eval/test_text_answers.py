"""An answer in words is right if its words and its boxes are."""

import pytest

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_data.records import Item, Record, Truth
from kosmos2_eval.text_answers import count_right, score_text_answer, text_metrics

MUG, BOWL = Box(0.1, 0.1, 0.4, 0.4), Box(0.6, 0.6, 0.9, 0.9)
RECORD = Record(
    "0.png",
    (Item("ask", parse_markdown("red"), parse_markdown("?")),),
    truths=(Truth(1, ("red", "mug"), MUG),),
)
CAPTION = "[a red mug](0.1,0.1,0.4,0.4) and [a bowl](0.6,0.6,0.9,0.9) on a table"


def answer(markdown):
    said = parse_markdown(markdown)
    return Answer(
        said.text,
        tuple(
            Entity(said.words_of(phrase), phrase.start, phrase.end, phrase.boxes or ())
            for phrase in said.phrases
        ),
    )


def said(task, truth, markdown, **fields):
    return score_text_answer(0, RECORD, Item(task, parse_markdown(truth), **fields), answer(markdown))


@pytest.mark.parametrize(
    ("truth", "words", "exact"),
    [
        ("red", "Red.", True),
        ("a red mug", "the red mug", True),
        ("red", "dark red", False),
        ("two", "", False),
        ("[here](0.1,0.1,0.4,0.4)", "[here](0.1,0.1,0.4,0.42)", True),
        ("[here](0.1,0.1,0.4,0.4)", "[here](0.6,0.6,0.9,0.9)", False),
        ("[here](0.1,0.1,0.4,0.4)", "here", False),
        ("here", "[here](0.6,0.6,0.9,0.9)", False),
    ],
)
def test_a_question_s_answer_has_the_same_words_and_boxes(truth, words, exact):
    answered = said("ask", truth, words, question=parse_markdown("Where is it?"), kind="where")
    assert answered.exact == exact
    assert answered.question == "Where is it?"
    assert text_metrics([answered])["ask"] == {
        "count": 1,
        "exact": float(exact),
        "kinds": {"where": {"count": 1, "exact": float(exact)}},
    }


@pytest.mark.parametrize(
    ("words", "names", "exact"),
    [
        ("a small red mug", True, True),
        ("a shiny mug that is red", True, False),
        ("a small mug", False, False),
        ("a small blue mug", False, False),
    ],
)
def test_a_description_says_the_names_of_the_thing_in_its_box(words, names, exact):
    answered = said("describe", "[a small red mug](0.1,0.1,0.4,0.4)", words)
    assert (answered.names, answered.exact) == (names, exact)


def test_of_a_thing_without_names_all_must_be_said():
    answered = score_text_answer(
        0, RECORD, Item("describe", parse_markdown("[an old bowl](0.6,0.6,0.9,0.9)")), answer("the bowl, old")
    )
    assert answered.names
    assert not said("describe", "[an old bowl](0.6,0.6,0.9,0.9)", "the bowl").names


@pytest.mark.parametrize(
    ("words", "precision", "recall", "exact"),
    [
        (CAPTION, 1.0, 1.0, True),
        ("[a red mug](0.1,0.1,0.4,0.4) on a table", 1.0, 0.5, False),
        ("[a red mug](0.1,0.1,0.4,0.4) and [a can](0.6,0.6,0.9,0.9) on a table", 0.5, 0.5, False),
        ("[a red mug](0.6,0.6,0.9,0.9) and [a bowl](0.1,0.1,0.4,0.4) on a table", 0.0, 0.0, False),
        ("[a red mug](0.1,0.1,0.4,0.4;0.1,0.1,0.4,0.41)", 0.5, 0.5, False),
        ("a red mug and a bowl on a table", None, 0.0, False),
    ],
)
def test_a_caption_is_judged_by_what_it_names_where(words, precision, recall, exact):
    figures = text_metrics([said("caption", CAPTION, words)])["caption"]
    assert figures["precision"] == precision
    assert figures["recall"] == recall
    assert figures["exact"] == float(exact)


def test_each_box_is_matched_once_the_nearest_first():
    near, far = Box(0.1, 0.1, 0.4, 0.42), Box(0.1, 0.1, 0.4, 0.5)
    assert count_right([("mug", MUG), ("mug", near)], [("mug", MUG)]) == 1
    assert count_right([("mug", far), ("mug", MUG)], [("mug", MUG), ("mug", far)]) == 2
    assert count_right([("mug", MUG)], [("bowl", MUG)]) == 0

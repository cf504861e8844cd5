"""Cases and sayings: all that was asked for, held to the truth, and the truth kept from the model."""

from dataclasses import replace

import pytest

from kosmos2_core.boxes import Box
from kosmos2_core.markdown import GroundedText, Phrase, parse, write
from kosmos2_core.tasks import Ask, Caption, Describe, Locate
from kosmos2_eval.scenes import Case, evaluate, locate_cases, reliability_of, request_of, summary
from kosmos2_io.records import Item, Record, Truth

HERE, THERE = Box(0.1, 0.1, 0.4, 0.4), Box(0.6, 0.6, 0.9, 0.9)


def locate(text, kind=""):
    return Item("locate", parse(text), kind=kind)


def case(score=0.5, iou=0.0, truth=(HERE,), presence=0.5, kind="", image=0):
    return Case(image, kind, "[it]", truth, HERE, score, presence, iou)


def test_every_phrase_is_a_case_in_order_with_its_sentence(engine, samples):
    image = samples[0][0]
    text = "put [the red disc](0.1,0.1,0.4,0.4) into [the bowl]()"
    record = Record("0.png", (locate(text, "command"), locate("[the can](0.6,0.6,0.9,0.9)", "attribute")))
    cases = locate_cases(engine, [samples[1], (image, record)])
    asked = [one for one in cases if one.image == 1]
    assert [one.text for one in asked] == [
        "put [the red disc] into the bowl",
        "put the red disc into [the bowl]",
        "[the can]",
    ]
    assert [one.kind for one in asked] == ["command", "command", "attribute"]
    assert [one.truth for one in asked] == [(HERE,), (), (THERE,)]
    assert all(one.found and 0 <= one.score <= one.presence <= 1 for one in cases)


def test_cases_are_what_the_engine_answers_however_many_at_once(engine, samples):
    cases = locate_cases(engine, samples, images_at_once=2)
    alone = []
    for pixels, record in samples:
        view = engine.look(pixels)
        for item in record.items:
            if item.task == "locate":
                [answer] = view.run(Locate(item.text.text))
                alone += answer.phrases
    assert len(cases) == len(alone) > 4
    for one, other in zip(cases, alone, strict=True):
        assert one.found.pixels(1, 1) == other.boxes[0].pixels(1, 1)
        assert one.score == pytest.approx(other.boxes[0].score, rel=1e-3)


def test_the_truth_is_never_shown(engine, samples):
    def elsewhere(item):
        moved = tuple(replace(phrase, boxes=(THERE,)) for phrase in item.text.phrases)
        return replace(item, text=GroundedText(item.text.text, moved))

    pixels, record = samples[0]
    located = tuple(item for item in record.items if item.task == "locate")
    before = locate_cases(engine, [(pixels, replace(record, items=located))])
    after = locate_cases(engine, [(pixels, replace(record, items=tuple(map(elsewhere, located))))])
    assert [one.found for one in before] == [one.found for one in after]
    assert write(parse(request_of(located[0]).text)) == f"[{located[0].text.text}]"


def as_answered(item, answer):
    """The item, had the model been right."""
    phrases = tuple(
        Phrase(one.start, one.end, tuple(replace(box, score=None) for box in one.boxes))
        for one in answer.phrases
    )
    return replace(item, text=GroundedText(answer.text, phrases))


def test_a_model_that_is_right_is_said_to_be(engine, samples):
    truths, right = [], []
    for pixels, record in samples:
        view = engine.look(pixels)
        items = [
            as_answered(item, view.run(request_of(item))[0]) for item in record.items if item.task == "locate"
        ]
        right.append((pixels, replace(record, items=tuple(items))))
        truths += items
    cases = locate_cases(engine, right)
    assert [one.iou for one in cases] == pytest.approx([1.0] * len(cases))
    assert summary(cases)["accuracy"] == 1.0
    assert summary(locate_cases(engine, samples))["accuracy"] < 0.5


def test_summary_counts_what_is_there_by_kind_and_all_by_score():
    cases = [
        case(0.9, 0.8, kind="size", image=0, presence=0.9),
        case(0.8, 0.4, kind="size", image=1, presence=0.7),
        case(0.7, 0.5, kind="position", image=1, presence=0.6),
        case(0.2, 0.0, truth=(), kind="absent", image=2, presence=0.65),
    ]
    figures = summary(cases)
    assert figures["count"] == 4
    assert figures["absent"] == 1
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["mean_iou"] == pytest.approx(1.7 / 3)
    assert figures["presence_auroc"] == pytest.approx(2 / 3)
    assert figures["brier"] == pytest.approx((0.01 + 0.64 + 0.09 + 0.04) / 4)
    assert figures["kinds"]["size"]["accuracy"] == 0.5
    assert figures["kinds"]["absent"]["accuracy"] is None
    assert figures["kinds"]["absent"]["presence"] == 0.65
    assert sum(one.count for one in reliability_of(cases)) == 4
    assert summary([])["accuracy"] is None


def test_each_task_asks_what_it_was_taught():
    question = Item("ask", parse("red"), parse("What colour is [this](0.1,0.1,0.4,0.4)?"))
    assert request_of(question) == Ask("What colour is [this](0.1,0.1,0.4,0.4)?", ground=False)
    grounded = Item("ask", parse("[here](0.1,0.1,0.4,0.4)"), parse("Where is it?"))
    assert request_of(grounded).ground
    assert request_of(Item("caption", parse("[a](0,0,1,1)"), detailed=True)) == Caption(True, True)
    assert request_of(Item("describe", parse("[a](0.1,0.1,0.4,0.4)"))) == Describe(HERE)


def test_what_a_model_says_is_evaluated_by_task(engine, samples):
    pixels = samples[0][0]
    asked = [
        Item("caption", parse("[a red mug](0.1,0.1,0.4,0.4)"), kind="brief"),
        Item("describe", parse("[a red mug](0.1,0.1,0.4,0.4)"), kind="describe"),
        Item("ask", parse("red"), parse("What colour is the mug?"), kind="colour"),
        Item("text", parse("some words")),
    ]
    view = engine.look(pixels)
    [answer] = view.run(request_of(asked[2]))
    exact = replace(asked[2], text=GroundedText(answer.text))
    record = Record("0.png", (*asked, exact), truths=(Truth(1, ("red", "mug"), HERE),))
    evaluation = evaluate(engine, [(pixels, record)])
    figures = evaluation.summary()
    assert figures["images"] == 1
    assert "locate" not in figures
    assert figures["ask"]["count"] == 2
    assert figures["describe"]["names"] == 0.0
    assert figures["caption"]["recall"] == 0.0
    assert [one.task for one in evaluation.sayings] == ["caption", "describe", "ask", "ask"]

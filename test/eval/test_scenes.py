"""Cases and sayings: all that was asked for, held to the truth, and the truth kept from the model."""

from dataclasses import replace

import pytest

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import GroundedText, Phrase, parse_markdown, write_markdown
from kosmos2_core.requests import Ask, Caption, Describe, Locate
from kosmos2_data.records import Item, Record, Truth
from kosmos2_eval.scenes import (
    Case,
    Evaluation,
    evaluate,
    locate_cases,
    reliability_of,
    request_of,
    right_with,
    summary,
)

HERE, THERE = Box(0.1, 0.1, 0.4, 0.4), Box(0.6, 0.6, 0.9, 0.9)


def locate(text, kind=""):
    return Item("locate", parse_markdown(text), kind=kind)


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
                [answer] = view.run(Locate(item.text.text, min_presence=0.0))
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
    assert write_markdown(parse_markdown(request_of(located[0]).text)) == f"[{located[0].text.text}]"


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


def test_the_threshold_moves_presence_alone_and_not_the_figures_of_boxes(engine, samples):
    """A phrase is asked without one: each gets its best box, from one run of the model."""
    assert request_of(locate("[the mug](0.1,0.1,0.4,0.4)")).min_presence == 0.0
    low, high = (evaluate(engine, samples, min_presence=least).summary() for least in (0.0, 1.0))
    assert low["presence"]["threshold"] == 0.0
    assert low["presence"]["all"]["misses"] == 0.0
    assert high["presence"]["all"]["misses"] == 1.0
    assert low["locate"].pop("accuracy_with_threshold") == low["locate"]["accuracy"]
    assert high["locate"].pop("accuracy_with_threshold") == 0.0
    assert low["locate"] == high["locate"]
    default = evaluate(engine, samples).summary()
    assert default["presence"]["threshold"] == engine.min_presence


def test_from_the_threshold_on_a_phrase_is_found():
    found = case(presence=0.5)
    assert found.found_with(0.5)
    assert not found.found_with(0.51)
    assert not replace(found, found=None).found_with(0.0)


def test_right_with_the_threshold_is_right_and_found():
    cases = [
        case(iou=0.9, presence=0.9),
        case(iou=0.9, presence=0.3),
        case(iou=0.2, presence=0.9),
        case(iou=0.9, presence=0.5),
        case(truth=(), presence=0.9),
    ]
    assert right_with(cases, 0.5) == 0.5
    assert right_with(cases, 0.0) == summary(cases)["accuracy"] == 0.75
    assert right_with(cases[-1:], 0.5) is None


def test_presence_is_told_by_the_probes_and_boxes_by_the_other_phrases():
    cases = (case(iou=0.9, kind="size"), case(truth=(), presence=0.9, kind="absent"))
    probes = (
        case(truth=(), presence=0.9, kind="name", image=0),
        case(truth=(), presence=0.2, kind="name", image=1),
        case(presence=0.2, kind="name", image=1),
    )
    figures = Evaluation(1, cases, (), 0.5, probes).summary(2)
    assert list(figures["locate"]["kinds"]) == ["absent", "size"]
    presence = figures["presence"]
    assert (presence["probes"], presence["threshold"], presence["images"]) == (2, 0.5, 2)
    assert list(presence["kinds"]) == ["name"]
    assert (presence["all"]["false_alarms"], presence["all"]["misses"]) == (0.5, 1.0)
    own = Evaluation(1, cases, ()).summary()["presence"]
    assert own["probes"] is None
    assert own["kinds"]["absent"]["false_alarms"] == 1.0
    assert own["kinds"]["absent"]["misses"] is None
    assert "presence" not in Evaluation(1, (), ()).summary()


def test_probes_are_located_beside_the_samples(engine, samples):
    pixels = samples[0][0]
    probe = Record("0.png", (locate("[the mug]()", "name"), locate("[the can](0.1,0.1,0.4,0.4)", "name")))
    evaluation = evaluate(engine, samples, probes=[(pixels, probe)])
    assert evaluation.images == len(samples)
    assert [one.kind for one in evaluation.probes] == ["name", "name"]
    assert all(one.found for one in evaluation.probes)
    assert evaluation.cases == evaluate(engine, samples).cases


def test_each_task_asks_what_it_was_taught():
    question = Item("ask", parse_markdown("red"), parse_markdown("What colour is [this](0.1,0.1,0.4,0.4)?"))
    assert request_of(question) == Ask("What colour is [this](0.1,0.1,0.4,0.4)?", ground=False)
    grounded = Item("ask", parse_markdown("[here](0.1,0.1,0.4,0.4)"), parse_markdown("Where is it?"))
    assert request_of(grounded).ground
    assert request_of(Item("caption", parse_markdown("[a](0,0,1,1)"), detailed=True)) == Caption(True, True)
    assert request_of(Item("describe", parse_markdown("[a](0.1,0.1,0.4,0.4)"))) == Describe(HERE)


def test_what_a_model_says_is_evaluated_by_task(engine, samples):
    pixels = samples[0][0]
    asked = [
        Item("caption", parse_markdown("[a red mug](0.1,0.1,0.4,0.4)"), kind="brief"),
        Item("describe", parse_markdown("[a red mug](0.1,0.1,0.4,0.4)"), kind="describe"),
        Item("ask", parse_markdown("red"), parse_markdown("What colour is the mug?"), kind="colour"),
        Item("text", parse_markdown("some words")),
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

"""Every item is asked and compared with its truth, which the model never sees."""

from dataclasses import replace

import pytest

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import GroundedText, Phrase, parse_markdown, write_markdown
from kosmos2_core.requests import Ask, Caption, Describe, Locate
from kosmos2_data.records import Item, Record, Truth
from kosmos2_eval import scenes
from kosmos2_eval.scenes import (
    LocateExample,
    SceneEvaluation,
    accuracy_with_threshold,
    evaluate_scenes,
    locate_examples,
    locate_metrics,
    reliability_of,
    request_of,
)

HERE, THERE = Box(0.1, 0.1, 0.4, 0.4), Box(0.6, 0.6, 0.9, 0.9)


def locate(text, kind=""):
    return Item("locate", parse_markdown(text), kind=kind)


def example(score=0.5, iou=0.0, truth=(HERE,), presence=0.5, kind="", image=0):
    return LocateExample(image, kind, "[it]", truth, HERE, score, presence, iou)


def test_every_phrase_is_an_example_in_order_with_its_sentence(engine, samples):
    image = samples[0][0]
    text = "put [the red disc](0.1,0.1,0.4,0.4) into [the bowl]()"
    record = Record("0.png", (locate(text, "command"), locate("[the can](0.6,0.6,0.9,0.9)", "attribute")))
    examples = locate_examples(engine, [samples[1], (image, record)])
    asked = [example for example in examples if example.image == 1]
    assert [example.text for example in asked] == [
        "put [the red disc] into the bowl",
        "put the red disc into [the bowl]",
        "[the can]",
    ]
    assert [example.kind for example in asked] == ["command", "command", "attribute"]
    assert [example.truth for example in asked] == [(HERE,), (), (THERE,)]
    assert all(example.found and 0 <= example.score <= example.presence <= 1 for example in examples)


def test_examples_are_what_the_engine_answers_however_many_at_once(engine, samples, monkeypatch):
    monkeypatch.setattr(scenes, "IMAGES_AT_ONCE", 2)
    examples = locate_examples(engine, samples)
    alone = []
    for pixels, record in samples:
        view = engine.look(pixels)
        for item in record.items:
            if item.task == "locate":
                [answer] = view.run(Locate(item.text.text, min_presence=0.0))
                alone += answer.phrases
    assert len(examples) == len(alone) > 4
    for example, other in zip(examples, alone, strict=True):
        assert example.found.pixels(1, 1) == other.boxes[0].pixels(1, 1)
        assert example.score == pytest.approx(other.boxes[0].score, rel=1e-3)


def test_the_truth_is_never_shown(engine, samples):
    def elsewhere(item):
        moved = tuple(replace(phrase, boxes=(THERE,)) for phrase in item.text.phrases)
        return replace(item, text=GroundedText(item.text.text, moved))

    pixels, record = samples[0]
    located = tuple(item for item in record.items if item.task == "locate")
    before = locate_examples(engine, [(pixels, replace(record, items=located))])
    after = locate_examples(engine, [(pixels, replace(record, items=tuple(map(elsewhere, located))))])
    assert [example.found for example in before] == [example.found for example in after]
    assert write_markdown(parse_markdown(request_of(located[0]).text)) == f"[{located[0].text.text}]"


def as_answered(item, answer):
    """The item, had the model been right."""
    phrases = tuple(
        Phrase(example.start, example.end, tuple(replace(box, score=None) for box in example.boxes))
        for example in answer.phrases
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
    examples = locate_examples(engine, right)
    assert [example.iou for example in examples] == pytest.approx([1.0] * len(examples))
    assert locate_metrics(examples)["accuracy"] == 1.0
    assert locate_metrics(locate_examples(engine, samples))["accuracy"] < 0.5


def test_summary_counts_what_is_there_by_kind_and_all_by_score():
    examples = [
        example(0.9, 0.8, kind="size", image=0, presence=0.9),
        example(0.8, 0.4, kind="size", image=1, presence=0.7),
        example(0.7, 0.5, kind="position", image=1, presence=0.6),
        example(0.2, 0.0, truth=(), kind="absent", image=2, presence=0.65),
    ]
    figures = locate_metrics(examples)
    assert figures["count"] == 4
    assert figures["absent"] == 1
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["mean_iou"] == pytest.approx(1.7 / 3)
    assert figures["presence_auroc"] == pytest.approx(2 / 3)
    assert figures["brier"] == pytest.approx((0.01 + 0.64 + 0.09 + 0.04) / 4)
    assert figures["kinds"]["size"]["accuracy"] == 0.5
    assert figures["kinds"]["absent"]["accuracy"] is None
    assert figures["kinds"]["absent"]["presence"] == 0.65
    assert sum(example.count for example in reliability_of(examples)) == 4
    assert locate_metrics([])["accuracy"] is None


def test_the_threshold_moves_presence_alone_and_not_the_figures_of_boxes(engine, samples):
    """A phrase is asked without example: each gets its best box, from example run of the model."""
    assert request_of(locate("[the mug](0.1,0.1,0.4,0.4)")).min_presence == 0.0
    low, high = (evaluate_scenes(engine, samples, min_presence=least).summary() for least in (0.0, 1.0))
    assert low["presence"]["threshold"] == 0.0
    assert low["presence"]["all"]["misses"] == 0.0
    assert high["presence"]["all"]["misses"] == 1.0
    assert low["locate"].pop("accuracy_with_threshold") == low["locate"]["accuracy"]
    assert high["locate"].pop("accuracy_with_threshold") == 0.0
    assert low["locate"] == high["locate"]
    default = evaluate_scenes(engine, samples).summary()
    assert default["presence"]["threshold"] == engine.min_presence


def test_from_the_threshold_on_a_phrase_is_found():
    found = example(presence=0.5)
    assert found.found_with(0.5)
    assert not found.found_with(0.51)
    assert not replace(found, found=None).found_with(0.0)


def test_right_with_the_threshold_is_right_and_found():
    examples = [
        example(iou=0.9, presence=0.9),
        example(iou=0.9, presence=0.3),
        example(iou=0.2, presence=0.9),
        example(iou=0.9, presence=0.5),
        example(truth=(), presence=0.9),
    ]
    assert accuracy_with_threshold(examples, 0.5) == 0.5
    assert accuracy_with_threshold(examples, 0.0) == locate_metrics(examples)["accuracy"] == 0.75
    assert accuracy_with_threshold(examples[-1:], 0.5) is None


def test_presence_is_told_by_the_probes_and_boxes_by_the_other_phrases():
    examples = (example(iou=0.9, kind="size"), example(truth=(), presence=0.9, kind="absent"))
    probes = (
        example(truth=(), presence=0.9, kind="name", image=0),
        example(truth=(), presence=0.2, kind="name", image=1),
        example(presence=0.2, kind="name", image=1),
    )
    figures = SceneEvaluation(1, examples, (), 0.5, probes).summary(2)
    assert list(figures["locate"]["kinds"]) == ["absent", "size"]
    presence = figures["presence"]
    assert (presence["probes"], presence["threshold"], presence["images"]) == (2, 0.5, 2)
    assert list(presence["kinds"]) == ["name"]
    assert (presence["all"]["false_alarms"], presence["all"]["misses"]) == (0.5, 1.0)
    without_probes = SceneEvaluation(1, examples, ()).summary()["presence"]
    assert without_probes["probes"] is None
    assert without_probes["kinds"]["absent"]["false_alarms"] == 1.0
    assert without_probes["kinds"]["absent"]["misses"] is None
    assert "presence" not in SceneEvaluation(1, (), ()).summary()


def test_probes_are_located_beside_the_samples(engine, samples):
    pixels = samples[0][0]
    probe = Record("0.png", (locate("[the mug]()", "name"), locate("[the can](0.1,0.1,0.4,0.4)", "name")))
    evaluation = evaluate_scenes(engine, samples, probes=[(pixels, probe)])
    assert evaluation.images == len(samples)
    assert [example.kind for example in evaluation.probes] == ["name", "name"]
    assert all(example.found for example in evaluation.probes)
    assert evaluation.examples == evaluate_scenes(engine, samples).examples


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
    evaluation = evaluate_scenes(engine, [(pixels, record)])
    figures = evaluation.summary()
    assert figures["images"] == 1
    assert "locate" not in figures
    assert figures["ask"]["count"] == 2
    assert figures["describe"]["names"] == 0.0
    assert figures["caption"]["recall"] == 0.0
    assert [example.task for example in evaluation.text_answers] == ["caption", "describe", "ask", "ask"]

"""What the node answered, as recorded: matched by stamp, with what it left out and how long it took."""

import json

import pytest
from eval_bags import grounded, image, stamp

from kosmos2_core.errors import InputError
from kosmos2_data.bag_frames import ImageSelection
from kosmos2_data.bag_topics import RequestedTopics, choose_topics
from kosmos2_eval.bag.predictors import read_recorded_answers
from kosmos2_io.bag_reader import BagReader

MUG = "[the mug](0.25,0.25,0.5,0.5)"


def test_recorded_answers_are_evaluated_as_a_model_s(bag_of, run, tmp_path):
    said = [image("/image", number) for number in range(8)]
    said += [grounded("/labels", MUG, number) for number in range(8)]
    said += [
        grounded("/grounding/grounding", MUG, 1, late=0.5, score=0.9),
        grounded("/grounding/grounding", "[the mug](0.6,0.6,0.9,0.9)", 2, late=1.5, score=0.3),
        grounded("/grounding/grounding", "[the mug]()", 5, late=2.5),
    ]
    results, evaluation = run(bag_of(said), tmp_path / "out", answers=bag_of(said, "answers.mcap"))
    [results_of_model] = evaluation.results
    assert results["models"] == ["mine"]  # of the message, without its folder
    assert [result.query.stamp_ns for result in results_of_model] == [stamp(1), stamp(2), stamp(5)]
    assert [result.right for result in results_of_model] == [True, False, False]
    assert [result.score for result in results_of_model] == [0.9, 0.3, 0.0]
    assert results["answers"] == {"recorded": 3, "matched": 3, "dropped": 2}  # 3 and 4; 0, 6, 7 are outside
    timings = json.loads((tmp_path / "out/timings.json").read_text())["node"]
    assert timings["end_to_end_ms"] == {"count": 3, "median": 150.0, "p95": 240.0, "max": 250.0}


def test_true_answers_are_right_everywhere_and_in_space(run, sim_bag, tmp_path):
    results, _ = run(sim_bag, tmp_path, answers=sim_bag, topic="/truth/grounding")
    figures = results["figures"]
    assert figures["all"]["accuracy"]["0.95"] == figures["all"]["mean_iou"] == 1.0
    assert figures["all"]["average_precision"]["mean"] == pytest.approx(1.0)
    assert figures["all"]["brier"] == 0.0
    assert figures["stability"]["identity_switches"] == 0
    assert figures["stability"]["jitter"] == pytest.approx(0.0, abs=1e-9)
    placed = figures["space"]
    assert placed["all"]["count"] == placed["queries"] > 5
    assert placed["all"]["median_m"] < 0.03  # what is seen of a thing is not its middle
    assert results["answers"]["dropped"] == 0


def test_another_model_is_asked_what_the_node_was(run, sim_bag, model, tmp_path):
    with BagReader([sim_bag]) as bag:
        node = read_recorded_answers(bag, choose_topics(bag, RequestedTopics()), "/truth/grounding")
    results, evaluation = run(
        sim_bag,
        tmp_path,
        answers=sim_bag,
        topic="/truth/grounding",
        models=[node, model],
        selection=ImageSelection(to_s=1.0),
    )
    assert results["models"] == ["truth", "tabletop-tiny"]
    true, found = evaluation.results
    assert [result.query for result in true] == [result.query for result in found]
    assert results["compared"]["difference"]["mcnemar"]["won"] == 0  # nobody is better than the truth


def test_without_answers_a_sentence_says_what_to_record(bag_of, run, tmp_path):
    bag = bag_of([image("/image"), grounded("/labels", MUG)])
    with pytest.raises(InputError, match=r"no kosmos2/GroundedFrame of the node: record its topic"):
        run(bag, tmp_path, answers=bag)
    two = bag_of([image("/image"), grounded("/a/grounding", MUG), grounded("/b/grounding", MUG)], "two.mcap")
    with pytest.raises(InputError, match=r"answers on /a/grounding, /b/grounding: choose with"):
        run(two, tmp_path, answers=two)

"""The same evaluation gives the same bytes, however the bag is stored and however often it is broken off."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from eval_bags import command, detections, grounded, image
from recordings import FORMS, Said

from kosmos2_cli.main import main
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate
from kosmos2_data.bag_frames import ImageSelection
from kosmos2_data.bag_topics import RequestedTopics
from kosmos2_eval.bag.evaluation import LOG_NAME
from kosmos2_eval.bag.predictors import ModelPredictor
from kosmos2_eval.bag.queries import read_queries
from kosmos2_eval.metrics import RIGHT
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.images import to_rgb

SAME = ("results.json", "queries.csv", "overlay.mcap")


def content(folder):
    return {name: (folder / name).read_bytes() for name in SAME}


@pytest.fixture(scope="session")
def said(sim_bag):
    with BagReader([sim_bag]) as bag:
        return [Said(recorded.topic, recorded.stamp_ns, recorded.message()) for recorded in bag.messages()]


def test_what_is_found_is_what_the_engine_answers(evaluated, model, sim_bag):
    _, results, evaluation = evaluated
    [answered] = evaluation.results
    assert results["images"] == {
        "recorded": 12,
        "chosen": 12,
        "evaluated": 12,
        "nothing_asked": 0,
        "rejected": {},
    }
    with BagReader([sim_bag]) as bag:
        images = [to_rgb(recorded.message()) for recorded in bag.messages(["/camera/image"])]
        truths = [recorded.message() for recorded in bag.messages(["/truth/grounding"])]
    assert len(answered) == sum(len(message.phrases) for message in truths)
    for result in answered[::5]:
        [answer] = model.engine.run([([images[result.query.frame]], Locate(result.query.text))])
        [phrase] = answer.phrases
        assert phrase.presence == pytest.approx(result.presence, abs=0.02)
        assert bool(phrase.boxes) == (result.box is not None)  # with the checkpoint's threshold, as the node
        for box in phrase.boxes[:1]:
            assert box.pixels(1, 1) == pytest.approx(result.box.pixels(1, 1), abs=0.02)
            assert box.score == pytest.approx(result.score, abs=0.02)
        true = next(
            phrase for phrase in truths[result.query.frame].phrases if phrase.phrase == result.query.phrase
        )
        corners = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in true.boxes]
        assert [box.pixels(320, 240) for box in result.query.truth] == [
            pytest.approx(corner) for corner in corners
        ]
    share = np.mean([result.right for result in answered if result.query.truth])
    assert results["figures"]["all"]["accuracy"]["0.5"] == pytest.approx(share)


@pytest.mark.parametrize("form", ["mcap", "rosbag2 sqlite3"])  # the simulated one is compressed MCAP
def test_however_it_is_stored_the_results_are_the_same_to_the_byte(form, said, run, evaluated, tmp_path):
    run(FORMS[form](tmp_path, said), tmp_path / "out")
    assert content(tmp_path / "out") == content(evaluated[0])


def test_broken_off_it_goes_on_and_ends_the_same(run, sim_bag, evaluated, tmp_path):
    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(sim_bag, tmp_path, tick=stop)
    assert (tmp_path / LOG_NAME).read_bytes().count(b"\n") == 2  # what it is about, and a batch
    ticks = []
    run(sim_bag, tmp_path, tick=ticks.append)
    assert ticks == [4]  # of 12 images, 8 were done
    assert content(tmp_path) == content(evaluated[0])
    assert not (tmp_path / LOG_NAME).exists()


KILLED = """
import os, signal, sys
import tqdm
class Bar:
    def __init__(self, **settings): pass
    def __enter__(self): return self
    def __exit__(self, *why): pass
    def update(self, count): os.kill(os.getpid(), signal.SIGKILL)
tqdm.tqdm = Bar
from kosmos2_cli.main import main
main(sys.argv[1:])
"""


def test_killed_the_same_command_goes_on(sim_bag, root, evaluated, tmp_path):
    arguments = ["eval", "bag", sim_bag, "--model", root / "models/tabletop-tiny", "--out", tmp_path]
    arguments = [str(argument) for argument in [*arguments, "--device", "cpu"]]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "results.json").exists()
    assert main(arguments) == 0
    assert content(tmp_path) == content(evaluated[0])


def test_every_image_is_counted_and_so_is_a_damaged_one(bag_of, run, tmp_path):
    broken = image("/image", 2)
    broken.message.encoding = "rgb9"
    said = [image("/image", 0), image("/image", 1), broken, image("/image", 3), image("/image", 4)]
    said += [command("/command", "the mug", 0.5), grounded("/labels", "[the mug](0,0,1,1)", 1)]
    results, evaluation = run(bag_of(said), tmp_path / "out")
    found = results["images"]
    assert found["recorded"] == found["chosen"] == 5
    assert found["nothing_asked"] == 1
    assert found["evaluated"] == 3
    assert sum(found["rejected"].values()) == 1
    assert "rgb9" in next(iter(found["rejected"]))
    assert results["figures"]["all"]["labelled"] == 1
    assert [result.query.frame for result in evaluation.results[0]] == [1, 3, 4]


def test_without_labels_there_are_rates_and_pictures(bag_of, run, best_boxes, tmp_path):
    said = [image("/image", number, shade=20 * number) for number in range(6)]
    results, _ = run(
        bag_of(said),
        tmp_path / "out",
        models=[best_boxes],
        phrases=("the mug", "the bowl"),
        selection=ImageSelection(every_nth=2),
    )
    figures = results["figures"]
    assert results["images"]["chosen"] == 3
    assert figures["all"]["queries"] == 6
    assert figures["all"]["labelled"] == 0
    assert figures["all"]["accuracy"]["0.5"] is figures["all"]["average_precision"] is None
    assert 0 < figures["all"]["score"] <= figures["all"]["presence"] <= 1
    assert figures["stability"]["steps"] == 4
    assert figures["space"] is None
    assert (tmp_path / "out/report.html").stat().st_size > 10_000


def test_two_cameras_with_labels_of_their_own(bag_of, run, best_boxes, tmp_path):
    said = []
    for number in range(3):
        for eye in ("left", "right"):
            said.append(image(f"/{eye}/image", number, frame=eye))
        said.append(detections("/labels", "[the mug](0,0,1,1)", number, frame="left"))
        said.append(detections("/labels", "[the bowl](0,0,1,1)", number, frame="right"))
    topics = RequestedTopics(images=("all",))
    results, _ = run(
        bag_of(said), tmp_path / "out", models=[best_boxes], requested_topics=topics, phrases=("the mug",)
    )
    cameras = results["figures"]["cameras"]
    assert cameras["/left/image"]["absent"] == 0
    assert cameras["/right/image"]["absent"] == 3
    assert results["figures"]["stability"]["steps"] == 4  # of each camera by itself


def test_a_label_file_says_the_same_as_the_topic(said, sim_bag, run, evaluated, tmp_path):
    lines = []
    for message in said:
        if message.topic == "/truth/grounding":
            stamp_ns = message.message.header.stamp.sec * 10**9 + message.message.header.stamp.nanosec
            lines.append(f"{stamp_ns / 1e9:.3f} {message.message.markdown}\n")
    (tmp_path / "labels.txt").write_text("".join(lines))
    run(sim_bag, tmp_path / "out", label_file=tmp_path / "labels.txt")
    found, expected = (read_queries(folder / "queries.csv") for folder in (tmp_path / "out", evaluated[0]))
    assert [row.key for row in found] == [row.key for row in expected]
    for row, same in zip(found, expected, strict=True):
        assert row.iou == pytest.approx(same.iou, abs=1e-4)  # Markdown has six decimals


def test_a_part_of_the_recording(run, sim_bag, evaluated, tmp_path):
    _, evaluation = run(sim_bag, tmp_path, selection=ImageSelection(2.0, 3.9))
    stamps = sorted({result.query.stamp_ns for result in evaluation.results[0]})
    whole = sorted({result.query.stamp_ns for result in evaluated[2].results[0]})
    assert stamps == whole[4:8]
    present = [result for result in evaluation.results[0] if result.query.truth and result.box]
    assert present
    assert all(result.prediction.centre_m or result.prediction.unplaced for result in present)


def test_two_models_answer_the_same_and_are_told_apart(run, sim_bag, model, engine, tmp_path):
    models = [model, ModelPredictor("other", engine)]
    results, evaluation = run(sim_bag, tmp_path, models=models)
    compared = results["compared"]
    before, after = evaluation.results
    assert [result.query for result in before] == [result.query for result in after]
    present = [(a.iou >= RIGHT, b.iou >= RIGHT) for a, b in zip(before, after, strict=True) if a.query.truth]
    assert compared["difference"]["mcnemar"]["lost"] == present.count((True, False)) > 3
    assert compared["difference"]["accuracy"]["difference"] < -0.2
    assert compared["difference"]["accuracy"]["interval"][1] < 0
    rows = (tmp_path / "queries.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * len(before)


def test_the_same_model_twice_makes_no_difference(run, sim_bag, model, tmp_path):
    results, _ = run(sim_bag, tmp_path, models=[model, ModelPredictor("again", model.engine)])
    difference = results["compared"]["difference"]
    assert difference["accuracy"] == {"difference": 0.0, "interval": (0.0, 0.0)}
    assert difference["mcnemar"] == {"lost": 0, "won": 0, "p": 1.0}
    assert "0 won, 0 lost, McNemar p = 1" in (tmp_path / "report.html").read_text()


def test_timings_are_apart_from_results(evaluated):
    folder, _, _ = evaluated
    timings = json.loads((folder / "timings.json").read_text())
    [timing] = timings["models"]
    assert timing["one_image_ms"]["count"] == 8
    assert 0 < timing["one_image_ms"]["median"] <= timing["one_image_ms"]["max"]
    assert timing["images_per_s"] == pytest.approx(12 / timing["answer_s"], rel=1e-3)
    assert not {"load_s", "answer_s", "read_s"} & set(
        re.findall(r"\w+", (folder / "results.json").read_text())
    )


def test_labels_that_name_nothing_that_is_asked_are_refused(bag_of, run, tmp_path):
    bag = bag_of([image("/image"), detections("/labels", "[mug](0,0,1,1)")])
    with pytest.raises(
        InputError, match=r"no label names a phrase that is asked for \(red mug\); the labels name mug"
    ):
        run(bag, tmp_path, phrases=("the red mug",))
    results, _ = run(bag, tmp_path, as_labelled=True)
    assert results["figures"]["all"]["labelled"] == 1


def test_nothing_to_look_for_is_a_sentence(bag_of, run, tmp_path):
    with pytest.raises(InputError, match="there is nothing to look for"):
        run(bag_of([image("/image")]), tmp_path)
    late = bag_of([image("/image"), command("/command", "the mug", 3)], "late.mcap")
    with pytest.raises(InputError, match="no command applies to any of the 1 images"):
        run(late, tmp_path)
    assert not (tmp_path / LOG_NAME).exists()  # there is nothing to go on with
    with pytest.raises(InputError, match=r"--from 9 is after the end of the bag, which has 0\.3 s"):
        run(late, tmp_path, phrases=("the mug",), selection=ImageSelection(9.0))

"""A short simulated recording, the shipped model, and bags made of what a test says."""

from dataclasses import replace
from pathlib import Path

import pytest
from recordings import write_mcap

from kosmos2_core.engine import Engine
from kosmos2_eval.bag.evaluation import evaluate_bag, open_log
from kosmos2_eval.bag.predictors import ModelPredictor
from kosmos2_eval.bag.recording import BagOptions, open_recording
from kosmos2_eval.bag.results import write_files
from kosmos2_io.bag_reader import BagReader
from kosmos2_sim.bag import BagPlan, make_bag


@pytest.fixture(scope="session")
def sim_bag(tmp_path_factory):
    """6 s, 2 Hz, tiny images: 12 of them, two batches."""
    folder = tmp_path_factory.mktemp("bags") / "run"
    return make_bag(folder, BagPlan(seconds=6, rate_hz=2, seed=6, width=320, height=240))


@pytest.fixture(scope="session")
def model(root):
    return ModelPredictor("tabletop-tiny", Engine.load(root / "models" / "tabletop-tiny", device="cpu"))


@pytest.fixture(scope="session")
def best_boxes(model):
    """The same model without a presence threshold: each phrase gets its best box."""
    return replace(model, presence_threshold=0.0)


@pytest.fixture(scope="session")
def run(model):
    """Evaluates a recording into a folder; what it came to."""

    def evaluated(bag, folder, answers=None, topic=None, models=None, tick=lambda count: None, **options):
        folder.mkdir(parents=True, exist_ok=True)
        with BagReader([bag]) as reader, BagReader([answers or bag]) as other:
            recording = open_recording(reader, BagOptions(**options), other if answers else None, topic)
            predictors = models or [recording.commands if answers else model]
            log = open_log(folder, str(options))
            evaluation = evaluate_bag(recording, predictors, log, tick)
            load_s = [0.0] * len(predictors)
            shown = {"--every": "2 & more"}  # on the page alone
            results = write_files(folder, "run", recording, predictors, evaluation, load_s, shown)
            log.remove()
            return results, evaluation

    return evaluated


@pytest.fixture(scope="session")
def evaluated(run, sim_bag, tmp_path_factory):
    """The simulated recording with the shipped model: its folder, results, evaluation."""
    folder = tmp_path_factory.mktemp("report")
    return folder, *run(sim_bag, folder)


@pytest.fixture
def bag_of(tmp_path):
    """A bag of topics: messages, each at its log time."""

    def written(said, name="made.mcap") -> Path:
        ordered = sorted(said, key=lambda message: message.stamp_ns)
        return write_mcap(tmp_path / name, ordered)

    return written

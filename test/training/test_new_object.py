"""The shipped model learns an object it has never seen, from a minute of training on a few images."""

from dataclasses import replace

import pytest
import torch

from kosmos2_core.engine import Engine
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import to_json
from kosmos2_eval.scenes import locate_examples
from kosmos2_sim.dataset import RECORDS, make_dataset
from kosmos2_sim.shapes import NOVEL, SHAPES
from kosmos2_training.config import CheckpointSettings, DataSource, OptimiserSettings, TrainingSettings
from kosmos2_training.session import run_training

NEW = NOVEL[0]
KINDS = ("attribute", "size", "position")  # of expressions in which it is the only object named


def keep(folder, wanted):
    """The data's records with the items that are wanted."""
    source = RecordSource(folder)
    lines = []
    for number in range(len(source)):
        record = source[number]
        if items := tuple(item for item in record.items if NEW in item.text.text and wanted(item)):
            lines.append(to_json(replace(record, items=items)) + "\n")
    (folder / RECORDS).write_text("".join(lines))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Scenes with the new object, and what is said of it: some to learn from, some to be asked about."""
    folder = tmp_path_factory.mktemp("scenes")
    for name, count, split in (("learn", 120, "train"), ("ask", 40, "standard")):
        make_dataset(folder / name, count, split, 500_000, 24, shapes=(*SHAPES, NEW), must=NEW)
    keep(folder / "learn", lambda item: item.task == "locate")
    keep(folder / "ask", lambda item: item.task == "locate" and item.kind in KINDS)
    return folder


def accuracy(model, scenes):
    source = RecordSource(scenes / "ask")
    records = [source[number] for number in range(len(source))]
    samples = [(source.image(record), record) for record in records]
    cases = locate_examples(Engine.load(model, device="cpu"), samples)
    assert len(cases) >= 40
    return sum(case.right for case in cases) / len(cases)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_new_object_is_learnt(scenes, root):
    shipped = root / "models" / "tabletop-tiny"
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = accuracy(shipped, scenes)
        training = TrainingSettings(
            run="run",
            data=(DataSource(path="learn"),),
            start=str(shipped),
            steps=60,
            batch=12,
            tokens=140,
            soft_targets=0.8,
            auxiliary=0.5,
            dropout=0.0,
            optimiser=OptimiserSettings(learning_rate=1e-3, warmup=5),
            checkpoints=CheckpointSettings(every=60, keep=1),
        )
        after = accuracy(run_training(training, scenes, "cpu"), scenes)
    finally:
        torch.set_num_threads(threads)
    print(f"accuracy on what was never seen: {before:.2f}, after training on it: {after:.2f}")
    assert after >= before + 0.3

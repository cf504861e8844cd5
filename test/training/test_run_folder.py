"""Checkpoints are complete or absent, and the state of a training is restored exactly."""

import subprocess
import sys

import pytest
import torch
from full_disk import files_up_to
from torch import nn

from kosmos2_core.errors import DiskError
from kosmos2_training.config import OptimiserSettings
from kosmos2_training.optimiser import make_optimisers
from kosmos2_training.run_folder import (
    StepMetrics,
    TrainingLog,
    last_step,
    load_state,
    read_lines,
    remove_old_steps,
    save_state,
    step_folder,
    written_whole,
)


def test_a_folder_is_there_when_all_of_it_is(tmp_path):
    folder = tmp_path / "step-0000001"
    with written_whole(folder) as new:
        (new / "a").write_text("1")
        assert not folder.exists()
    assert (folder / "a").read_text() == "1"
    with written_whole(folder) as new:
        (new / "b").write_text("2")
    assert (folder / "b").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001"]


def test_writing_that_fails_leaves_the_old_one(tmp_path):
    folder = tmp_path / "best"
    with written_whole(folder) as new:
        (new / "a").write_text("old")

    def write_and_fail():
        with written_whole(folder) as new:
            (new / "a").write_text("new")
            (new / "b").write_bytes(bytes(10_000))

    words = r"best cannot be written \(File too large\): make room"
    with pytest.raises(DiskError, match=words), files_up_to(5000):
        write_and_fail()
    assert (folder / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_the_calibration_of_the_old_weights_goes_and_what_others_added_stays(tmp_path):
    folder = tmp_path / "best"
    for text in ("old", "new"):
        with written_whole(folder) as new:
            (new / "model").write_text(text)
        (folder / "calibration.json").write_text(text)
        (folder / "notes").mkdir(exist_ok=True)
        (folder / "notes/1.txt").write_text(text)
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to("nowhere")
    with written_whole(folder) as new:
        (new / "model").write_text("newest")
    assert sorted(path.name for path in folder.iterdir()) == ["link", "model", "notes"]
    assert (folder / "notes/1.txt").read_text() == "new"
    assert (folder / "link").is_symlink()


def test_a_process_killed_while_it_writes_leaves_the_last_whole_checkpoint(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from kosmos2_training.run_folder import step_folder, written_whole\n"
        "run = Path(sys.argv[1])\n"
        "with written_whole(step_folder(run, 1)) as new:\n"
        "    (new / 'state').mkdir()\n"
        "with written_whole(step_folder(run, 2)) as new:\n"
        "    (new / 'state').mkdir()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert last_step(tmp_path) == (1, step_folder(tmp_path, 1))


def test_the_newest_is_found_and_old_ones_go(tmp_path):
    for step in (2, 10, 9):
        (step_folder(tmp_path, step) / "state").mkdir(parents=True)
    (tmp_path / "step-x").mkdir()
    step_folder(tmp_path, 11).mkdir()  # somebody else's
    remove_old_steps(tmp_path, keep=2)
    assert last_step(tmp_path) == (10, step_folder(tmp_path, 10))
    assert not step_folder(tmp_path, 2).exists()
    assert (tmp_path / "step-x").exists()
    assert step_folder(tmp_path, 11).exists()


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_restored_optimisers_continue_exactly(tmp_path, name):
    def begin():
        torch.manual_seed(1)
        model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4)])})
        wrapped = nn.ModuleDict({"decoder": model})
        return wrapped, make_optimisers(wrapped, None, OptimiserSettings(name=name, learning_rate=0.1))

    def learn(model, optimisers, steps):
        for _ in range(steps):
            x = torch.randn(3, 4)
            for layer in model["decoder"]["blocks"]:
                x = layer(x)
            for optimiser in optimisers.values():
                optimiser.zero_grad()
            (x**2).sum().backward()
            for optimiser in optimisers.values():
                optimiser.step()

    model, optimisers = begin()
    learn(model, optimisers, 3)
    save_state(tmp_path / "state", optimisers, {"model": model}, {"step": 3})
    learn(model, optimisers, 3)

    again, others = begin()
    assert load_state(tmp_path / "state", others, {"model": again}) == {"step": 3}
    learn(again, others, 3)
    for weight, resumed in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(weight, resumed)


def test_a_resumed_log_drops_lines_that_will_be_written_again(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.add_step(step, StepMetrics(step / 10, 0.0, 1.0, 1e-3))
        log.add_scores(step, {"accuracy": step / 10, "kinds": {"left out": 1}})
    with (tmp_path / "log.csv").open("a") as stream:
        stream.write("4,0.")  # cut off
    again = TrainingLog(tmp_path, 2)
    again.add_step(3, StepMetrics(0.5, 0.0, 1.0, 1e-3))
    lines = read_lines(tmp_path / "log.csv")
    assert [(line["step"], line["answers"]) for line in lines] == [("1", "0.1"), ("2", "0.2"), ("3", "0.5")]
    assert again.last_scores()["accuracy"] == 0.2

"""A training whatever happens to it: best/ is the old model or the new one, and nothing else is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("tensorboard", reason="this environment was set up without the extra `train`")

from full_disk import small_disk
from small_data import SMALL_TRAINING, write_data

from kosmos2_core.checkpoint import load_model

SCRIPT = Path(__file__).with_name("training_process.py")
ROW = (
    35,
    "training: step folders removed, `kill -9` at any moment, a full disk",
    "best/ is the old or the new model and can be loaded; no other file is lost",
)
KILLED = "-9"


def train(folder):
    command = [sys.executable, "-m", "kosmos2_cli", "train", "training.yaml", "--device", "cpu"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stderr.replace("\r", "\n").strip().split("\n")[-1]


def write_settings(folder, **changes):
    (folder / "training.yaml").write_text(yaml.safe_dump(SMALL_TRAINING | changes))


def hashes(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a training that has ended after two steps."""
    folder = tmp_path_factory.mktemp("trained")
    write_data(folder / "data", 8)
    write_settings(folder, steps=2, evaluate=SMALL_TRAINING["evaluate"] | {"every": 1})
    assert train(folder)[0] == 0
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.mark.row(*ROW)
def test_without_its_checkpoints_a_training_replaces_no_model(copy, record_property):
    write_settings(copy, steps=4)
    for folder in (copy / "run").glob("step-*"):
        shutil.rmtree(folder)
    before = hashes(copy / "run")
    status, said = train(copy)
    assert status == 2
    assert f"{copy}/run/best exists, but {copy}/run has no checkpoint" in said
    assert hashes(copy / "run") == before
    record_property("figure", f"step folders removed: exit 2, {len(before)} of {len(before)} files as before")


@pytest.mark.row(*ROW)
def test_a_folder_that_is_not_the_training_s_is_left_alone(tmp_path, record_property):
    write_data(tmp_path / "data", 8)
    write_settings(tmp_path, run=".")
    (tmp_path / "best").mkdir()
    (tmp_path / "best/photo.jpg").write_bytes(b"mine")
    before = hashes(tmp_path)
    status, said = train(tmp_path)
    assert status == 2
    assert "best exists, but" in said
    assert hashes(tmp_path) == before
    record_property("figure", "another's best/ with `run: .`: exit 2, untouched")


@pytest.mark.row(*ROW)
def test_a_file_that_was_added_to_best_stays(copy, record_property):
    (copy / "run/best/notes.txt").write_text("mine")
    (copy / "run/best/photos").mkdir()
    (copy / "run/best/photos/1.jpg").write_bytes(b"mine")
    write_settings(copy, steps=12, optimiser={"learning_rate": 5e-3, "warmup": 2})
    before = hashes(copy / "run/best")
    assert train(copy)[0] == 0
    after = hashes(copy / "run/best")
    assert after["model.safetensors"] != before["model.safetensors"]
    assert {name: after[name] for name in ("notes.txt", "photos/1.jpg")} == {
        name: before[name] for name in ("notes.txt", "photos/1.jpg")
    }


def kill(folder, numbers, **environ):
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environ)
    return [line.split(" ", 2) for line in done.stdout.splitlines() if line[0].isdigit()], done.stdout


@pytest.mark.row(*ROW)
@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "renamed"])
def test_a_training_that_is_killed_has_a_model_in_best(trained, copy, count, record_property, exchange):
    """At each moment at which it touches a file of a model or a checkpoint. Where names cannot be exchanged,
    the next training puts them in order."""
    environ = {} if exchange else {"WITHOUT_EXCHANGE": "1"}
    write_settings(copy, steps=3, evaluate=SMALL_TRAINING["evaluate"] | {"every": 1})
    [[_, status, step]], said = kill(copy, [0], **environ)
    assert (status, step) == ("0", "3")
    moments = int(said.split("touched ")[1].split()[0])
    assert moments > 40
    numbers = range(1, moments + 1, count(1, 20))
    ends, _ = kill(copy, numbers, **environ)
    assert [number for number, _, _ in ends] == list(map(str, numbers))
    assert {status for _, status, _ in ends} == {KILLED}
    wrong = [(number, step) for number, _, step in ends if step not in ("1", "2", "3")]
    assert wrong == []
    how = "with names exchanged" if exchange else "with names changed one after the other"
    record_property("figure", f"killed at {len(ends)} moments of {moments} {how}: best/ loaded each time")


@pytest.mark.row(*ROW)
def test_a_training_on_a_full_disk_says_so_and_resumes(copy, tmp_path, count, record_property):
    used = sum(file.stat().st_size for file in (copy / "run").rglob("*"))
    write_settings(copy, steps=4, run=str(tmp_path / "disk/run"))
    ends = 0
    rooms = count(range(0, used // 2, used // 24), [used // 6])  # a checkpoint takes a third
    for room in rooms:
        with small_disk(tmp_path / "disk", used + used // 16 + room) as disk:
            shutil.copytree(copy / "run", disk / "run")
            status, said = train(copy)
            load_model(disk / "run/best")
            if status:
                ends += 1
                assert status == 1, said
                assert said.startswith("kosmos2: ")
                assert "cannot be written (" in said
                assert said.endswith(", and rerun the command to resume.")
                subprocess.run(["mount", "-o", f"remount,size={used * 20}", str(disk)], check=True)
                assert train(copy)[0] == 0
                load_model(disk / "run/best")
        (tmp_path / "disk").rmdir()
    assert ends
    record_property("figure", f"full disk: exit 1 in {ends} of {len(rooms)} sizes, best/ loaded, resumed")

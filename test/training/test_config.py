"""Settings are read as they are meant, and a wrong one is named in one sentence."""

import os

import pytest
import yaml

from kosmos2_core.errors import InputError
from kosmos2_training.config import DataSource, TrainingSettings, read_training

LEAST = {"run": "run", "data": [{"path": "data"}], "steps": 10}


def read(tmp_path, values):
    file = tmp_path / "training.yaml"
    file.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return read_training(file)


def test_the_defaults_are_the_papers(tmp_path):
    training = read(tmp_path, LEAST)
    how = training.optimiser
    assert (how.name, how.betas, how.weight_decay, how.learning_rate) == ("adamw", (0.9, 0.98), 0.01, 2e-4)
    assert (how.warmup, how.decay, how.clip) == (375, 1.0, 2.0)


def test_numbers_as_yaml_and_people_write_them(tmp_path):
    text = "run: r\ndata: [{path: d, weight: 2}]\nsteps: 10\noptimiser: {learning_rate: 1e-5, clip: 1}\n"
    training = read(tmp_path, text)
    assert (training.optimiser.learning_rate, training.optimiser.clip) == (1e-5, 1.0)
    assert training.data[0].weight == 2.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stepps": 3}, "did you mean steps"),
        ({"optimiser": {"learning_rat": 1}}, "optimiser.learning_rat, did you mean learning_rate"),
        ({"steps": "many"}, "steps is 'many': a whole number"),
        ({"steps": 0}, "steps is 0: 1 or more"),
        ({"steps": 1.5}, "steps is 1.5: a whole number"),
        ({"steps": True}, "steps is True"),
        ({"data": []}, r"data is \[\]: a list with at least one path"),
        ({"data": "folder"}, "data is 'folder': a list"),
        ({"data": [{"weight": 1}]}, "data.path is missing"),
        ({"data": [{"path": "d", "weight": 0}]}, "data.weight is 0"),
        ({"data": [{"path": "d", "weight": float("nan")}]}, "data.weight is nan"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"optimiser": {"name": "sgd"}}, "adamw or muon"),
        ({"optimiser": {"betas": [0.9]}}, "2 values"),
        ({"optimiser": {"betas": [0.9, 1.0]}}, "betas"),
        ({"optimiser": {"warmup": -1}}, "optimiser.warmup is -1"),
        ({"freeze": "vision"}, "freeze is 'vision': a list"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"model": {"text_config": {"embed_dims": 3}}}, "embed_dim"),
        ({"checkpoints": {"keep": 0}}, "checkpoints.keep is 0"),
        ({"batch": 4, "accumulate": 5}, "accumulate is 5"),
    ],
)
def test_a_mistake_is_named(tmp_path, change, says):
    with pytest.raises(InputError, match=says) as error:
        read(tmp_path, LEAST | change).model.config(100)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["run: [", "- 1\n- 2", "", "3", "run: r\n\tsteps: 3"])
def test_a_file_without_settings_is_refused_by_name(tmp_path, text):
    with pytest.raises(InputError, match=r"training\.yaml"):
        read(tmp_path, text)


def test_a_missing_settings_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_training(tmp_path / "none.yaml")


def test_a_missing_setting_is_named(tmp_path):
    with pytest.raises(InputError, match="run is missing"):
        read(tmp_path, {"data": [{"path": "d"}], "steps": 3})


def test_settings_made_in_python_are_checked_too():
    with pytest.raises(InputError, match="steps is 0"):
        TrainingSettings(run="r", data=(DataSource(path="d"),), steps=0)


def test_a_pipe_and_a_text_nested_too_deep_are_refused_in_a_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe or a device"):
        read_training(tmp_path / "pipe")
    (tmp_path / "deep.yaml").write_text("run: " + "[" * 20_000)
    with pytest.raises(InputError, match="nested too deep"):
        read_training(tmp_path / "deep.yaml")

"""Data as a user has it, and a small training on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small_data import SMALL_TRAINING, write_data

from kosmos2_training.config import TrainingSettings
from kosmos2_training.from_scratch import make_vocabulary, texts_of


@pytest.fixture(scope="session")
def small_settings():
    """The small training, with changes."""
    return lambda **changes: TrainingSettings.model_validate(SMALL_TRAINING | changes)


@pytest.fixture(scope="session")
def write_small():
    """Its file, written into a folder."""

    def write(folder: Path, **changes: object) -> None:
        (folder / "training.yaml").write_text(yaml.safe_dump(SMALL_TRAINING | changes))

    return write


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with `data` in it, for tests that do not write there."""
    folder = tmp_path_factory.mktemp("training")
    records = write_data(folder / "data", 8)
    make_vocabulary(texts_of(records), 100, folder / "tokenizer", 56)
    return folder


@pytest.fixture
def place(tmp_path):
    """A folder of its own, with `data` in it."""
    write_data(tmp_path / "data", 8)
    return tmp_path


@pytest.fixture(scope="module")
def module_place(tmp_path_factory):
    """A folder for a module's tests, with `data` in it."""
    folder = tmp_path_factory.mktemp("place")
    write_data(folder / "data", 8)
    return folder

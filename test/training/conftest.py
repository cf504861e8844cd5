"""Data as a user has it, and a small training on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small_data import write_data

from kosmos2_training.config import TrainingSettings
from kosmos2_training.from_scratch import make_vocabulary, texts_of

SMALL = {
    "run": "run",
    "data": [{"path": "data"}],
    "seed": 3,
    "steps": 6,
    "batch": 4,
    "tokens": 80,
    "soft_targets": 0.8,
    "auxiliary": 0.5,
    "workers": 0,
    "precision": "float32",
    "model": {
        "words": 100,
        "latent_query_num": 16,
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
        },
        "text_config": {"embed_dim": 32, "ffn_dim": 64, "layers": 2, "attention_heads": 2},
    },
    "optimiser": {"learning_rate": 2e-3, "warmup": 2},
    "evaluate": {"data": "data", "every": 3, "images": 4},
    "checkpoints": {"every": 2, "keep": 2},
}


@pytest.fixture(scope="session")
def small_settings():
    """The small training, with changes."""
    return lambda **changes: TrainingSettings.model_validate(SMALL | changes)


@pytest.fixture(scope="session")
def write_small():
    """Its file, written into a folder."""

    def write(folder: Path, **changes: object) -> None:
        (folder / "training.yaml").write_text(yaml.safe_dump(SMALL | changes))

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

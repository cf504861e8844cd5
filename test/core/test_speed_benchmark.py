"""The benchmark of the core (`make bench`) runs the same model everywhere; its floor counts all weights."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from kosmos2_core.config import Config, TextConfig, VisionConfig
from kosmos2_core.model import Kosmos2

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "test/bench"


@pytest.fixture
def floor(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("floor")


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(VisionConfig(num_hidden_layers=3), TextConfig(layers=2, ffn_dim=4096), latent_query_num=16),
    ],
    ids=["full", "small"],
)
def test_the_floor_reads_each_weight_of_a_product_once(floor, config):
    with torch.device("meta"):
        model = Kosmos2(config)
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    weights += model.vision.patches.weight.numel() + model.decoder.embedding.weight.numel()
    counted = floor.image_pass(config, 1).weights + floor.decoder_pass(config, 70, 2, 1).weights
    assert counted == weights


def test_the_floor_is_what_takes_longer_reading_or_computing(floor):
    config = Config()
    tokenizer = floor.Tokenizer.load(ROOT / "models/tabletop-tiny")
    phrase = importlib.import_module("tasks").TASKS[0]
    parts = list(floor.passes(phrase, config, tokenizer))
    slow_memory = floor.Limits(1.0, {"int8": 1e30}, {})
    slow_kernels = floor.Limits(1e30, {"int8": 2.0}, {})
    reading = floor.floor_s(phrase, config, tokenizer, slow_memory, "int8")
    computing = floor.floor_s(phrase, config, tokenizer, slow_kernels, "int8")
    assert reading == sum(part.weights for part in parts)
    assert computing == sum(part.products for part in parts)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("contenders", "module"),
    [
        ("ours-bfloat16,ours-int8,peer-float32,peer-int8", "transformers"),
        ("ours-bfloat16,openvino-int8,openvino-int4", "nncf"),
    ],
)
def test_all_contenders_compute_the_same_model_and_are_on_the_page(tmp_path, contenders, module):
    pytest.importorskip(module)
    before = (ROOT / "docs/benchmarks.md").read_text()
    options = ["--layers", "1", "--rounds", "1", "--runs", "1", "--folder", str(tmp_path)]
    command = [sys.executable, str(BENCH / "core.py"), *options, "--only", contenders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["notes"] == []
    assert list(results["contenders"]) == contenders.split(",")
    for found in results["contenders"].values():
        assert found["correlation"] > 0.98
        assert min(found["peak_mib"]) > 300
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| 1 phrase, 1 first corner | " in page
    assert "| each further token | " in page
    assert "<svg" in (tmp_path / "benchmarks.svg").read_text()
    assert (ROOT / "docs/benchmarks.md").read_text() == before, "a small run must not replace the page"

"""A model from scratch encodes places from the start."""

import pytest
import torch

from kosmos2_core.config import Config, TextConfig, VisionConfig
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_training.from_scratch import grid_waves, start_model


@pytest.fixture(scope="module")
def control(data):
    return Tokenizer.load(data / "tokenizer").control


def make(control, seed=0):
    vision = VisionConfig(
        hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=3, image_size=112
    )
    text = TextConfig(vocab_size=1300, embed_dim=128, ffn_dim=256, layers=2, attention_heads=4)
    return start_model(Config(vision, text, 16), control, seed)


def test_the_nearer_the_cells_the_more_alike_their_waves():
    waves = grid_waves(32, 32, 128)
    assert waves.norm(dim=1).tolist() == pytest.approx([1.0] * 1024, abs=1e-4)
    alike = (waves @ waves[10 * 32 + 10]).view(32, 32)
    row = alike[10, 10:16].tolist()
    assert row == sorted(row, reverse=True)
    assert alike.argmax() == 10 * 32 + 10
    assert float(alike[10, 12]) == pytest.approx(float(alike[12, 10]), abs=1e-5)


def test_grids_of_other_sizes_agree_on_places():
    fine, coarse = grid_waves(32, 32, 128), grid_waves(16, 32, 128)
    alike = (fine @ coarse[5 * 16 + 3]).view(32, 32)
    best = divmod(int(alike.argmax()), 32)
    assert best in [(y, x) for y in (10, 11) for x in (6, 7)]


@torch.no_grad()
def test_image_tokens_begin_by_looking_at_their_own_part(control):
    model = make(control)
    features = model.vision(0.2 * torch.randn(1, 3, 112, 112))
    attention = model.connector.attention
    queries, keys = (
        part(x).view(-1, 4, 32).transpose(0, 1)
        for part, x in (
            (attention.q, model.connector.queries),
            (attention.k, model.connector.dense(features[0, 1:])),
        )
    )
    looks = (queries @ keys.mT / 32**0.5).softmax(-1).mean(0).view(4, 4, 8, 8)
    parts = looks.unflatten(2, (4, 2)).unflatten(4, (4, 2)).sum((3, 5))  # (4, 4) tokens by (4, 4) parts
    assert (parts.flatten(2).argmax(-1).flatten() == torch.arange(16)).sum() >= 14


def test_a_seed_makes_the_same_model(control):
    first, again, other = (make(control, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["decoder.blocks.0.fc1.weight"], other["decoder.blocks.0.fc1.weight"])

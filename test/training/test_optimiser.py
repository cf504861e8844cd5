"""The optimisers and the learning rate schedule."""

import pytest
import torch
from torch import nn

from kosmos2_training.config import OptimiserSettings
from kosmos2_training.optimiser import Muon, is_inner_matrix, orthogonal, rate_at


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 16), (2, 16, 4)])
def test_orthogonal_matrices_have_singular_values_near_one(shape):
    u, s, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    uneven = u * torch.linspace(1, 0.1, s.shape[-1]) @ v
    values = torch.linalg.svdvals(orthogonal(uneven))
    assert ((values > 0.6) & (values < 1.3)).all()


def test_muon_learns():
    torch.manual_seed(0)
    layer, wanted = nn.Linear(8, 8, bias=False), torch.randn(8, 8)
    muon = Muon(layer.parameters(), lr=0.2)
    before = float(((layer.weight - wanted) ** 2).mean().detach())
    for _ in range(100):
        loss = ((layer.weight - wanted) ** 2).mean()
        muon.zero_grad()
        loss.backward()
        muon.step()
    assert float(loss.detach()) < 0.1 * before


def test_muon_does_not_update_embeddings_and_norms():
    weight, norm = torch.zeros(4, 4), torch.zeros(4)
    assert is_inner_matrix("decoder.blocks.0.fc1.weight", weight)
    assert not is_inner_matrix("decoder.blocks.0.fc1.bias", norm)
    assert not is_inner_matrix("decoder.embedding.weight", weight)
    assert not is_inner_matrix("connector.queries", weight)


def test_the_rate_goes_up_stays_and_comes_down():
    how = OptimiserSettings(learning_rate=1.0, warmup=10, decay=0.2)
    rates = [rate_at(step, 100, how) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([1 - 0.05 * step for step in range(20)])
    assert rates[-1] > 0


def test_the_papers_rate_falls_from_the_warm_up_on():
    how = OptimiserSettings(learning_rate=1.0, warmup=10)
    rates = [rate_at(step, 100, how) for step in range(100)]
    assert max(rates) <= 0.92
    assert rates[10:] == sorted(rates[10:], reverse=True)

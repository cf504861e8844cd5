"""Training losses."""

import pytest
import torch
from torch.nn import functional as F

from kosmos2_core.tokenizer import ControlIds
from kosmos2_training.losses import PatchHead, answer_loss, soft_bins
from kosmos2_training.patch_targets import ObjectClasses, PatchTargets

GRID = 4
CONTROL = ControlIds(*range(12), location=12, grid=GRID)
NONE = float("nan")


def test_soft_cells_are_a_bell_around_the_point():
    shares = soft_bins(torch.tensor([0.375, 0.5]), 8, 0.8)
    assert shares.sum(-1).tolist() == pytest.approx([1.0, 1.0])
    centre, edge = shares
    assert centre.argmax() == 2  # the third of 8 cells has its middle at 0.3125, the fourth at 0.4375
    assert float(edge[3]) == pytest.approx(float(edge[4]))
    cells = (torch.arange(8) + 0.5) / 8
    assert float((edge * cells).sum()) == pytest.approx(0.5, abs=1e-3)  # the point itself, not its cell's


def test_without_spread_it_is_the_plain_cross_entropy():
    logits, targets = torch.randn(5, 28), torch.tensor([1, 2, 12, 27, 3])
    corners = torch.full((5, 2), 0.5)
    plain = F.cross_entropy(logits, targets, reduction="sum")
    assert float(answer_loss(logits, targets, corners, CONTROL, 0.0)) == pytest.approx(float(plain))


def test_words_are_learnt_the_same_with_spread():
    logits, targets = torch.randn(3, 28), torch.tensor([1, 2, 3])
    corners = torch.full((3, 2), NONE)
    plain = F.cross_entropy(logits, targets, reduction="sum")
    assert float(answer_loss(logits, targets, corners, CONTROL, 0.8)) == pytest.approx(float(plain))


def test_a_near_miss_costs_less_than_a_far_one():
    corner = torch.tensor([[0.375, 0.375]])  # the middle of cell (1, 1)
    target = torch.tensor([12 + 5])
    costs = []
    for cell in (5, 6, 15):
        logits = torch.zeros(1, 28)
        logits[0, 12 + cell] = 4.0
        costs.append(float(answer_loss(logits, target, corner, CONTROL, 0.8)))
    assert costs == sorted(costs)
    assert costs[0] < costs[1] < costs[2]


def test_columns_and_rows_are_not_mixed_up():
    corner = torch.tensor([[0.875, 0.125]])  # right, top: column 3, row 0
    target = torch.tensor([12 + 3])
    right, wrong = torch.zeros(1, 28), torch.zeros(1, 28)
    right[0, 12 + 3], wrong[0, 12 + 12] = 4.0, 4.0
    assert answer_loss(right, target, corner, CONTROL, 0.5) < answer_loss(wrong, target, corner, CONTROL, 0.5)


def test_heads_learn_the_objects_in_cells():
    torch.manual_seed(0)
    features = torch.randn(2, 9, 16)
    truth = PatchTargets(torch.randint(0, 3, (2, 9, 1)), torch.rand(2, 9, 4))
    truth.boxes[0, 0] = NONE
    heads = PatchHead(16, ObjectClasses((("red", "blue"),)))
    moves = torch.optim.Adam(heads.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = heads(features, truth)
        moves.zero_grad()
        loss.backward()
        moves.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]

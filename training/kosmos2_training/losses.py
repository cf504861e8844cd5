"""What is made small in training: the answers' cross entropy, with location tokens as soft targets; and,
from true masks, what each patch and each image token should know."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kosmos2_core.config import Config
from kosmos2_core.tokenizer import ControlIds
from kosmos2_training.cells import UNKNOWN, CellTruth, Names

BINS = 32  # along a side, for a cell's guess of its object's box


def soft_cells(values: Tensor, grid: int, spread: float) -> Tensor:
    """Shares (..., grid) of the cells along a side for points in unit coordinates: a bell around the point,
    `spread` cells wide, so that a near miss costs less than a far one and the point stays known more finely
    than by its cell."""
    centres = torch.arange(grid, device=values.device) + 0.5
    return (-((values[..., None] * grid - centres) ** 2) / (2 * spread**2)).softmax(-1)


def answer_loss(
    logits: Tensor, targets: Tensor, corners: Tensor, control: ControlIds, spread: float
) -> Tensor:
    """The sum over M tokens. spread 0: location tokens are learnt as words are."""
    likely = logits.float().log_softmax(-1)
    if not spread:
        return F.nll_loss(likely, targets, reduction="sum")
    words = corners[:, 0].isnan()
    loss = F.nll_loss(likely[words], targets[words], reduction="sum")
    x, y = soft_cells(corners[~words], control.grid, spread).unbind(1)
    cells = (y[:, :, None] * x[:, None, :]).flatten(1)
    here = likely[~words, control.location : control.location + control.grid**2]
    return loss - (cells * here).sum()


class CellHeads(nn.Module):
    """What a cell's feature says of the object there: its names and its box. Used in training alone."""

    def __init__(self, width: int, names: Names) -> None:
        super().__init__()
        self.sizes = [len(kind) + 1 for kind in names.kinds]
        self.out = nn.Linear(width, sum(self.sizes) + 4 * BINS)

    def forward(self, features: Tensor, truth: CellTruth) -> Tensor:
        """The mean loss of cells: (B, cells, width) and what is true there."""
        *kinds, boxes = self.out(features.float()).split([*self.sizes, 4 * BINS], dim=-1)
        loss = torch.zeros((), device=features.device)
        for kind, numbers in zip(kinds, truth.names.unbind(-1), strict=True):
            loss = loss + F.cross_entropy(kind.flatten(0, 1), numbers.flatten(), ignore_index=UNKNOWN)
        boxed = ~truth.boxes[..., 0].isnan()
        if boxed.any():
            guess = boxes[boxed].view(-1, 4, BINS).log_softmax(-1)
            loss = loss - (soft_cells(truth.boxes[boxed], BINS, 1.0) * guess).sum(-1).mean()
        return loss


class Auxiliary(nn.Module):
    """Heads on the vision tower's patches and on the image's tokens."""

    def __init__(self, config: Config, names: Names) -> None:
        super().__init__()
        self.scale = config.vision_config.hidden_size**0.5  # features have length 1
        self.patches = CellHeads(config.vision_config.hidden_size, names)
        self.latents = CellHeads(config.text_config.embed_dim, names)

    def forward(
        self, features: Tensor, tokens: Tensor, patches: CellTruth | None, latents: CellTruth | None
    ) -> Tensor:
        loss = torch.zeros((), device=features.device)
        if patches is not None:
            loss = loss + self.patches(features[:, 1:] * self.scale, patches)
        if latents is not None:
            loss = loss + self.latents(tokens, latents)
        return loss

"""Training losses: the cross entropy of the answers, and auxiliary losses from the true masks.

Location tokens can have soft targets. The auxiliary losses teach each patch and each image token the names
and the box of the object that it shows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kosmos2_core.config import Config
from kosmos2_core.tokenizer import ControlIds
from kosmos2_training.patch_targets import UNKNOWN, ObjectClasses, PatchTargets

BOX_BINS = 32  # along a side, for the box that a patch or an image token predicts


def soft_bins(values: Tensor, bins: int, sigma: float) -> Tensor:
    """Return the probabilities (..., bins) of the bins along a side for coordinates (...) from 0 to 1.

    They are a Gaussian around the coordinate. A near miss costs less than a far one, and the mean tells the
    coordinate more finely than its bin.

    Args:
        sigma: the width of the Gaussian, in bins.
    """
    centres = torch.arange(bins, device=values.device) + 0.5
    return (-((values[..., None] * bins - centres) ** 2) / (2 * sigma**2)).softmax(-1)


def answer_loss(
    logits: Tensor, targets: Tensor, corners: Tensor, control: ControlIds, sigma: float
) -> Tensor:
    """Return the sum of the losses of M tokens.

    Args:
        logits: (M, V).
        targets: (M,), the ids of the tokens.
        corners: (M, 2), the true corner of a location token, in unit coordinates; NaN for other tokens.
        sigma: the width of the targets of location tokens, in grid cells; 0: the target is one cell.
    """
    log_probabilities = logits.float().log_softmax(-1)
    if not sigma:
        return F.nll_loss(log_probabilities, targets, reduction="sum")
    words = corners[:, 0].isnan()
    loss = F.nll_loss(log_probabilities[words], targets[words], reduction="sum")
    x, y = soft_bins(corners[~words], control.grid, sigma).unbind(1)
    cells = (y[:, :, None] * x[:, None, :]).flatten(1)  # (locations, grid * grid)
    of_cells = log_probabilities[~words, control.location : control.location + control.grid**2]
    return loss - (cells * of_cells).sum()


class PatchHead(nn.Module):
    """Predicts the names and the box of the object in a cell from the cell's feature."""

    def __init__(self, width: int, object_classes: ObjectClasses) -> None:
        super().__init__()
        self.sizes = [len(kind) + 1 for kind in object_classes.kinds]
        self.out = nn.Linear(width, sum(self.sizes) + 4 * BOX_BINS)

    def forward(self, features: Tensor, targets: PatchTargets) -> Tensor:
        """Return the mean loss of the cells, from features (B, cells, width)."""
        *kinds, boxes = self.out(features.float()).split([*self.sizes, 4 * BOX_BINS], dim=-1)
        loss = torch.zeros((), device=features.device)
        for kind, classes in zip(kinds, targets.classes.unbind(-1), strict=True):
            loss = loss + F.cross_entropy(kind.flatten(0, 1), classes.flatten(), ignore_index=UNKNOWN)
        has_box = ~targets.boxes[..., 0].isnan()
        if has_box.any():
            predicted = boxes[has_box].view(-1, 4, BOX_BINS).log_softmax(-1)
            loss = loss - (soft_bins(targets.boxes[has_box], BOX_BINS, 1.0) * predicted).sum(-1).mean()
        return loss


class AuxiliaryHeads(nn.Module):
    """One head for the patches of the vision tower, and one for the image tokens."""

    def __init__(self, config: Config, object_classes: ObjectClasses) -> None:
        super().__init__()
        self.scale = config.vision_config.hidden_size**0.5  # because features have length 1
        self.patches = PatchHead(config.vision_config.hidden_size, object_classes)
        self.latents = PatchHead(config.text_config.embed_dim, object_classes)

    def forward(
        self, features: Tensor, tokens: Tensor, patches: PatchTargets | None, latents: PatchTargets | None
    ) -> Tensor:
        """Return the sum of both losses.

        Args:
            features: (B, 1 + patches, width), of the vision tower; the first is that of the whole image.
            tokens: (B, queries, embed_dim), the image tokens.
        """
        loss = torch.zeros((), device=features.device)
        if patches is not None:
            loss = loss + self.patches(features[:, 1:] * self.scale, patches)
        if latents is not None:
            loss = loss + self.latents(tokens, latents)
        return loss

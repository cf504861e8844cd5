"""Optimisers and the learning rate schedule: AdamW as in the paper, or Muon for the inner matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from kosmos2_training.config import OptimiserSettings

# The quintic Newton-Schulz iteration, with the coefficients of Muon's authors.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


class Muon(Optimizer):
    """Orthogonalised momentum: a step changes a matrix by the same amount in all directions.

    Updates are scaled so that learning rates for AdamW can be used. torch.optim.Muon computes in bfloat16,
    which is slow on many CPUs, and treats one matrix after the other; this one batches equal shapes.

    Args:
        decay: the weight decay.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    update = self._momentum(p, p.grad, group["momentum"])
                    by_shape.setdefault(p.shape, []).append((p, update))
            for parameters in by_shape.values():
                updates = torch.stack([update for _, update in parameters])
                rate = group["lr"] * 0.2 * max(updates.shape[-2:]) ** 0.5
                for (p, _), update in zip(parameters, orthogonal(updates), strict=True):
                    p.mul_(1 - group["lr"] * group["decay"]).sub_(update, alpha=rate)

    def _momentum(self, p: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        mean: Tensor = state["momentum"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, mean, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (N, rows, columns) with their singular values changed to about 1."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    out: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return out


def make_optimisers(
    model: nn.Module, heads: nn.Module | None, settings: OptimiserSettings
) -> dict[str, Optimizer]:
    """Return the optimisers by their names; together they update all weights that are not frozen.

    Matrices have weight decay; norms and biases have none.
    """
    named = dict(model.named_parameters())
    if heads is not None:
        named |= {f"auxiliary.{name}": p for name, p in heads.named_parameters()}
    trained = {name: p for name, p in named.items() if p.requires_grad}
    inner = {n: p for n, p in trained.items() if settings.name == "muon" and is_inner_matrix(n, p)}
    rest = {n: p for n, p in trained.items() if n not in inner}
    groups = [
        {"params": [p for p in rest.values() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimisers: dict[str, Optimizer] = {}
    if groups:
        optimisers["adamw"] = AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)
    if inner:
        optimisers["muon"] = Muon(inner.values(), lr=settings.learning_rate, decay=settings.weight_decay)
    return optimisers


def is_inner_matrix(name: str, parameter: Tensor) -> bool:
    """Return whether a weight maps features to features: not an embedding, position, query or head."""
    blocks = (".blocks.", "connector.dense", "connector.attention")
    return parameter.ndim == 2 and any(part in name for part in blocks)


def rate_at(step: int, steps: int, settings: OptimiserSettings) -> float:
    """Return the learning rate of a step, counted from 0.

    The rate rises linearly during the warm-up, stays constant, and falls linearly to 0.
    """
    up = min((step + 1) / settings.warmup, 1.0) if settings.warmup else 1.0
    falling = max(settings.decay * steps, 1)
    return settings.learning_rate * min(up, (steps - step) / falling, 1.0)


def set_rate(optimisers: Mapping[str, Optimizer], rate: float) -> None:
    """Set the learning rate of all optimisers."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = rate

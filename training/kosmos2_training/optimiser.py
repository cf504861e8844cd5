"""How weights are moved: AdamW as in the paper, or Muon for the matrices inside, and the rate's course."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from kosmos2_training.config import Optimisation

# Newton-Schulz's quintic iteration, with the coefficients of Muon's authors.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


class Muon(Optimizer):
    """Momentum, made orthogonal: each step moves a matrix by the same amount in all directions. Scaled so
    that a rate means what it means for AdamW. (torch's own works in bfloat16, which is slow on many CPUs,
    and one matrix after the other.)"""

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append((p, self._momentum(p, p.grad, group["momentum"])))
            for moved in alike.values():
                updates = torch.stack([update for _, update in moved])
                rate = group["lr"] * 0.2 * max(updates.shape[-2:]) ** 0.5
                for (p, _), update in zip(moved, orthogonal(updates), strict=True):
                    p.mul_(1 - group["lr"] * group["decay"]).sub_(update, alpha=rate)

    def _momentum(self, p: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        mean: Tensor = state["momentum"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, mean, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, rows, columns) with their singular values made about 1."""
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


def make_optimisers(model: nn.Module, heads: nn.Module | None, how: Optimisation) -> dict[str, Optimizer]:
    """What moves each weight. Matrices decay; norms and biases do not."""
    named = dict(model.named_parameters())
    if heads is not None:
        named |= {f"auxiliary.{name}": p for name, p in heads.named_parameters()}
    learnt = {name: p for name, p in named.items() if p.requires_grad}
    inside = {n: p for n, p in learnt.items() if how.name == "muon" and is_inside(n, p)}
    rest = {n: p for n, p in learnt.items() if n not in inside}
    groups = [
        {"params": [p for p in rest.values() if p.ndim > 1], "weight_decay": how.weight_decay},
        {"params": [p for p in rest.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    out: dict[str, Optimizer] = {}
    if groups:
        out["adamw"] = AdamW(groups, lr=how.learning_rate, betas=how.betas, fused=True)
    if inside:
        out["muon"] = Muon(inside.values(), lr=how.learning_rate, decay=how.weight_decay)
    return out


def is_inside(name: str, parameter: Tensor) -> bool:
    """Whether this is a matrix from features to features: no embedding, position, query or head."""
    blocks = (".blocks.", "connector.dense", "connector.attention")
    return parameter.ndim == 2 and any(part in name for part in blocks)


def rate_at(step: int, steps: int, how: Optimisation) -> float:
    """The learning rate of a step, counted from 0: up in a line, even, down to 0 in a line."""
    up = min((step + 1) / how.warmup, 1.0) if how.warmup else 1.0
    falling = max(how.decay * steps, 1)
    return how.learning_rate * min(up, (steps - step) / falling, 1.0)


def set_rate(optimisers: Mapping[str, Optimizer], rate: float) -> None:
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = rate

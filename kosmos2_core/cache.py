"""Keys and values of the tokens seen so far, in room made once.

A frame's prefix (its image) is computed in one row and copied to as many rows as there are questions about
it. Rows of different length are padded on the left of what is new; padding takes a place, but is never
seen and has no position.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kosmos2_core.config import TextConfig


class StaticCache:
    """Room for `length` tokens in each of `rows` sequences."""

    def __init__(self, config: TextConfig, rows: int, length: int, device: torch.device, dtype: torch.dtype):
        self.config = config
        heads = config.attention_heads
        shape = (config.layers, rows, heads, length, config.embed_dim // heads)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.real = torch.zeros(rows, length, device=device, dtype=torch.bool)
        self.filled = 0
        self.padded = False

    @property
    def rows(self) -> int:
        return self.real.shape[0]

    @property
    def length(self) -> int:
        return self.real.shape[1]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take the new tokens' (B, H, T, D/H), give all tokens' (B, H, S, D/H)."""
        end = self.filled + keys.shape[2]
        self.keys[layer, :, :, self.filled : end] = keys
        self.values[layer, :, :, self.filled : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def place(self, real: Tensor) -> tuple[Tensor, Tensor | None, bool]:
        """Where new tokens (B, T) go: their positions, the mask (B, 1, T, S), and whether the plain causal
        mask is the same. real is false at padding."""
        new = real.shape[1]
        end = self.filled + new
        before = self.real[:, : self.filled].sum(1, keepdim=True)
        positions = (before + real.long().cumsum(1) - 1).clamp(min=0)
        self.real[:, self.filled : end] = real
        self.padded = self.padded or not bool(real.all())
        if not self.padded and (new == 1 or not self.filled):
            return positions, None, new > 1
        causal = torch.ones(new, end, dtype=torch.bool, device=real.device).tril(self.filled)
        itself = torch.zeros_like(causal)  # padding sees itself: to see nothing is undefined
        itself.diagonal(self.filled).fill_(True)
        return positions, (causal & self.real[:, None, None, :end]) | itself, False

    def advance(self, new: int) -> None:
        self.filled += new

    def copy(self, rows: Tensor, more: int) -> StaticCache:
        """A cache of these rows, any of them several times, with room for `more` tokens."""
        fresh = StaticCache(
            self.config, len(rows), self.filled + more, device=self.keys.device, dtype=self.keys.dtype
        )
        for mine, theirs in ((self.keys, fresh.keys), (self.values, fresh.values)):
            seen = mine[:, :, :, : self.filled]  # of one row: copied to all without another copy between
            theirs[:, :, :, : self.filled] = seen if self.rows == 1 else seen.index_select(1, rows)
        fresh.real[:, : self.filled] = self.real[rows, : self.filled]
        fresh.filled, fresh.padded = self.filled, self.padded
        return fresh

"""Places in sequences: what is asked of a few tokens is computed for those alone.

B sequences of T tokens; M places in them, in any order, any number in each; where sequences must stand side
by side they take W columns, the most that one of them has.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Places:
    def __init__(self, rows: Tensor, tokens: Tensor | None, count: int) -> None:
        """Of tokens (M,) in rows (M,) of `count` sequences; None: each row's first ones, in order."""
        columns = _columns(rows, count)
        self.rows, self.tokens, self.count = rows, columns if tokens is None else tokens, count
        self.width = int(columns.max()) + 1
        self._spread = rows * self.width + columns

    @classmethod
    def last(cls, amount: int, count: int, length: int, device: torch.device) -> Places:
        """The last ones of each sequence."""
        rows = torch.arange(count, device=device).repeat_interleave(amount)
        return cls(rows, torch.arange(length - amount, length, device=device).repeat(count), count)

    def of(self, x: Tensor) -> Tensor:
        """(M, ...) of x (B, T, ...)."""
        return x.flatten(0, 1).index_select(0, self.rows * x.shape[1] + self.tokens)

    def spread(self, values: Tensor, empty: int = 0) -> Tensor:
        """Values (M, ...) of the places by their sequences (B, W, ...)."""
        out = values.new_full((self.count * self.width, *values.shape[1:]), empty)
        return out.index_copy(0, self._spread, values).view(self.count, self.width, *values.shape[1:])

    def gather(self, x: Tensor) -> Tensor:
        """(M, ...) of what was spread (B, W, ...)."""
        return x.flatten(0, 1).index_select(0, self._spread)

    def seen(self, mask: Tensor | None, length: int) -> Tensor:
        """What they see (B, 1, W, S): of a mask (B or 1, 1, T, S); or, without, all up to themselves of a
        sequence of this length. Empty columns see what the first token sees."""
        tokens = self.spread(self.tokens)
        if mask is None:
            return (torch.arange(length, device=tokens.device) <= tokens[:, :, None])[:, None]
        mask = mask.expand(self.count, -1, -1, -1)
        return mask.gather(2, tokens[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))


def _columns(rows: Tensor, count: int) -> Tensor:
    """Each one's number among those in the same one of `count` rows, in their order."""
    order = rows.argsort(stable=True)
    counts = torch.bincount(rows, minlength=count)
    columns = torch.empty_like(order)
    begins = (counts.cumsum(0) - counts)[rows[order]]
    columns[order] = torch.arange(len(order), device=rows.device) - begins
    return columns

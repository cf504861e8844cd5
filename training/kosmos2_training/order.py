"""Which record comes when: known for the whole training from its seed, so that a training that was cut off
goes on with the very records that would have come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def order_of(
    seed: int, count: int, sizes: Sequence[int], weights: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each of `count` samples, its source and its record there. Sources are drawn by weight; each
    source's records all come, shuffled anew, before one comes again."""
    rng = np.random.default_rng([seed, 1])
    shares = np.asarray(weights, dtype=np.float64)
    sources = rng.choice(len(sizes), size=count, p=shares / shares.sum())
    records = np.empty(count, dtype=np.int64)
    for source, size in enumerate(sizes):
        places = np.flatnonzero(sources == source)
        rounds = -(-len(places) // size)
        shuffled = [rng.permutation(size) for _ in range(rounds)]
        records[places] = np.concatenate([np.empty(0, dtype=np.int64), *shuffled])[: len(places)]
    return sources, records

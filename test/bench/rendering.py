"""Measure how long the images of the simulated tabletop take on one core, with their effects and encoding.

    python test/bench/rendering.py [--count N] [--size PX]

Prints, for each split, the processor time of an image in milliseconds (mean, and the 95th percentile), the
time on the clock, and the images that a data set gains per second and process. On an idle machine the two
times are alike.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from kosmos2_sim.dataset import jpeg
from kosmos2_sim.layout import SPLITS
from kosmos2_sim.tabletop import Tabletop

WARM_UP = 5  # images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    print("| split | processor, ms | 95th percentile | clock, ms | images/s |")
    print("|---|---|---|---|---|")
    with Tabletop(arguments.size, arguments.size) as tabletop:
        for split in SPLITS:
            processor, clock = measured(tabletop, split, arguments.count)
            cells = processor.mean(), np.percentile(processor, 95), clock.mean(), 1000 / clock.mean()
            print(f"| `{split}` | {' | '.join(f'{cell:.0f}' for cell in cells)} |", flush=True)


def measured(tabletop: Tabletop, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the milliseconds of each image by the processor's time and by the clock."""
    rows = []
    for seed in range(WARM_UP + count):
        start = time.process_time(), time.perf_counter()
        jpeg(tabletop.shoot(seed, split).image)
        rows.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    processor, clock = 1000 * np.array(rows[WARM_UP:]).T
    return processor, clock


if __name__ == "__main__":
    main()

"""What stands where: a scene drawn from a split and a seed, before anything is rendered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from kosmos2_core.errors import InputError
from kosmos2_sim.placing import Pair, Placed, Rules, place
from kosmos2_sim.scenery import Scenery, draw_scenery
from kosmos2_sim.shapes import NOVEL, SHAPES
from kosmos2_sim.view import View, look_at

SPLITS = ("train", "standard", "cluttered", "occluded", "far")
RULES = {
    "standard": Rules((2, 6), across_m=(0.32, 0.44), width_px=(27, 84), overlap=0.12),
    "cluttered": Rules((6, 8), across_m=(0.36, 0.48), width_px=(20, 84), overlap=0.5, spread=0.62),
    "occluded": Rules(
        (3, 6),
        across_m=(0.32, 0.44),
        width_px=(24, 90),
        overlap=0.12,
        elevation=(25, 50),
        hidden=(0.28, 0.68),
    ),
    "far": Rules((2, 6), across_m=(0.95, 1.25), width_px=(13, 31), overlap=0.1),
}
MIXTURE = {"standard": 0.4, "cluttered": 0.35, "occluded": 0.15, "far": 0.1}  # of the split `train`
TRIES = 12


@dataclass(frozen=True)
class Layout:
    view: View
    objects: tuple[Placed, ...]
    scenery: Scenery


def draw(
    seed: int,
    split: str,
    shapes: Sequence[str] = SHAPES,
    must: str | None = None,
    width: int = 224,
    height: int = 224,
) -> Layout:
    """The scene of a split and a seed. No two splits draw from the same numbers."""
    check(seed, split, shapes, must)
    rng = np.random.default_rng([SPLITS.index(split), seed])
    kind = rng.choice(list(MIXTURE), p=list(MIXTURE.values())) if split == "train" else split
    rules = RULES[kind]
    wide_m = rules.across_m[1] / 4  # a far camera sees a larger table
    best: tuple[View, Pair, list[Placed]] | None = None
    most = (0, 0)
    for _ in range(TRIES):  # seldom more than two
        view = _view(rng, rules, width, height)
        table_half_m = float(rng.uniform(0.2, 0.5) + wide_m), float(rng.uniform(0.2, 0.5) + wide_m)
        objects, hidden = place(rng, rules, view, table_half_m, shapes, must)
        if (hidden, len(objects)) > most:
            best, most = (view, table_half_m, objects), (hidden, len(objects))
        if len(objects) >= rules.count[0] and (rules.hidden is None or hidden >= len(objects) // 2):
            break
    if best is None:
        raise InputError(
            f"no scene of {', '.join(shapes)} fits split {split}, seed {seed}: choose another seed."
        )
    view, table_half_m, objects = best
    return Layout(view, tuple(objects), draw_scenery(rng, table_half_m))


def check(seed: int, split: str, shapes: Sequence[str], must: str | None) -> None:
    known = SHAPES + NOVEL
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}.")
    if seed < 0:
        raise InputError(f"the seed {seed} is negative: choose 0 or more.")
    if not shapes:
        raise InputError(f"no shape may appear: name one at least, of {', '.join(known)}.")
    for shape in (*shapes, *([] if must is None else [must])):
        if shape not in known:
            raise InputError(f"there is no shape {shape!r}: choose from {', '.join(known)}.")


def _view(rng: Generator, rules: Rules, width: int, height: int) -> View:
    fovy = rng.uniform(32, 58)
    across_m = rng.uniform(*rules.across_m)
    return look_at(
        target_m=np.array([*rng.uniform(-0.06, 0.06, 2), 0.02]),
        azimuth=rng.uniform(0, 360),
        elevation=rng.uniform(*rules.elevation),
        distance_m=across_m * height / width / 2 / math.tan(math.radians(fovy) / 2),
        roll=rng.normal(0, 2.5),
        fovy=fovy,
        width=width,
        height=height,
    )

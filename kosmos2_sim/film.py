"""A film of one scene: the camera swings around the table, draws back and comes again, rises and sinks.

At time 0 it is where the scene was drawn from, so the first image is the scene's shot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_sim.layout import Layout, draw
from kosmos2_sim.scene import Tabletop
from kosmos2_sim.truth import Shot
from kosmos2_sim.view import View

# How far, and how long there and back takes; the periods differ, so that ways do not repeat soon.
AZIMUTH, AZIMUTH_S = 35.0, 20.0  # degrees, to each side
ELEVATION, ELEVATION_S = 6.0, 13.0  # degrees, up and down
FARTHEST, DISTANCE_S = 1.2, 9.0  # times the first distance


@dataclass(frozen=True)
class Film:
    tabletop: Tabletop
    layout: Layout
    seed: int
    split: str
    still: bool

    def shoot(self, time_s: float) -> Shot:
        view = self.layout.view if self.still else moved(self.layout.view, time_s)
        return self.tabletop.shoot_layout(replace(self.layout, view=view), self.seed, self.split)


def draw_film(tabletop: Tabletop, seed: int, split: str, still: bool = False) -> Film:
    layout = draw(seed, split, width=tabletop.width, height=tabletop.height)
    return Film(tabletop, layout, seed, split, still)


def moved(view: View, time_s: float) -> View:
    """Where a camera is at a time that starts from a view of the table."""
    spot_m = view.on_table(view.width / 2, view.height / 2)
    if spot_m is None:
        raise InputError("the camera does not look at the table: it cannot be led around it.")
    phase = 2 * math.pi * time_s
    return view.around(
        np.array([*spot_m, 0.0]),
        azimuth=AZIMUTH * math.sin(phase / AZIMUTH_S),
        elevation=ELEVATION * math.sin(phase / ELEVATION_S),
        distance=1 + (FARTHEST - 1) * (1 - math.cos(phase / DISTANCE_S)) / 2,
    )

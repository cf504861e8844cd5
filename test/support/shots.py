"""Shots of the simulated tabletop with a ground truth that tests choose, without rendering."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from kosmos2_core.boxes import Box
from kosmos2_sim.shapes import COLOURS, MATERIALS, SHAPE_COLOURS, SHAPES, SIZES
from kosmos2_sim.shot import Shot, Thing

CAMERA_M = 1.2  # the distance of what is at the upper edge of the image
SIDE_M = {"plate": (0.16, 0.16, 0.03), "bottle": (0.06, 0.06, 0.2), "banana": (0.14, 0.05, 0.04)}


def thing(
    shape, colour="red", x=0.5, y=0.5, material="matte", size="medium", visible=1.0, mark=1, shows=True
):
    """A thing with the middle of its box at (x, y) of the image, on a table that is 0.8 m wide and deep."""
    scale = SIZES[size]
    sides = tuple(scale * side for side in SIDE_M.get(shape, (0.07, 0.07, 0.08)))
    half = 0.06 * scale
    box = Box(max(x - half, 0.0), max(y - half, 0.0), min(x + half, 1.0), min(y + half, 1.0))
    return Thing(
        shape=shape,
        colour=colour,
        material=material,
        material_shows=shows,
        size=size,
        mark=mark,
        box=box if visible else None,
        visible=visible,
        distance_m=CAMERA_M - 0.6 * y,
        centre_m=(0.8 * x - 0.4, 0.4 - 0.8 * y, sides[2] / 2),
        extent_m=sides,
        quaternion=(1.0, 0.0, 0.0, 0.0),
    )


def shot(*things):
    """A shot of these, marked 1, 2 and so on in their order."""
    numbered = tuple(replace(item, mark=mark) for mark, item in enumerate(things, 1))
    black = np.zeros((8, 8), np.uint8)
    return Shot(
        0,
        "standard",
        np.dstack([black] * 3),
        np.ones((8, 8), np.float32),
        black,
        np.eye(3),
        np.eye(4),
        numbered,
    )


@st.composite
def shots(draw):
    """Few shapes and colours, so that things are often alike, and places that are often nearly the same."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3, unique=True))
    colours = draw(st.lists(st.sampled_from(sorted(COLOURS)), min_size=1, max_size=3, unique=True))
    place = st.integers(3, 37).map(lambda step: step / 40)
    things = []
    for _ in range(draw(st.integers(1, 8))):
        shape = draw(st.sampled_from(shapes))
        colour = draw(st.sampled_from(SHAPE_COLOURS.get(shape, colours)))
        look = draw(st.sampled_from(MATERIALS)), draw(st.sampled_from(sorted(SIZES)))
        visible = draw(st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.2, 0.02, 0.0]))
        shows = draw(st.booleans())
        things.append(thing(shape, colour, draw(place), draw(place), *look, visible, shows=shows))
    return shot(*things)

"""Pictures of shots for people: contact sheets, with or without what is true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import ImageColor

from kosmos2_core.answers import Entity
from kosmos2_core.drawing import COLOURS, draw
from kosmos2_core.images import Pixels
from kosmos2_sim.truth import Shot, Thing

COLUMNS, GAP_PX = 6, 4
ENLARGED = 2  # with names, which need room
FAINT = 0.35  # the image behind its mask


def contact_sheet(shots: Sequence[Shot], truth: bool = False) -> Pixels:
    """The shots in rows. truth: each as three pictures, with boxes and names, mask, and depth."""
    tiles = [tile for shot in shots for tile in (truth_tiles(shot) if truth else [shot.image])]
    height, width = tiles[0].shape[:2]
    columns = min(COLUMNS, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    size = rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX
    sheet = np.full((*size, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + GAP_PX), number % columns * (width + GAP_PX)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def truth_tiles(shot: Shot) -> tuple[Pixels, Pixels, Pixels]:
    """Three pictures of a shot: boxes with names, mask over the image, and depth, near is light."""
    found = [_entity(thing) for thing in shot.things if thing.box is not None]
    return draw(_enlarged(shot.image), found), _enlarged(_mask(shot)), _enlarged(_depth(shot))


def _enlarged(image: Pixels) -> Pixels:
    return image.repeat(ENLARGED, 0).repeat(ENLARGED, 1)


def _entity(thing: Thing) -> Entity:
    """Its name, with how much of it is seen as the score."""
    assert thing.box is not None
    name = f"{thing.colour} {thing.shape}"
    return Entity(name, 0, len(name), (replace(thing.box, score=thing.visible),))


def _mask(shot: Shot) -> Pixels:
    """Each object in a colour of its own, over the faint image."""
    palette = np.array([ImageColor.getrgb(colour) for colour in COLOURS], np.float64)
    seen = shot.mask > 0
    picture = FAINT * shot.image
    picture[seen] = palette[(shot.mask[seen] - 1) % len(COLOURS)]
    return picture.astype(np.uint8)


def _depth(shot: Shot) -> Pixels:
    """The nearest pixel is white, and one twice as far half as bright."""
    grey = 255 * shot.depth_m.min() / shot.depth_m
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)

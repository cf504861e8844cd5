"""Contact sheets of shots for people to look at, with or without the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import ImageColor

from kosmos2_core.answers import Entity
from kosmos2_core.drawing import COLOURS, arrange_tiles, draw
from kosmos2_core.images import Pixels
from kosmos2_sim.shot import Shot, Thing

COLUMNS, GAP_PX = 6, 4
ENLARGEMENT = 2  # of pictures with names, which need room
FAINT = 0.35  # brightness of the image behind its mask


def contact_sheet(shots: Sequence[Shot], truth: bool = False) -> Pixels:
    """Return one picture with the shots in rows.

    Args:
        truth: show each shot as three pictures: with boxes and names, with its mask, and its depth.
    """
    tiles = [tile for shot in shots for tile in (truth_tiles(shot) if truth else [shot.image])]
    return arrange_tiles(tiles, min(COLUMNS, len(tiles)), gap_px=GAP_PX)


def truth_tiles(shot: Shot) -> tuple[Pixels, Pixels, Pixels]:
    """Return three pictures of a shot: boxes with names, the mask, and depth (near is light)."""
    found = [_entity(thing) for thing in shot.things if thing.box is not None]
    return draw(_enlarged(shot.image), found), _enlarged(_mask(shot)), _enlarged(_depth(shot))


def _enlarged(image: Pixels) -> Pixels:
    return image.repeat(ENLARGEMENT, 0).repeat(ENLARGEMENT, 1)


def _entity(thing: Thing) -> Entity:
    """Return a thing as an entity with its name; the score is the visible part."""
    assert thing.box is not None
    name = f"{thing.colour} {thing.shape}"
    return Entity(name, 0, len(name), (replace(thing.box, score=thing.visible),))


def _mask(shot: Shot) -> Pixels:
    """Return the mask, in a different colour for each object, over the faint image."""
    palette = np.array([ImageColor.getrgb(colour) for colour in COLOURS], np.float64)
    seen = shot.mask > 0
    picture = FAINT * shot.image
    picture[seen] = palette[(shot.mask[seen] - 1) % len(COLOURS)]
    return picture.astype(np.uint8)


def _depth(shot: Shot) -> Pixels:
    """Return depth as grey: the nearest pixel is white, a pixel twice as far is half as bright."""
    grey = 255 * shot.depth_m.min() / shot.depth_m
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)

"""What is true of one image of the simulated tabletop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import Box


@dataclass(frozen=True)
class Thing:
    """One object on the table, and how it stands in the image."""

    shape: str  # "mug"
    colour: str  # "red"
    material: str  # "shiny"
    material_shows: bool  # whether that can be seen: by a highlight, or by its absence where one would be
    size: str  # "small", "medium" or "large", for its shape
    mark: int  # its value in the instance mask, from 1
    box: Box | None  # around its visible part; None: nothing of it is in the image
    visible: float  # how much of it is seen, 0 to 1: the rest is hidden by others or outside the image
    distance_m: float  # from the camera, along the optical axis
    centre_m: tuple[float, float, float]  # of the box around it, in the world
    extent_m: tuple[float, float, float]  # that box's sides
    quaternion: tuple[float, float, float, float]  # that box's rotation in the world, w x y z


@dataclass(frozen=True, eq=False)
class Shot:
    """One image, with its truth. The world's origin is the middle of the table's top, z up."""

    seed: int
    split: str
    image: NDArray[np.uint8]  # (H, W, 3), RGB
    depth_m: NDArray[np.float32]  # (H, W), along the optical axis
    mask: NDArray[np.uint8]  # (H, W), each pixel's Thing.mark, 0: no object
    camera: NDArray[np.float64]  # (3, 3), the camera matrix
    pose: NDArray[np.float64]  # (4, 4), the camera's optical frame (z forward, x right, y down) in the world
    things: tuple[Thing, ...]

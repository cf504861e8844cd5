"""What is seen of a simulated shot's objects in space, from its true depth and masks."""

from __future__ import annotations

import numpy as np

from kosmos2_io.camera_model import CameraModel
from kosmos2_io.lifting import DepthView


def camera_of(shot):
    return CameraModel(shot.camera, shot.mask.shape[1], shot.mask.shape[0])


def registered(shot, depth_m=None):
    return DepthView(shot.depth_m if depth_m is None else depth_m, camera_of(shot), camera_of(shot))


def seen_of(shot, thing):
    """The bounds of an object's visible surface in the world: middle and sides."""
    v, u = np.nonzero(shot.mask == thing.mark)
    pixels = np.column_stack([u + 0.5, v + 0.5, np.ones(len(u))])
    points_m = pixels @ np.linalg.inv(shot.camera).T * shot.depth_m[v, u, None].astype(float)
    points_m = points_m @ shot.pose[:3, :3].T + shot.pose[:3, 3]
    low, high = points_m.min(axis=0), points_m.max(axis=0)
    return (low + high) / 2, high - low


def well_seen(shot):
    return [thing for thing in shot.things if thing.box is not None and thing.visible > 0.25]

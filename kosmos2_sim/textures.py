"""Textures of table and floor, in bright greys: they are multiplied with a colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_sim.scenery import TEXTURES

Shades = NDArray[np.float64]  # 0 to 1

SIZE_PX = 256


def texture(kind: str, variant: int) -> NDArray[np.uint8]:
    """(256, 256, 3); the same at every call."""
    rng = np.random.default_rng([TEXTURES.index(kind), variant])
    shade = {"wood": _wood, "checker": _checker, "noise": _noise}[kind](rng)
    return np.repeat((np.clip(shade, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def _wood(rng: np.random.Generator) -> Shades:
    x = np.linspace(0, 1, SIZE_PX, endpoint=False)
    y = x[:, None] + np.zeros(SIZE_PX)
    for turns in (1, 2, 3):
        y += rng.uniform(0, 0.02) * np.sin(2 * np.pi * (turns * x + rng.random()))
    rings: Shades = np.sin(2 * np.pi * rng.integers(6, 14) * y) / 2 + 0.5
    return 0.6 + 0.28 * rings**2 + 0.12 * rng.random((SIZE_PX, 1))


def _checker(rng: np.random.Generator) -> Shades:
    field = np.arange(SIZE_PX) * 2 * rng.integers(2, 5) // SIZE_PX
    dark: Shades = (field[:, None] + field) % 2 * rng.uniform(0.2, 0.4)
    return 1 - dark


def _noise(rng: np.random.Generator) -> Shades:
    """Stone: noise at several scales."""
    shade = np.full((SIZE_PX, SIZE_PX), 0.8)
    for cells in (8, 32, 128):
        coarse = rng.uniform(-0.13, 0.13, (cells, cells))
        shade += cv2.resize(coarse, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_LINEAR)
    return shade

"""What is around the objects and has no name: table, room, papers and tapes, lights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_sim.shapes import Rgb

Array = NDArray[np.float64]

TEXTURES = ("wood", "checker", "noise")
VARIANTS = 3  # of each texture
ROOM_M = 3.0  # from its middle to a wall


@dataclass(frozen=True)
class Surface:
    rgb: Rgb
    half_m: tuple[float, float]  # from its middle to its edges
    texture: str | None  # of TEXTURES; None: plain
    variant: int
    repeat: float  # of the texture, along x


@dataclass(frozen=True)
class Sheet:
    """A paper or a strip of tape, flat on the table."""

    rgb: Rgb
    middle_m: tuple[float, float]
    half_m: tuple[float, float]
    yaw: float  # radians


@dataclass(frozen=True, eq=False)
class Light:
    """Light from far away."""

    towards: Array  # (3,), in the world
    rgb: Rgb
    specular: float
    ambient: float
    shadow: bool


@dataclass(frozen=True)
class Scenery:
    table: Surface
    floor: Surface
    wall: Rgb
    sheets: tuple[Sheet, ...]
    lights: tuple[Light, ...]


def draw_scenery(rng: Generator, table_half_m: tuple[float, float]) -> Scenery:
    return Scenery(
        table=_surface(rng, table_half_m, repeat=(1, 4)),
        floor=_surface(rng, (ROOM_M, ROOM_M), repeat=(5, 15)),
        wall=_muted(rng),
        sheets=tuple(_sheet(rng) for _ in range(rng.integers(0, 4))),
        # MuJoCo adds the ambient part of a light with a shadow only outside its shadow: the other has it.
        lights=(
            _light(rng, strength=(0.45, 0.65), ambient=(0, 0), shadow=True),
            _light(rng, strength=(0.05, 0.2), ambient=(0.32, 0.46), shadow=False),
        ),
    )


def _surface(rng: Generator, half_m: tuple[float, float], repeat: tuple[float, float]) -> Surface:
    texture = (*TEXTURES, None)[rng.integers(len(TEXTURES) + 1)]
    variant = int(rng.integers(VARIANTS))
    return Surface(_muted(rng), half_m, texture, variant, float(rng.uniform(*repeat)))


def _sheet(rng: Generator) -> Sheet:
    tape = rng.random() < 0.3
    half_m = (rng.uniform(0.1, 0.25), rng.uniform(0.006, 0.012)) if tape else rng.uniform(0.04, 0.12, 2)
    middle_m = rng.uniform(-0.2, 0.2, 2)
    return Sheet(
        rgb=_muted(rng),
        middle_m=(float(middle_m[0]), float(middle_m[1])),
        half_m=(float(half_m[0]), float(half_m[1])),
        yaw=float(rng.uniform(0, math.pi)),
    )


def _light(
    rng: Generator, strength: tuple[float, float], ambient: tuple[float, float], shadow: bool
) -> Light:
    azimuth, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.55, 0.98)
    flat = math.sqrt(1 - height**2)
    return Light(
        towards=-np.array([math.cos(azimuth) * flat, math.sin(azimuth) * flat, height]),
        rgb=clipped(rng.uniform(*strength) * (1 + rng.normal(0, 0.035, 3))),
        specular=float(rng.uniform(0.3, 0.7)),
        ambient=float(rng.uniform(*ambient)),
        shadow=shadow,
    )


def _muted(rng: Generator) -> Rgb:
    """Any brightness, little colour: what has no name should not look like what has one."""
    warmth = rng.normal(0.03, 0.05)
    tint = np.array([warmth, 0.0, -warmth]) + rng.normal(0, 0.06, 3)
    return clipped(rng.uniform(0.25, 0.9) * (1 + 1.5 * tint))


def clipped(values: Array) -> Rgb:
    r, g, b = np.clip(values, 0, 1)
    return float(r), float(g), float(b)

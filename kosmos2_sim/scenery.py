"""Everything around the objects that has no name: table, room, sheets of paper, tape, lights and textures.

The types are those of all splits; what `draw_scenery` draws is the surroundings of the first ones, and
worlds.py draws those of the wider ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_sim.meshes import Rgb
from kosmos2_sim.paintings import Painting

Array = NDArray[np.float64]

TEXTURES = ("wood", "checker", "noise")
TEXTURE_VARIANTS = 3  # of each texture
TEXTURE_SIZE_PX = 256
ROOM_M = 3.0  # from the middle of the room to a wall


@dataclass(frozen=True)
class Surface:
    """A horizontal rectangle: the table's top or the floor."""

    rgb: Rgb
    half_m: tuple[float, float]  # from the middle to the edges
    texture: str | None  # one of TEXTURES; None: a plain colour
    variant: int
    repeat: float  # how often the texture is repeated along x
    painting: Painting | None = None  # replaces texture and colour


@dataclass(frozen=True)
class Sheet:
    """A sheet of paper or a strip of tape that lies flat on the table."""

    rgb: Rgb
    middle_m: tuple[float, float]
    half_m: tuple[float, float]
    yaw: float  # radians
    painting: Painting | None = None  # replaces the colour


@dataclass(frozen=True)
class Block:
    """A piece of furniture, or an upright panel such as a poster or a window."""

    rgb: Rgb
    middle_m: tuple[float, float, float]
    half_m: tuple[float, float, float]  # a panel has no depth: its half size along x is 0, and it faces +x
    yaw: float  # radians
    glow: float = 0.0  # part of the light that it emits
    painting: Painting | None = None  # of a panel; replaces the colour


@dataclass(frozen=True, eq=False)
class Light:
    """A light that is infinitely far away, or a lamp."""

    direction: Array  # (3,), in which the light travels, in the world
    rgb: Rgb
    specular: float
    ambient: float
    shadow: bool
    ambient_tint: Rgb = (1.0, 1.0, 1.0)
    lamp_m: tuple[float, float, float] | None = None  # the position of a lamp
    cone: float = 60.0  # half the angle of a lamp's cone, in degrees


@dataclass(frozen=True)
class Scenery:
    """The surroundings of the objects in one scene."""

    table: Surface
    floor: Surface
    wall: Rgb
    sheets: tuple[Sheet, ...]
    lights: tuple[Light, ...]
    walls: Painting | None = None  # replaces the colour of the walls
    room_m: float | None = ROOM_M  # from the middle of the room to a wall; None: there are no walls
    has_legs: bool = True  # the table is one; otherwise it is the floor or the ground
    reach_m: tuple[float, float] | None = None  # half of the region for objects, if it is not the whole table
    backdrop: Painting | None = None  # what is far away
    blocks: tuple[Block, ...] = ()

    @property
    def shadows_m(self) -> float:
        """Half the side of the region with shadows.

        It is larger than the region of the objects, because shadows have gaps at its edge.
        """
        return 1.3 * math.hypot(*(self.reach_m or self.table.half_m))


def draw_scenery(rng: Generator, table_half_m: tuple[float, float]) -> Scenery:
    """Draw the surroundings of a table of the given half width and half depth."""
    return Scenery(
        table=_surface(rng, table_half_m, repeat=(1, 4)),
        floor=_surface(rng, (ROOM_M, ROOM_M), repeat=(5, 15)),
        wall=muted(rng),
        sheets=tuple(_sheet(rng) for _ in range(rng.integers(0, 4))),
        # MuJoCo adds the ambient part of a light that casts shadows only outside of its shadows. So the
        # second light, which casts none, provides the ambient part.
        lights=(
            _light(rng, strength=(0.45, 0.65), ambient=(0, 0), shadow=True),
            _light(rng, strength=(0.05, 0.2), ambient=(0.32, 0.46), shadow=False),
        ),
    )


def _surface(rng: Generator, half_m: tuple[float, float], repeat: tuple[float, float]) -> Surface:
    texture = (*TEXTURES, None)[rng.integers(len(TEXTURES) + 1)]
    variant = int(rng.integers(TEXTURE_VARIANTS))
    return Surface(muted(rng), half_m, texture, variant, float(rng.uniform(*repeat)))


def _sheet(rng: Generator) -> Sheet:
    tape = rng.random() < 0.3
    half_m = (rng.uniform(0.1, 0.25), rng.uniform(0.006, 0.012)) if tape else rng.uniform(0.04, 0.12, 2)
    middle_m = rng.uniform(-0.2, 0.2, 2)
    return Sheet(
        rgb=muted(rng),
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
        direction=-np.array([math.cos(azimuth) * flat, math.sin(azimuth) * flat, height]),
        rgb=clipped(rng.uniform(*strength) * (1 + rng.normal(0, 0.035, 3))),
        specular=float(rng.uniform(0.3, 0.7)),
        ambient=float(rng.uniform(*ambient)),
        shadow=shadow,
    )


def muted(rng: Generator) -> Rgb:
    """Draw a colour of any brightness and low saturation, unlike the colours of the objects."""
    warmth = rng.normal(0.03, 0.05)
    tint = np.array([warmth, 0.0, -warmth]) + rng.normal(0, 0.06, 3)
    return clipped(rng.uniform(0.25, 0.9) * (1 + 1.5 * tint))


def clipped(values: Array) -> Rgb:
    """Return a colour with its values clipped to 0 and 1."""
    r, g, b = np.clip(values, 0, 1)
    return float(r), float(g), float(b)


def texture_image(kind: str, variant: int) -> NDArray[np.uint8]:
    """Return a texture (256, 256, 3), the same at every call.

    Textures are bright greys: the renderer multiplies them with the colour of the surface.
    """
    rng = np.random.default_rng([TEXTURES.index(kind), variant])
    shade = {"wood": _wood, "checker": _checker, "noise": _noise}[kind](rng)
    return np.repeat((np.clip(shade, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def _wood(rng: Generator) -> Array:
    x = np.linspace(0, 1, TEXTURE_SIZE_PX, endpoint=False)
    y = x[:, None] + np.zeros(TEXTURE_SIZE_PX)
    for turns in (1, 2, 3):
        y += rng.uniform(0, 0.02) * np.sin(2 * np.pi * (turns * x + rng.random()))
    rings: Array = np.sin(2 * np.pi * rng.integers(6, 14) * y) / 2 + 0.5
    return 0.6 + 0.28 * rings**2 + 0.12 * rng.random((TEXTURE_SIZE_PX, 1))


def _checker(rng: Generator) -> Array:
    field = np.arange(TEXTURE_SIZE_PX) * 2 * rng.integers(2, 5) // TEXTURE_SIZE_PX
    dark: Array = (field[:, None] + field) % 2 * rng.uniform(0.2, 0.4)
    return 1 - dark


def _noise(rng: Generator) -> Array:
    """Return noise at several scales, which looks like stone."""
    shade = np.full((TEXTURE_SIZE_PX, TEXTURE_SIZE_PX), 0.8)
    for cells in (8, 32, 128):
        coarse = rng.uniform(-0.13, 0.13, (cells, cells))
        shade += cv2.resize(coarse, (TEXTURE_SIZE_PX, TEXTURE_SIZE_PX), interpolation=cv2.INTER_LINEAR)
    return shade

"""Clutter: things on the table that have no name in the vocabulary and that no sentence mentions.

A sentence must stay true beyond doubt beside them, so each kind lists the shapes that some people would take
it for: next to a crumpled paper, `the ball` is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from kosmos2_sim.draws import choose
from kosmos2_sim.meshes import (
    Mesh,
    Rgb,
    ShapePart,
    arc,
    block,
    ellipsoid,
    join,
    lathe,
    moved,
    stretched,
    tip,
    tube,
    turned,
)

NEUTRAL = ("white", "black", "brown")  # what some people would call the colour of any clutter
PALETTES: dict[str, dict[str, Rgb]] = {  # colours by their names; "": a colour that has only a NEUTRAL name
    "any": {
        "red": (0.70, 0.10, 0.12),
        "green": (0.12, 0.45, 0.22),
        "blue": (0.12, 0.25, 0.65),
        "yellow": (0.88, 0.75, 0.20),
        "orange": (0.90, 0.45, 0.12),
        "purple": (0.40, 0.18, 0.52),
        "": (0.50, 0.49, 0.47),
    },
    "muted": {"": (0.62, 0.59, 0.55)},
    "dark": {"": (0.10, 0.10, 0.11)},
    "steel": {"": (0.62, 0.63, 0.65)},
    "pale": {"": (0.88, 0.87, 0.84)},
    "earth": {"": (0.34, 0.25, 0.17)},
    "leaf": {
        "green": (0.22, 0.38, 0.10),
        "orange": (0.66, 0.38, 0.10),
        "yellow": (0.75, 0.62, 0.16),
        "": (0.36, 0.24, 0.13),
    },
}
PAPER, LEAF, STEEL = (0.88, 0.87, 0.83), (0.16, 0.36, 0.10), (0.62, 0.63, 0.65)


@dataclass(frozen=True)
class ClutterKind:
    """A kind of clutter."""

    palette: str  # one of PALETTES
    resembles: tuple[str, ...] = ()  # shapes that some people would call it
    part_colour: str = ""  # the name of the colour of a part that has its own
    outdoors: bool = False


def draw_clutter_colour(rng: Generator, kind: str) -> tuple[str, Rgb]:
    """Draw the name and the value of a colour; the name is empty if it can only be a NEUTRAL one."""
    palette = PALETTES[CLUTTER[kind].palette]
    name = choose(tuple(palette), rng)
    r, g, b = np.clip(np.array(palette[name]) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.015, 3), 0, 1)
    return name or CLUTTER[kind].part_colour, (float(r), float(g), float(b))


def _book() -> tuple[ShapePart, ...]:
    x, y, z = 0.075, 0.055, 0.02
    cover = join(
        block((-x, -y, 0), (x, y, 0.002)),
        block((-x, -y, z - 0.002), (x, y, z)),
        block((-x, -y, 0), (-x + 0.003, y, z)),
    )
    pages = block((-x + 0.003, -y + 0.004, 0.002), (x - 0.004, y - 0.004, z - 0.002))
    return ShapePart(cover), ShapePart(pages, rgb=PAPER)


def _notebook() -> tuple[ShapePart, ...]:
    x, y = 0.07, 0.05
    label = block((-0.03, -0.015, 0), (0.03, 0.02, 0.0085))
    return ShapePart(block((-x, -y, 0), (x, y, 0.008))), ShapePart(label, rgb=PAPER)


def _phone() -> tuple[ShapePart, ...]:
    screen = block((-0.066, -0.031, 0.001), (0.066, 0.031, 0.0085))
    return ShapePart(block((-0.07, -0.034, 0), (0.07, 0.034, 0.008))), ShapePart(
        screen, rgb=(0.04, 0.05, 0.07)
    )


def _keyboard() -> tuple[ShapePart, ...]:
    rows = [
        block(
            (-0.125 + 0.0135 * column, -0.04 + 0.021 * row, 0.01),
            (-0.114 + 0.0135 * column, -0.023 + 0.021 * row, 0.016),
        )
        for row in range(4)
        for column in range(19)
    ]
    return ShapePart(block((-0.135, -0.05, 0), (0.135, 0.05, 0.012))), ShapePart(join(*rows), 0.25)


def _remote() -> tuple[ShapePart, ...]:
    keys = [
        block((-0.05 + 0.022 * i, -0.012 + 0.014 * j, 0.01), (-0.038 + 0.022 * i, -0.004 + 0.014 * j, 0.0165))
        for i in range(5)
        for j in range(2)
    ]
    return ShapePart(block((-0.08, -0.02, 0), (0.08, 0.02, 0.014))), ShapePart(join(*keys), 0.6)


def _pen() -> tuple[ShapePart, ...]:
    body = lathe([(0.0, -0.06), (0.0045, -0.06), (0.0045, 0.045), (0.001, 0.066)])
    clip = lathe([(0.0, -0.075), (0.005, -0.075), (0.005, -0.035), (0.0, -0.035)])
    return ShapePart(tip(body)), ShapePart(tip(clip), -0.5)


def _cable() -> tuple[ShapePart, ...]:
    """A cable that lies in waves, with a plug at one end."""
    along = np.linspace(-0.13, 0.13, 46)
    path = np.stack([along, 0.03 * np.sin(32 * along) + 0.02 * np.sin(13 * along + 1), 0 * along], 1)
    plug = moved(block((-0.006, -0.008, -0.004), (0.03, 0.008, 0.006)), path[-1])
    return (ShapePart(join(tube(path, np.full(len(path), 0.0028), (0, 0, 1)), plug)),)


def _coil() -> tuple[ShapePart, ...]:
    """A cable that is wound up, with a loose end."""
    turn = np.linspace(0, 5.2 * np.pi, 90)
    radius = 0.03 + 0.004 * np.sin(2.3 * turn) + np.where(turn > 14, 0.02 * (turn - 14), 0)
    path = np.stack([radius * np.cos(turn), radius * np.sin(turn), 0.001 * turn], 1)
    return (ShapePart(tube(path, np.full(len(path), 0.0026), (0, 0, 1))),)


def _spoon() -> tuple[ShapePart, ...]:
    handle = block((-0.09, -0.004, 0.001), (0.045, 0.004, 0.004))
    return (ShapePart(join(handle, moved(ellipsoid((0.03, 0.019, 0.005)), (0.07, 0, 0.004)))),)


def _fork() -> tuple[ShapePart, ...]:
    tines = [
        block((0.055, -0.0115 + 0.0065 * i, 0.001), (0.095, -0.008 + 0.0065 * i, 0.004)) for i in range(4)
    ]
    head = block((0.035, -0.0115, 0.001), (0.057, 0.0115, 0.004))
    return (ShapePart(join(block((-0.09, -0.004, 0.001), (0.036, 0.004, 0.004)), head, *tines)),)


def _knife() -> tuple[ShapePart, ...]:
    blade = block((0.0, -0.009, 0.001), (0.105, 0.009, 0.0028))
    return ShapePart(blade, rgb=STEEL), ShapePart(block((-0.09, -0.008, 0), (0.0, 0.008, 0.012)), -0.3)


def _plant() -> tuple[ShapePart, ...]:
    pot = lathe([(0.0, 0.0), (0.026, 0.0), (0.036, 0.05), (0.033, 0.05), (0.031, 0.042), (0.0, 0.042)])
    leaves = []
    for number in range(11):
        leaf = moved(ellipsoid((0.032, 0.011, 0.004)), (0.03, 0, 0))
        height = 0.055 + 0.045 * (number % 4) / 3
        leaves.append(
            moved(turned(stretched(leaf, (1.0 - 0.06 * (number % 5), 1, 1)), 137.5 * number), (0, 0, height))
        )
    stem = lathe([(0.004, 0.04), (0.003, 0.105), (0.0, 0.105)])
    return ShapePart(pot), ShapePart(join(stem, *leaves), rgb=LEAF)


def _bracket() -> tuple[ShapePart, ...]:
    return (
        ShapePart(
            join(
                block((-0.04, -0.015, 0), (0.04, 0.015, 0.004)),
                block((0.036, -0.015, 0), (0.04, 0.015, 0.06)),
            )
        ),
    )


def _cross() -> tuple[ShapePart, ...]:
    return (
        ShapePart(
            join(
                block((-0.04, -0.012, 0), (0.04, 0.012, 0.015)),
                block((-0.012, -0.04, 0), (0.012, 0.04, 0.0151)),
            )
        ),
    )


def _lump(number: int, half: tuple[float, float, float], roughness: float, detail: int) -> Mesh:
    """Return an ellipsoid with an uneven surface."""
    rng = np.random.default_rng(number)
    mesh = lathe(arc(1.0, 1.0, 0.0, 0, 180, 14), smooth=True)
    waves, phases = rng.normal(0, detail, (6, 3)), rng.uniform(0, 6.3, 6)
    height = np.sin(mesh.points @ waves.T + phases).mean(1, keepdims=True)
    slopes = (np.cos(mesh.points @ waves.T + phases)[:, :, None] * waves).mean(1)
    normals = mesh.normals - roughness * slopes
    bumpy = Mesh(
        mesh.points * (1 + roughness * height),
        normals / np.linalg.norm(normals, axis=1, keepdims=True),
        mesh.faces,
    )
    return stretched(bumpy, half)


def _paper() -> tuple[ShapePart, ...]:
    """A crumpled sheet of paper."""
    return (ShapePart(_lump(1, (0.036, 0.033, 0.028), 0.35, 4)),)


def _stone() -> tuple[ShapePart, ...]:
    return (ShapePart(_lump(2, (0.038, 0.028, 0.02), 0.3, 2)),)


def _pebble() -> tuple[ShapePart, ...]:
    return (ShapePart(_lump(3, (0.022, 0.018, 0.012), 0.2, 1)),)


def _twig() -> tuple[ShapePart, ...]:
    along = np.linspace(-0.1, 0.1, 18)
    path = np.stack([along, 0.012 * np.sin(23 * along) + 0.006 * np.sin(71 * along), 0 * along], 1)
    branch = np.stack(
        [0.03 + 0.03 * np.linspace(0, 1, 6), path[12, 1] + 0.04 * np.linspace(0, 1, 6), np.zeros(6)], 1
    )
    return (
        ShapePart(
            join(
                tube(path, np.linspace(0.005, 0.002, 18), (0, 0, 1)),
                tube(branch, np.linspace(0.003, 0.001, 6), (0, 0, 1)),
            )
        ),
    )


def _leaf() -> tuple[ShapePart, ...]:
    blade = ellipsoid((0.034, 0.018, 0.002))
    return (ShapePart(join(blade, block((-0.055, -0.001, -0.001), (-0.03, 0.001, 0.001)))),)


CLUTTER = {
    "book": ClutterKind("any", ("box",)),
    "notebook": ClutterKind("any"),
    "phone": ClutterKind("dark"),
    "keyboard": ClutterKind("muted"),
    "remote": ClutterKind("dark"),
    "pen": ClutterKind("any"),
    "cable": ClutterKind("dark"),
    "coil": ClutterKind("dark", ("ring",)),
    "spoon": ClutterKind("steel"),
    "fork": ClutterKind("steel"),
    "knife": ClutterKind("dark"),
    "plant": ClutterKind("muted", ("mug", "bowl", "can"), part_colour="green"),
    "bracket": ClutterKind("muted"),
    "cross": ClutterKind("any"),
    "paper": ClutterKind("pale", ("ball", "egg")),
    "stone": ClutterKind("muted", ("egg", "ball"), outdoors=True),
    "pebble": ClutterKind("muted", ("egg", "ball", "pill"), outdoors=True),
    "twig": ClutterKind("earth", outdoors=True),
    "leaf": ClutterKind("leaf", ("banana",), outdoors=True),
}
CLUTTER_MAKERS: dict[str, Callable[[], tuple[ShapePart, ...]]] = {
    "book": _book,
    "notebook": _notebook,
    "phone": _phone,
    "keyboard": _keyboard,
    "remote": _remote,
    "pen": _pen,
    "cable": _cable,
    "coil": _coil,
    "spoon": _spoon,
    "fork": _fork,
    "knife": _knife,
    "plant": _plant,
    "bracket": _bracket,
    "cross": _cross,
    "paper": _paper,
    "stone": _stone,
    "pebble": _pebble,
    "twig": _twig,
    "leaf": _leaf,
}

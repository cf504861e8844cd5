"""The surroundings of the splits with a wider world: rooms of every kind, and the outdoors.

Rooms and the outdoors share no background, no ground, no clutter and no kind of light. So a model that was
trained in rooms only can be tested outdoors on what it has never seen.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from kosmos2_sim.clutter import CLUTTER
from kosmos2_sim.draws import choose
from kosmos2_sim.image_effects import ImageEffects, draw_effects
from kosmos2_sim.meshes import Rgb
from kosmos2_sim.paintings import Painting
from kosmos2_sim.scenery import Array, Block, Light, Scenery, Sheet, Surface, clipped, muted
from kosmos2_sim.shot import CameraView

Pair = tuple[float, float]

TABLE_TOPS = (
    "wood",
    "planks",
    "checks",
    "stripes",
    "dots",
    "cloth",
    "marble",
    "stone",
    "terrazzo",
    "metal",
    "plain",
)
FLOORS = ("planks", "tiles", "carpet", "marble", "stone", "terrazzo", "wood", "cloth", "plain")
WALLS = ("panels", "stripes", "bricks", "stone", "tiles", "cloth", "dots", "plain")
MATS = ("cloth", "stripes", "checks", "dots", "wood", "print", "print", "collage", "plain", "plain")
GROUNDS: dict[str, tuple[Rgb, Rgb, Pair]] = {  # two colours, and the side of a texture in metres
    "grass": ((0.30, 0.42, 0.14), (0.46, 0.48, 0.22), (0.3, 0.7)),
    "gravel": ((0.55, 0.52, 0.48), (0.40, 0.38, 0.36), (0.25, 0.8)),
    "sand": ((0.80, 0.69, 0.50), (0.7, 0.6, 0.4), (0.6, 1.5)),
    "soil": ((0.38, 0.29, 0.21), (0.55, 0.42, 0.2), (0.5, 1.2)),
    "asphalt": ((0.36, 0.36, 0.37), (0.3, 0.3, 0.3), (0.4, 0.9)),
    "paving": ((0.60, 0.55, 0.51), (0.42, 0.40, 0.36), (0.8, 1.6)),
    "deck": ((0.52, 0.42, 0.32), (0.56, 0.54, 0.50), (0.3, 0.7)),
}
GROUND_M, GROUND_PROBABILITY = 12.0, 0.3  # half the side of the ground outdoors; of objects on a room's floor
TABLE_OUTDOORS = 0.3  # the probability of a garden table
TABLE_LIGHT = (0.84, 1.08)  # the brightness of a white table
WEAK_SPECULAR = 0.08
CAST = 0.07  # of the camera's white balance; lights add to it
MAX_SHEETS, MAX_FURNITURE, MAX_PANELS = 4, 8, 4


@dataclass(frozen=True)
class World:
    """The surroundings of a scene, and the camera's effects on the image."""

    scenery: Scenery
    effects: ImageEffects


def draw_room(rng: Generator, view: CameraView, table_half_m: Pair) -> World:
    """Draw a room around objects on a table, or on its floor."""
    camera_m = float(np.hypot(*view.eye_m[:2]))
    room_m = max(float(rng.uniform(1.0, 4.0)), camera_m + 0.3, 1.2 * max(table_half_m))
    on_floor = rng.random() < GROUND_PROBABILITY
    far_away = rng.random() < 0.3  # what is behind the table is far out of focus
    top = (
        _ground(rng, FLOORS, (room_m, room_m), (0.4, 1.5))
        if on_floor
        else _ground(rng, TABLE_TOPS, table_half_m, (0.25, 1.0))
    )
    blurred = Painting("blurred room", _seed(rng), _surface_colour(rng), _surface_colour(rng))
    walls = _painting(rng, WALLS)
    scenery = Scenery(
        table=top,
        floor=_ground(rng, FLOORS, (room_m, room_m), (0.4, 1.5)),
        wall=_surface_colour(rng) if walls is None else walls.rgb,
        sheets=tuple(_mat(rng) for _ in range(rng.integers(0, MAX_SHEETS))),
        lights=_room_lights(rng),
        walls=walls,
        room_m=None if far_away else room_m,
        has_legs=not on_floor,
        reach_m=table_half_m,
        backdrop=blurred if far_away else None,
        blocks=() if far_away else _furniture(rng, view, room_m, on_floor, max(table_half_m)),
    )
    return World(scenery, draw_effects(rng, CAST))


def draw_outdoors(rng: Generator, view: CameraView, table_half_m: Pair) -> World:
    """Draw the outdoors around objects on the ground, or on a garden table."""
    on_table = rng.random() < TABLE_OUTDOORS
    kind = choose(tuple(GROUNDS), rng)
    ground = _outdoor_ground(rng, kind, (GROUND_M, GROUND_M))
    sky = Painting("sky", _seed(rng), _sky_colour(rng), clipped(0.8 * np.array(GROUNDS["grass"][0])))
    scenery = Scenery(
        table=_outdoor_ground(rng, "deck", table_half_m) if on_table else ground,
        floor=ground,
        wall=(0.5, 0.5, 0.5),
        sheets=(),
        lights=_daylight(rng),
        room_m=None,
        has_legs=on_table,
        reach_m=table_half_m,
        backdrop=sky,
    )
    return World(scenery, draw_effects(rng, CAST))


WORLDS: dict[str, Callable[[Generator, CameraView, Pair], World]] = {
    "worlds": draw_room,
    "rooms": draw_room,
    "outdoors": draw_outdoors,
}


def clutter_kinds(split: str) -> tuple[str, ...]:
    """Return the kinds of clutter of a split; empty for the splits without a world."""
    outdoors = WORLDS.get(split) is draw_outdoors
    return (
        tuple(name for name, kind in CLUTTER.items() if kind.outdoors == outdoors) if split in WORLDS else ()
    )


# Surfaces.


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**31))


def _surface_colour(rng: Generator) -> Rgb:
    """Draw a colour that is muted, that of a wood, or a soft one of any hue."""
    kind = rng.random()
    if kind < 0.55:
        return muted(rng)
    hue, saturation = (
        (rng.uniform(0.05, 0.11), rng.uniform(0.25, 0.55))
        if kind < 0.75
        else (rng.random(), rng.uniform(0.1, 0.4))
    )
    return colorsys.hsv_to_rgb(float(hue), float(saturation), float(rng.uniform(0.25, 0.95)))


def _painting(rng: Generator, kinds: Sequence[str]) -> Painting | None:
    kind, rgb, accent = choose(kinds, rng), _surface_colour(rng), _surface_colour(rng)
    return None if kind == "plain" else Painting(kind, _seed(rng), rgb, accent)


def _ground(rng: Generator, kinds: Sequence[str], half_m: Pair, side_m: Pair) -> Surface:
    """Draw a table's top or a floor.

    Args:
        side_m: from and to which side of a texture, in metres.
    """
    painting = _painting(rng, kinds)
    repeat = 2 * half_m[0] / float(rng.uniform(*side_m))
    return Surface(_surface_colour(rng), half_m, None, 0, repeat, painting)


def _outdoor_ground(rng: Generator, kind: str, half_m: Pair) -> Surface:
    rgb, accent, side_m = GROUNDS[kind]
    bright = float(rng.uniform(0.75, 1.2))
    colours = (clipped(bright * np.array(colour) * (1 + rng.normal(0, 0.06, 3))) for colour in (rgb, accent))
    repeat = 2 * half_m[0] / float(rng.uniform(*side_m))
    return Surface(rgb, half_m, None, 0, repeat, Painting(kind, _seed(rng), *colours))


def _mat(rng: Generator) -> Sheet:
    """Draw a mat, a towel, a cutting board, a magazine or a sheet of paper."""
    middle_m, half_m = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.04, 0.2, 2)
    return Sheet(
        rgb=_surface_colour(rng),
        middle_m=(float(middle_m[0]), float(middle_m[1])),
        half_m=(float(half_m[0]), float(half_m[1])),
        yaw=float(rng.uniform(0, math.pi)),
        painting=_painting(rng, MATS),
    )


def _furniture(
    rng: Generator, view: CameraView, room_m: float, on_floor: bool, table_m: float
) -> tuple[Block, ...]:
    """Draw boxes such as cupboards, shelves and chairs beyond the table, and posters and windows on walls."""
    away = math.atan2(-view.eye_m[1], -view.eye_m[0])
    nearest = table_m * 1.5 + 0.25
    blocks: list[Block] = []
    for _ in range(rng.integers(0, MAX_FURNITURE)):
        wide, high = rng.uniform(0.08, 0.5, 2)
        deep = float(rng.uniform(0.08, 0.35))
        floor_m = 0.0 if on_floor else -0.72
        angle = away + float(rng.uniform(-1.2, 1.2))
        far = float(rng.uniform(nearest, max(nearest, room_m - deep)))
        blocks.append(
            Block(
                rgb=_surface_colour(rng),
                middle_m=(far * math.cos(angle), far * math.sin(angle), floor_m + 2 * float(high)),
                half_m=(deep, float(wide), 2 * float(high)),
                yaw=float(rng.uniform(0, math.pi)),
            )
        )
    for _ in range(rng.integers(0, MAX_PANELS)):
        side = round(away / (math.pi / 2)) + int(rng.integers(-1, 2))
        along, high = rng.uniform(-0.8, 0.8) * room_m, float(rng.uniform(0.2, 1.8))
        angle = side * math.pi / 2
        x, y = (
            (room_m - 0.06) * math.cos(angle) - along * math.sin(angle),
            (room_m - 0.06) * math.sin(angle) + along * math.cos(angle),
        )
        window = rng.random() < 0.3
        blocks.append(
            Block(
                rgb=clipped(rng.uniform(0.75, 1.0) + rng.normal(0, 0.03, 3))
                if window
                else _surface_colour(rng),
                middle_m=(float(x), float(y), high),
                half_m=(0.0, float(rng.uniform(0.15, 0.7)), float(rng.uniform(0.15, 0.7))),
                yaw=angle + math.pi,
                glow=0.9 if window else 0.0,
                painting=None
                if window
                else _painting(rng, ("collage", "print", "collage", "stripes", "plain")),
            )
        )
    return tuple(blocks)


# Lights.


def _tint(rng: Generator, warmth: float) -> Array:
    """Draw a tint from bluish, -warmth, to reddish, warmth."""
    warm, green = rng.uniform(-warmth, warmth), rng.normal(0, 0.015)
    return np.array([1 + warm, 1 + green, 1 - warm])


def _towards(rng: Generator, elevation: Pair) -> Array:
    """Draw the direction of a light that comes from an elevation, in degrees."""
    azimuth, height = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(*elevation))
    return -np.array(
        [math.cos(azimuth) * math.cos(height), math.sin(azimuth) * math.cos(height), math.sin(height)]
    )


def _distant(rng: Generator, strength: float, tint: Array, elevation: Pair, shadow: bool) -> Light:
    """Draw a light that is far away. Only lights with shadows have visible highlights."""
    specular = float(rng.uniform(0.3, 0.7)) if shadow else WEAK_SPECULAR
    return Light(_towards(rng, elevation), clipped(strength * tint), specular, 0.0, shadow)


def _exposed(rng: Generator, lights: tuple[Light, ...]) -> tuple[Light, ...]:
    """Return lights that are dimmed or brightened until the table has the brightness of a good picture.

    Without that, an orange mug in a dark scene would look brown, and a red one in a bright scene pink.
    """
    level = sum(light.ambient + float(np.mean(light.rgb)) * -light.direction[2] for light in lights)
    factor = float(rng.uniform(*TABLE_LIGHT)) / level
    return tuple(
        replace(light, rgb=clipped(factor * np.array(light.rgb)), ambient=factor * light.ambient)
        for light in lights
    )


def _spread(light: Light, rng: Generator) -> tuple[Light, ...]:
    """Return a light of twice half the strength from two close directions: its shadows have soft edges."""
    halves = []
    for sign in (-1, 1):
        direction = light.direction + sign * rng.uniform(0.02, 0.06) * np.array(
            [-light.direction[1], light.direction[0], 0.3]
        )
        r, g, b = light.rgb
        halves.append(
            Light(direction / np.linalg.norm(direction), (r / 2, g / 2, b / 2), light.specular / 2, 0.0, True)
        )
    return tuple(halves)


def _ambient(rng: Generator, strength: Pair, tint: Array) -> Light:
    """Return a weak light without shadows that brings the light from all around."""
    weak = clipped(rng.uniform(0.03, 0.15) * tint)  # its diffuse part
    return Light(
        _towards(rng, (35, 80)), weak, 0.1, float(rng.uniform(*strength)), False, clipped(tint / tint.max())
    )


def _room_lights(rng: Generator) -> tuple[Light, ...]:
    """Draw one to three lamps or windows, hard or soft, and the light from all around."""
    tint = _tint(rng, 0.06)
    kind = rng.random()
    if kind < 0.15:  # a bright room without a main light
        fill = [_distant(rng, float(rng.uniform(0.12, 0.25)), tint, (30, 80), False) for _ in range(2)]
        return _exposed(rng, (*fill, _ambient(rng, (0.55, 0.7), tint)))
    main = _distant(rng, float(rng.uniform(0.35, 0.7)), tint, (28, 80), True)
    if kind < 0.35:
        place = -main.direction * rng.uniform(0.9, 1.8)
        x, y, z = (float(value) for value in place)
        lamps: tuple[Light, ...] = (
            Light(
                main.direction,
                main.rgb,
                main.specular,
                0.0,
                True,
                lamp_m=(x, y, z),
                cone=float(rng.uniform(50, 75)),
            ),
        )
    elif kind < 0.55:
        lamps = _spread(main, rng)
    else:
        lamps = (main,)
    others = [
        _distant(rng, float(rng.uniform(0.05, 0.25)), _tint(rng, 0.06), (25, 80), False)
        for _ in range(rng.integers(0, 3))
    ]
    return _exposed(rng, (*lamps, *others, _ambient(rng, (0.3, 0.5), tint)))


def _daylight(rng: Generator) -> tuple[Light, ...]:
    """Draw a low sun, a high sun or an overcast sky."""
    kind = rng.random()
    if kind < 0.25:
        cool = np.array([0.97, 1.0, 1.04])
        sky = _distant(rng, 0.3, cool, (60, 89), False)
        return _exposed(rng, (sky, _ambient(rng, (0.5, 0.65), cool)))
    low = kind < 0.7
    sun = np.array([1.05, 1.0, 0.92]) if low else np.array([1.02, 1.0, 0.97])
    main = _distant(rng, float(rng.uniform(0.6, 0.85)), sun, (9, 28) if low else (35, 75), True)
    return _exposed(rng, (main, _ambient(rng, (0.38, 0.5), np.array([0.95, 1.0, 1.06]))))


def _sky_colour(rng: Generator) -> Rgb:
    return clipped(np.array([0.35, 0.55, 0.85]) * rng.uniform(0.7, 1.1) + rng.normal(0, 0.04, 3))

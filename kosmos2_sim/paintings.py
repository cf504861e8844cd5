"""Textures that are painted for each scene: woods, tiles, cloths, walls, grass, gravel, skies and more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_core.images import Pixels
from kosmos2_sim.meshes import Rgb

Shade = NDArray[np.float32]  # (SIDE, SIDE), or (SIDE, SIDE, 3)

SIDE = 256  # pixels; every painting is square
STORED = 6  # noises of each kind
HIGHEST_HILL = 36  # pixels above the horizon


@dataclass(frozen=True)
class Painting:
    """A texture that is determined by its kind, a seed and two colours."""

    kind: str
    seed: int
    rgb: Rgb
    accent: Rgb


def paint(painting: Painting) -> Pixels:
    """Return the pixels (SIDE, SIDE, 3) of a painting, the same at every call."""
    rng = np.random.default_rng([crc32(painting.kind.encode()), painting.seed])
    base, accent = (np.array(rgb, np.float32) for rgb in (painting.rgb, painting.accent))
    values = PAINTERS[painting.kind](rng, base, accent)
    return np.asarray(cv2.convertScaleAbs(np.maximum(values, 0), alpha=255), np.uint8)  # saturates


def _mixed(base: Shade, accent: Shade, share: NDArray[Any]) -> Shade:
    """Return colours between two, where `share` (SIDE, SIDE) is the part of the second."""
    mixed: Shade = base + (accent - base) * np.clip(share, 0, 1).astype(np.float32)[..., None]
    return mixed


def _lit(colours: Shade, brightness: NDArray[Any]) -> Shade:
    """Return colours times a brightness (SIDE, SIDE)."""
    lit: Shade = colours * brightness.astype(np.float32)[..., None]
    return lit


def _clouds(rng: Generator, cells: tuple[int, int], octaves: int = 1, falloff: float = 0.5) -> Shade:
    """Return smooth noise from -1 to 1 whose opposite edges fit together.

    Args:
        cells: the number of hills along y and along x, in the coarsest octave.
    """
    noise = _stored_clouds(cells, octaves, falloff, int(rng.integers(STORED)))
    shifted = np.roll(noise, tuple(rng.integers(0, SIDE, 2)), axis=(0, 1))
    return shifted if rng.random() < 0.5 else -shifted[::-1]


@cache
def _stored_clouds(cells: tuple[int, int], octaves: int, falloff: float, number: int) -> Shade:
    """Return one of a few noises, which are kept because they take longer to make than all else."""
    rng = np.random.default_rng([*cells, octaves, number])
    total = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(octaves):
        rows, columns = (min(SIDE, count << octave) for count in cells)
        coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        padded = np.pad(coarse, 1, mode="wrap")
        up, left = -(-SIDE // rows), -(-SIDE // columns)
        fine = cv2.resize(padded, ((columns + 2) * left, (rows + 2) * up), interpolation=cv2.INTER_LINEAR)
        tile = fine[up : up + rows * up, left : left + columns * left]
        total += falloff**octave * cv2.resize(tile, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return total / np.float32(sum(falloff**octave for octave in range(octaves)))


def _grain(rng: Generator) -> Shade:
    """Return the fibres of wood along x."""
    rings = np.sin(float(rng.uniform(15, 50)) * (_clouds(rng, (4, 1), 2) + np.linspace(0, 1, SIDE)[:, None]))
    grain: Shade = (0.25 * rings + 0.5 * _clouds(rng, (64, 4)) + 0.4 * _clouds(rng, (128, 8))).astype(
        np.float32
    )
    return grain


def _wood(rng: Generator, base: Shade, accent: Shade) -> Shade:
    return _lit(base, 1 + 0.25 * _grain(rng))


def _planks(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Boards along x with dark gaps, shifted from row to row."""
    rows = int(rng.choice([2, 4, 8]))
    height = SIDE // rows
    shade = 1 + 0.2 * _grain(rng)
    for row in range(rows):
        band = slice(row * height, (row + 1) * height)
        shade[band] *= 1 + rng.uniform(-0.14, 0.14)
        shade[band] = np.roll(shade[band], int(rng.integers(SIDE)), axis=1)
        shade[row * height : row * height + max(1, height // 24)] *= 0.55
        joint = int(rng.integers(SIDE))
        shade[band, joint : joint + 2] *= 0.6
    return _lit(base, shade)


def _deck(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Weathered grooved boards with wide gaps."""
    rows = int(rng.choice([2, 4]))
    height = SIDE // rows
    y = np.arange(SIDE)
    grooves = 1 - 0.13 * (np.sin(2 * np.pi * y / 8) > 0)
    shade = (1 + 0.3 * _grain(rng)) * grooves[:, None]
    weather = 0.5 + 0.5 * _clouds(rng, (4, 4), 3)
    for row in range(rows):
        shade[row * height : (row + 1) * height] *= 1 + rng.uniform(-0.1, 0.1)
        shade[row * height : row * height + height // 16] *= 0.35
    return _lit(_mixed(base, accent, weather), shade)


def _tiles(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Square tiles with joints."""
    count = int(rng.choice([1, 2, 4]))
    side = SIDE // count
    shade = np.repeat(np.repeat(rng.uniform(0.9, 1.05, (count, count)), side, 0), side, 1)
    shade = shade + 0.06 * _clouds(rng, (8, 8), 3)
    joint = max(2, side // 24)
    lines = np.arange(SIDE) % side < joint
    return _mixed(_lit(base, shade), accent, (lines[:, None] | lines).astype(np.float32))


def _checks(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """A checked or gingham cloth."""
    bands = np.arange(SIDE) // (SIDE // int(rng.choice([4, 8, 16]))) % 2
    share = (bands[:, None] + bands) / 2 if rng.random() < 0.6 else (bands[:, None] ^ bands)
    return _mixed(base, accent, share.astype(np.float32)) * _weave(rng)


def _stripes(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Stripes of one or two widths."""
    period = SIDE // int(rng.choice([2, 4, 8, 16]))
    wide = np.arange(SIDE) % period < rng.uniform(0.2, 0.7) * period
    share = np.broadcast_to(wide[:, None], (SIDE, SIDE)).astype(np.float32)
    return _mixed(base, accent, share if rng.random() < 0.5 else share.T) * _weave(rng)


def _dots(rng: Generator, base: Shade, accent: Shade) -> Shade:
    period = SIDE // int(rng.choice([4, 8]))
    field = (np.arange(SIDE) % period - period / 2) / period
    far = np.hypot(field[:, None], field)
    return _mixed(base, accent, np.clip((rng.uniform(0.12, 0.3) - far) * 20, 0, 1)) * _weave(rng)


def _weave(rng: Generator) -> Shade:
    """Return the brightness of the threads of a cloth."""
    threads = np.sin(np.arange(SIDE) * 2 * np.pi / float(rng.choice([4, 8])))
    weave: Shade = 1 + 0.05 * (threads[:, None] * threads) + 0.05 * _clouds(rng, (128, 128))
    return weave[..., None].astype(np.float32)


def _cloth(rng: Generator, base: Shade, accent: Shade) -> Shade:
    return _lit(base * _weave(rng), 1 + 0.1 * _clouds(rng, (3, 3), 2))


def _carpet(rng: Generator, base: Shade, accent: Shade) -> Shade:
    share = 0.5 + 0.5 * _clouds(rng, (2, 2), 2)
    return _lit(_mixed(base, accent, 0.4 * share), 1 + 0.3 * _clouds(rng, (128, 128)))


def _marble(rng: Generator, base: Shade, accent: Shade) -> Shade:
    veins = np.abs(_clouds(rng, (3, 3), 5))
    return _mixed(accent, base, 0.45 + 5 * veins)


def _stone(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Concrete, plaster or a laminate with a fine pattern."""
    return _lit(base, 1 + float(rng.uniform(0.1, 0.35)) * _clouds(rng, (8, 8), 5, 0.7))


def _terrazzo(rng: Generator, base: Shade, accent: Shade) -> Shade:
    return _mixed(base, accent, 8 * (_clouds(rng, (40, 40), 2) - 0.35))


def _metal(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Brushed metal."""
    grey = base.mean() * np.array([0.97, 1.0, 1.03], np.float32)
    return _lit(grey, 1 + 0.12 * _clouds(rng, (256, 4)) + 0.08 * _clouds(rng, (3, 2), 2))


def _bricks(rng: Generator, base: Shade, accent: Shade) -> Shade:
    rows, columns = 8, 4
    y, x = np.arange(SIDE), np.arange(SIDE)
    row = y * rows // SIDE
    column = (x[None] + (row % 2)[:, None] * SIDE // columns // 2) * columns // SIDE % columns
    shade = rng.uniform(0.75, 1.15, (rows, columns))[row[:, None], column] + 0.12 * _clouds(rng, (16, 16), 3)
    low = (y % (SIDE // rows) < 3)[:, None]
    side = (x[None] + (row % 2)[:, None] * SIDE // columns // 2) % (SIDE // columns) < 3
    return _mixed(_lit(base, shade), accent, (low | side).astype(np.float32))


def _panels(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """A wall with a wainscot, or with a different colour below."""
    edge = int(rng.uniform(0.2, 0.7) * SIDE)
    share = np.zeros((SIDE, SIDE), np.float32)
    share[edge:] = 1
    values = _lit(_mixed(base, accent, share), 1 + 0.08 * _clouds(rng, (8, 8), 3))
    values[edge : edge + 4] *= 0.7
    return values


def _print(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """A printed page: lines of words, and a picture."""
    ink = np.zeros((SIDE, SIDE), np.float32)
    line, columns = int(rng.integers(6, 14)), int(rng.integers(1, 4))
    width = SIDE // columns
    words = (rng.random((SIDE // line + 1, SIDE // 6 + 1)) < 0.8).astype(np.float32)
    letters = cv2.resize(words, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    rows = (np.arange(SIDE) % line < 0.5 * line)[:, None] & (np.arange(SIDE) % width > 0.1 * width)
    ink[:] = 0.7 * rows * letters
    values = _mixed(base, np.full(3, 0.1, np.float32), ink)
    top, left = (int(value) for value in rng.integers(10, 150, 2))
    picture = slice(top, top + int(rng.integers(40, 100))), slice(left, left + int(rng.integers(50, 100)))
    values[picture] = _mixed(accent, base, 0.5 + 0.7 * _clouds(rng, (6, 6), 2))[picture]
    return values


def _collage(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Rectangles and discs of muted colours, as on a poster or on shelves."""
    values = np.ascontiguousarray(np.broadcast_to(base, (SIDE, SIDE, 3)))
    for _ in range(int(rng.integers(4, 26))):
        grey = float(rng.uniform(0.1, 0.95))
        rgb = np.clip(grey * (1 + rng.normal(0, 0.16, 3)), 0, 1).astype(np.float32)
        rgb = accent if rng.random() < 0.2 else rgb
        u, v = (int(value) for value in rng.integers(-30, SIDE, 2))
        wide, high = (int(value) for value in rng.integers(8, 110, 2))
        if rng.random() < 0.75:
            values[max(v, 0) : max(v + high, 0), max(u, 0) : max(u + wide, 0)] = rgb
        else:
            cv2.circle(values, (u, v), wide // 2, rgb.tolist(), -1)
    return _lit(values, 1 + 0.1 * _clouds(rng, (4, 4), 4))


def _blurred_room(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """A room far out of focus; the row in the middle is at the height of the table."""
    values = _collage(rng, base, accent)
    values[SIDE // 2 :] = 0.5 * values[SIDE // 2 :] + 0.35 * accent
    lamps = _clouds(rng, (12, 12)) > 0.93
    values[: SIDE // 2][lamps[: SIDE // 2]] = 1.0
    return np.asarray(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(1.5, 7))), np.float32)


# Outdoors.


def _grass(rng: Generator, base: Shade, accent: Shade) -> Shade:
    blades = cv2.blur(rng.uniform(-1, 1, (SIDE, SIDE)).astype(np.float32), (1, 5)) * 1.8
    shade = 1 + 0.55 * blades + 0.15 * _clouds(rng, (6, 6), 3)
    return _lit(_mixed(base, accent, 0.5 + 0.8 * _clouds(rng, (5, 5), 4)), shade)


def _gravel(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Pebbles: the cells around random points, dark where two meet."""
    count = int(rng.integers(14, 30))
    spots = np.stack(np.meshgrid(*2 * [np.arange(count)], indexing="ij"), -1) + rng.uniform(
        0, 1, (count, count, 2)
    )
    points = np.ones((SIDE, SIDE), np.uint8)
    y, x = (np.minimum(spots * SIDE / count, SIDE - 1)).astype(int).reshape(-1, 2).T
    points[y, x] = 0
    far, labels = cv2.distanceTransformWithLabels(points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    shade = rng.uniform(0.6, 1.25, labels.max() + 1).astype(np.float32)[labels]
    edge = np.clip(1.5 - 1.3 * far * count / SIDE, 0.25, 1)
    stones = rng.random(labels.max() + 1).astype(np.float32)[labels]
    return _lit(_mixed(base, accent, stones), shade * edge)


def _sand(rng: Generator, base: Shade, accent: Shade) -> Shade:
    ripples = 0.1 * np.sin(
        2 * np.pi * (rng.integers(3, 9) * np.linspace(0, 1, SIDE)[:, None] + 0.25 * _clouds(rng, (3, 3), 2))
    )
    return _lit(base, 1 + ripples + 0.2 * _clouds(rng, (128, 128)) + 0.1 * _clouds(rng, (6, 6), 3))


def _soil(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """Earth with fallen leaves."""
    ground = _lit(base, 1 + 0.45 * _clouds(rng, (16, 16), 5, 0.8))
    return _mixed(ground, accent, 9 * (_clouds(rng, (30, 30), 2) - 0.45))


def _asphalt(rng: Generator, base: Shade, accent: Shade) -> Shade:
    cracks = np.abs(_clouds(rng, (3, 3), 5)) < 0.012
    return _lit(base, 1 + 0.4 * _clouds(rng, (128, 128)) - 0.5 * cracks)


def _paving(rng: Generator, base: Shade, accent: Shade) -> Shade:
    return _lit(_bricks(rng, base, accent), 1 + 0.15 * _clouds(rng, (128, 128)))


def _sky(rng: Generator, base: Shade, accent: Shade) -> Shade:
    """A sky with clouds above hills or trees; the row in the middle is the horizon."""
    horizon = SIDE // 2
    height = np.linspace(1, 0, horizon, dtype=np.float32)[:, None, None]
    haze = np.array([0.86, 0.9, 0.93], np.float32)
    values = np.empty((SIDE, SIDE, 3), np.float32)
    values[:horizon] = haze + (base - haze) * height**0.6
    clouds = np.clip(float(rng.uniform(1, 4)) * (_clouds(rng, (8, 3), 5) - rng.uniform(-0.3, 0.4)), 0, 1)
    values[:horizon] = _mixed(values[:horizon], np.full(3, 0.95, np.float32), clouds[:horizon])
    values[horizon:] = accent
    rows = slice(horizon - HIGHEST_HILL, horizon)
    for distance in (1.0, 0.55):
        hills = 0.5 + _clouds(rng, (8, int(rng.choice([3, 6, 20]))), 4)[0]
        crest = horizon - HIGHEST_HILL / 1.5 * distance * hills
        below = np.arange(rows.start, rows.stop)[:, None] > crest
        shade = _lit(accent, 1 + 0.3 * _clouds(rng, (64, 64), 2))[rows]
        tint = shade + (haze - shade) * np.float32(0.5 * distance - 0.1)
        values[rows] = np.where(below[..., None], tint, values[rows])
    return values


PAINTERS: dict[str, Callable[[Generator, Shade, Shade], Shade]] = {
    "wood": _wood,
    "planks": _planks,
    "tiles": _tiles,
    "checks": _checks,
    "stripes": _stripes,
    "dots": _dots,
    "cloth": _cloth,
    "carpet": _carpet,
    "marble": _marble,
    "stone": _stone,
    "terrazzo": _terrazzo,
    "metal": _metal,
    "bricks": _bricks,
    "panels": _panels,
    "print": _print,
    "collage": _collage,
    "blurred room": _blurred_room,
    "grass": _grass,
    "gravel": _gravel,
    "sand": _sand,
    "soil": _soil,
    "asphalt": _asphalt,
    "paving": _paving,
    "deck": _deck,
    "sky": _sky,
}

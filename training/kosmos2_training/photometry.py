"""Other light and other cameras, so mild that a colour keeps its name."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from kosmos2_core.images import Pixels


@dataclass(frozen=True)
class Photometry:
    """How often each change is made, and how far it goes at most."""

    tone: float = 0.8  # how often the four below, together
    brightness: float = 0.12
    contrast: float = 0.12
    gamma: float = 0.12
    warmth: float = 0.04  # red up and blue down, or the other way
    blur: float = 0.15
    blur_px: float = 1.0  # of an image of 224 pixels
    noise: float = 0.2
    noise_levels: float = 6.0  # of 255, standard deviation
    jpeg: float = 0.2
    jpeg_quality: int = 50  # at least


def relight(image: Pixels, rng: Generator, options: Photometry) -> Pixels:
    """In the order in which a camera does it: light, lens, sensor, encoder."""
    if rng.random() < options.tone:
        image = _tone(image, rng, options)
    if rng.random() < options.blur:
        image = _blur(image, options.blur_px * rng.uniform(0.3, 1))
    if rng.random() < options.noise:
        image = _noise(image, rng, options.noise_levels * rng.uniform(0.2, 1))
    if rng.random() < options.jpeg:
        image = _jpeg(image, int(rng.integers(options.jpeg_quality, 96)))
    return image


def _tone(image: Pixels, rng: Generator, options: Photometry) -> Pixels:
    def around_one(most: float) -> float:
        return 1 + rng.uniform(-most, most)

    warmth = rng.uniform(-options.warmth, options.warmth)
    values = np.linspace(0, 1, 256)[:, None] ** around_one(options.gamma)
    values = (values - 0.5) * around_one(options.contrast) + 0.5
    values = values * around_one(options.brightness) * (1 + warmth, 1, 1 - warmth)
    table = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _blur(image: Pixels, px: float) -> Pixels:
    px *= min(image.shape[:2]) / 224
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(px, 0.1)), np.uint8)


def _noise(image: Pixels, rng: Generator, levels: float) -> Pixels:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(levels)
    return np.clip(image + noise + np.float32(0.5), 0, 255).astype(np.uint8)


def _jpeg(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])

"""Effects of a camera on an image: blur, vignetting, exposure, colour cast, noise, sharpening and JPEG.

Effects keep every point where it is, so that masks and boxes stay right. They are so mild that a colour keeps
its name. Lengths are for an image that is 224 pixels wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_core.images import Pixels
from kosmos2_sim.meshes import Rgb

Values = NDArray[np.float32]

HAZE = 0.8  # the brightness of stray light


@dataclass(frozen=True)
class ImageEffects:
    """The effects of one camera in one image; the default changes nothing."""

    blur_px: float = 0.0  # standard deviation, of a lens that is out of focus
    motion_px: float = 0.0  # length of the path of a point during the exposure
    motion_angle: float = 0.0  # radians
    vignette: float = 0.0  # darkening of the corners, from 0 to 1
    gains: Rgb = (1.0, 1.0, 1.0)  # exposure and white balance
    gamma: float = 1.0
    lift: float = 0.0  # haze or stray light, from 0 to 1
    detail: float = 1.0  # resolution of the sensor, relative to the image
    noise: float = 0.0  # standard deviation in a white area, of 255 levels
    sharpening: float = 0.0
    jpeg_quality: int | None = None

    def through_lens(self, image: Pixels) -> Pixels:
        """Return an image (H, W, 3) after all effects without random numbers, up to the sensor."""
        if self == NO_EFFECTS:
            return image
        scale = image.shape[1] / 224
        if self.motion_px * scale >= 1:
            streak = _streak(self.motion_px * scale, self.motion_angle)
            image = np.asarray(cv2.filter2D(image, -1, streak), np.uint8)
        if self.blur_px * scale >= 0.2:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur_px * scale), np.uint8)
        if self.vignette > 0:
            height, width = image.shape[:2]
            image = _levels(image * _vignette(height, width, self.vignette)[..., None])
        return np.asarray(cv2.LUT(image, self._response()), np.uint8)

    def _response(self) -> Pixels:
        """Return the output of the sensor (256, 1, 3) at each level and colour of light."""
        light = np.arange(256)[:, None, None] / 255 * np.array(self.gains)
        values = np.clip(light, 0, 1) ** self.gamma
        return _levels(255 * (values * (1 - self.lift) + HAZE * self.lift))

    def on_sensor(self, image: Pixels, rng: Generator) -> Pixels:
        """Return an image after the effects of sensor and encoder."""
        height, width = image.shape[:2]
        values = image.astype(np.float32)
        if self.detail < 1:
            small = max(1, round(self.detail * width)), max(1, round(self.detail * height))
            values = np.asarray(cv2.resize(values, small, interpolation=cv2.INTER_AREA), np.float32)
        if self.noise > 0:
            values += self._noise(values, rng)
        if self.detail < 1:
            whole = cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
            values = np.asarray(whole, np.float32)
        if self.sharpening > 0:
            values += self.sharpening * (values - cv2.GaussianBlur(values, (0, 0), 1.0))
        done = _levels(values)
        return done if self.jpeg_quality is None else _jpeg_and_back(done, self.jpeg_quality)

    def _noise(self, values: Values, rng: Generator) -> Values:
        """Return noise of light and of colour; the brighter a pixel, the more photons and the more noise."""
        light = rng.standard_normal(values.shape[:2], np.float32)[..., None]
        colour = rng.standard_normal(values.shape, np.float32)
        strength = self.noise * np.sqrt(0.25 + 0.75 * values / 255)
        return np.asarray(strength * (0.75 * light + 0.6 * cv2.blur(colour, (2, 2))), np.float32)


NO_EFFECTS = ImageEffects()


def draw_effects(rng: Generator, warmth: float) -> ImageEffects:
    """Draw the effects of one image.

    Args:
        warmth: largest strength of the colour cast: from bluish, -warmth, to reddish, warmth.
    """

    def sometimes(probability: float, low: float, high: float, otherwise: float = 0.0) -> float:
        drawn, value = rng.random(), float(rng.uniform(low, high))
        return value if drawn < probability else otherwise

    exposure = math.exp(np.clip(rng.normal(0, 0.09), -0.18, 0.15))
    red, green = float(rng.uniform(-warmth, warmth)), float(rng.normal(0, warmth / 4))
    return ImageEffects(
        blur_px=sometimes(0.35, 0.3, 1.5),
        motion_px=sometimes(0.2, 2, 6),
        motion_angle=float(rng.uniform(0, math.pi)),
        vignette=sometimes(0.4, 0.05, 0.4),
        gains=(exposure * (1 + red), exposure * (1 + green), exposure * (1 - red)),
        gamma=math.exp(np.clip(rng.normal(0, 0.08), -0.17, 0.15)),
        lift=sometimes(0.2, 0.01, 0.08),
        detail=sometimes(0.25, 0.55, 0.95, otherwise=1.0),
        noise=sometimes(0.65, 1, 11),
        sharpening=sometimes(0.25, 0.3, 1.2),
        jpeg_quality=int(rng.integers(30, 95)) if rng.random() < 0.6 else None,
    )


def _streak(length_px: float, angle: float) -> Values:
    """Return the kernel of a straight motion, symmetric around its middle."""
    half = math.ceil(length_px / 2)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for step in np.linspace(-length_px / 2, length_px / 2, 4 * half + 1):
        u, v = half + step * math.cos(angle), half + step * math.sin(angle)
        left, top = math.floor(u), math.floor(v)
        for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            if 0 <= column <= 2 * half and 0 <= row <= 2 * half:
                kernel[row, column] += (1 - abs(u - column)) * (1 - abs(v - row))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _vignette(height: int, width: int, strength: float) -> Values:
    u, v = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    return np.asarray(1 - np.float32(strength) * ((u * u)[None] + (v * v)[:, None]) / 2, np.float32)


def _levels(values: Values | NDArray[np.float64]) -> Pixels:
    levels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _jpeg_and_back(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads what it has just written"
    return np.ascontiguousarray(decoded[..., ::-1])

"""The simulated tabletop: render a scene and return the image with its ground truth.

    with Tabletop() as tabletop:
        shot = tabletop.shoot(seed=7, split="standard")

A scene is drawn (layout.py), put on MuJoCo's stage (stage.py), and rendered in colour, then as marks with
depth. Each object that is hidden or cut off is rendered once more on its own, to measure its visible part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self
from zlib import crc32

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_core.boxes import box_of_pixels
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_sim.layout import SPLITS, PlacedObject, SceneLayout, draw_layout
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.shot import CameraView, Shot, Thing
from kosmos2_sim.stage import Stage, compile_model, mujoco, open_context

PixelRect = tuple[int, int, int, int]  # u_min, v_min, u_max, v_max, in whole pixels of the image

NEAR_M, FAR_M = 0.02, 20.0
NOISE_STREAM = 3  # of the random numbers of a shot; items.py has the others
SUPERSAMPLING = 2  # rendered pixels per pixel along each side, for smooth edges
SMALLEST_PX, LARGEST_PX = 32, 2048
HIGHLIGHTS_PX = 224  # the larger side of the images in which highlights are detected
HIGHLIGHT = 25  # of 255, the smallest difference in brightness
CLEAR_OF_NOISE = 4  # standard deviations of the noise, for a difference to be visible
HIGHLIGHT_FRACTION = (0.02, 0.3)  # smallest and largest part of an object's pixels


class Tabletop:
    """A renderer of shots of one size.

    It holds an OpenGL context: use it in one thread only, and close it.

    Args:
        width: the width of the images in pixels, from 32 to 2048.
        height: the height of the images in pixels, from 32 to 2048.

    Raises:
        InputError: the size cannot be rendered, or OpenGL is not installed.
    """

    def __init__(self, width: int = 224, height: int = 224) -> None:
        if not all(SMALLEST_PX <= size <= LARGEST_PX for size in (width, height)):
            raise InputError(
                f"an image of {width} x {height} pixels cannot be rendered: choose {SMALLEST_PX} to"
                f" {LARGEST_PX} for each."
            )
        self.width, self.height = width, height
        model = compile_model(SUPERSAMPLING * width, SUPERSAMPLING * height)
        self._gl = open_context(SUPERSAMPLING * width, SUPERSAMPLING * height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._stage = Stage(model, self._context)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._closed = True
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def shoot(
        self, seed: int, split: str = "standard", shapes: Sequence[str] = SHAPES, must: str | None = None
    ) -> Shot:
        """Render the scene of a split and a seed. The result is the same at every call.

        Args:
            shapes: the shapes that may appear.
            must: a shape that must appear.
        """
        return self.shoot_layout(draw_layout(seed, split, shapes, must, self.width, self.height), seed, split)

    def shoot_layout(self, layout: SceneLayout, seed: int, split: str) -> Shot:
        """Render a layout that was drawn for this size; its view may have been moved since."""
        if self._closed:
            raise InputError("this tabletop was closed: make another one.")
        self._gl.make_current()
        self._stage.show(layout)
        self._context.shadowClip = layout.scenery.shadows_m
        effects = layout.effects
        image = effects.on_sensor(
            effects.through_lens(self._colours(layout.view)), _noise_rng(layout, seed, split)
        )
        mask, depth_m = self._marks(layout.view, (0, 0, self.width, self.height))
        highlights = self._highlights(layout)
        wholes = self._wholes(layout, mask)
        clutter = tuple(
            _thing(placed, mark, mask, int(np.count_nonzero(mask == mark)), layout.view, False)
            for mark, placed in enumerate(layout.clutter, len(layout.objects) + 1)
        )
        mask[mask > len(layout.objects)] = 0
        return Shot(
            seed=seed,
            split=split,
            image=image,
            depth_m=depth_m,
            mask=mask,
            camera=layout.view.camera,
            pose=layout.view.pose,
            things=tuple(
                _thing(placed, mark, mask, whole, layout.view, _material_shows(highlights, mask == mark))
                for mark, (placed, whole) in enumerate(zip(layout.objects, wholes, strict=True), 1)
            ),
            clutter=clutter,
        )

    def _colours(self, view: CameraView) -> Pixels:
        image = np.empty((SUPERSAMPLING * self.height, SUPERSAMPLING * self.width, 3), np.uint8)
        self._render(view, (0, 0, self.width, self.height), SUPERSAMPLING, False, image, None)
        size = self.width, self.height
        return cv2.resize(image[::-1], size, interpolation=cv2.INTER_AREA).astype(np.uint8)

    def _highlights(self, layout: SceneLayout) -> NDArray[np.bool_]:
        """Return the pixels of objects that would change visibly if matte and shiny materials were swapped.

        Only objects remain on the stage, with swapped materials.
        """
        scale = min(1.0, HIGHLIGHTS_PX / max(self.width, self.height))
        whole = 0, 0, self.width, self.height
        width, height = _pixels(whole, scale)
        plain, swapped = (np.empty((height, width, 3), np.uint8) for _ in range(2))
        self._stage.show_objects(layout)
        self._render(layout.view, whole, scale, False, plain, None)
        self._stage.swap_materials()
        self._render(layout.view, whole, scale, False, swapped, None)
        effects = layout.effects
        change = cv2.absdiff(effects.through_lens(plain), effects.through_lens(swapped)).max(2)
        clear = (change >= max(HIGHLIGHT, CLEAR_OF_NOISE * effects.noise)).astype(np.uint8)[::-1]
        size = self.width, self.height
        return np.asarray(cv2.resize(clear, size, interpolation=cv2.INTER_NEAREST), np.bool_)

    def _marks(self, view: CameraView, rect: PixelRect) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the mark and the depth of each pixel."""
        u_min, v_min, u_max, v_max = rect
        codes = np.empty((v_max - v_min, u_max - u_min, 3), np.uint8)
        inverse = np.empty((v_max - v_min, u_max - u_min), np.float32)  # 1 at NEAR_M, 0 at FAR_M
        self._render(view, rect, 1, True, codes, inverse)
        depth_m = NEAR_M * FAR_M / (NEAR_M + inverse[::-1].astype(np.float64) * (FAR_M - NEAR_M))
        marks = np.maximum(codes[::-1, :, 0], 1) - 1  # a code is a segid + 1, or 0 for the background
        return marks.astype(np.uint8), depth_m.astype(np.float32)

    def _render(
        self,
        view: CameraView,
        rect: PixelRect,
        scale: float,
        marks: bool,
        colours: NDArray[np.uint8],
        inverse: NDArray[np.float32] | None,
    ) -> None:
        """Render a rectangle of the image into the given arrays, whose first row is the lowest one.

        Args:
            scale: rendered pixels per pixel of the image, along each side.
            marks: render marks instead of colours.
            inverse: where to write the inverse depth, 1 at NEAR_M and 0 at FAR_M.
        """
        scene, flag = self._stage.scene, mujoco.mjtRndFlag
        scene.flags[:] = 0
        for index in (flag.mjRND_SEGMENT, flag.mjRND_IDCOLOR) if marks else (flag.mjRND_SHADOW,):
            scene.flags[index] = 1
        scene.flags[flag.mjRND_CULL_FACE] = 1
        for camera in scene.camera:  # for the left and the right eye
            _aim(camera, view, rect)
        viewport = mujoco.MjrRect(0, 0, *_pixels(rect, scale))
        mujoco.mjr_render(viewport, scene, self._context)
        mujoco.mjr_readPixels(colours, inverse, viewport, self._context)

    def _wholes(self, layout: SceneLayout, mask: NDArray[np.uint8]) -> list[int]:
        """Return how many pixels each object would have if nothing hid it and the image had no edges."""
        rects = [_rect_of(placed, layout.view) for placed in (*layout.objects, *layout.clutter)]
        wholes: list[int] = []
        for mark, (placed, rect) in enumerate(zip(layout.objects, rects, strict=False), 1):
            others = [other for other in rects if other is not rect]
            if _inside(rect, self.width, self.height) and not any(_overlap(rect, other) for other in others):
                wholes.append(int(np.count_nonzero(mask == mark)))
            else:
                self._stage.show_alone(placed, mark)
                wholes.append(cv2.countNonZero(self._marks(layout.view, self._limited(rect))[0]))
        return wholes

    def _limited(self, rect: PixelRect) -> PixelRect:
        """Limit a rectangle to the size of the framebuffer.

        Only an object that fills the image and is mostly outside of it is larger.
        """
        u_min, v_min, u_max, v_max = rect
        widest, highest = SUPERSAMPLING * self.width, SUPERSAMPLING * self.height
        return u_min, v_min, min(u_max, u_min + widest), min(v_max, v_min + highest)


def _noise_rng(layout: SceneLayout, seed: int, split: str) -> Generator:
    """Return the random numbers of the sensor's noise, which differ from view to view of the same scene."""
    return np.random.default_rng([SPLITS.index(split), seed, NOISE_STREAM, crc32(layout.view.pose.tobytes())])


def _pixels(rect: PixelRect, scale: float) -> tuple[int, int]:
    """Return the width and the height of a rectangle in rendered pixels."""
    u_min, v_min, u_max, v_max = rect
    return round(scale * (u_max - u_min)), round(scale * (v_max - v_min))


def _material_shows(highlights: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    """Return whether the image shows an object's material: a highlight covers some of its pixels.

    A flat side that is brighter everywhere could as well have a lighter colour.
    """
    low, high = HIGHLIGHT_FRACTION
    pixels, bright = np.count_nonzero(inside), np.count_nonzero(highlights & inside)
    return bool(pixels and low * pixels <= bright <= high * pixels)


def _aim(camera: mujoco.MjvGLCamera, view: CameraView, rect: PixelRect) -> None:
    """Aim MuJoCo's camera at a rectangle of the image, so that pixels match those of the whole image."""
    u_min, v_min, u_max, v_max = rect
    pixel = NEAR_M / view.focal_px  # the side of a pixel on the plane at NEAR_M, in metres
    camera.pos, camera.forward, camera.up = view.eye_m, view.axes[:, 2], -view.axes[:, 1]
    camera.frustum_near, camera.frustum_far = NEAR_M, FAR_M
    camera.frustum_top = (view.height / 2 - v_min) * pixel
    camera.frustum_bottom = (view.height / 2 - v_max) * pixel
    camera.frustum_center = ((u_min + u_max) / 2 - view.width / 2) * pixel
    camera.frustum_width = (u_max - u_min) / 2 * pixel  # to each side


def _rect_of(placed: PlacedObject, view: CameraView) -> PixelRect:
    """Return a rectangle around all of an object; it may lie outside the image."""
    pixels, _ = view.project(placed.corners_m)
    (u_min, v_min), (u_max, v_max) = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    return int(u_min), int(v_min), int(u_max), int(v_max)


def _inside(rect: PixelRect, width: int, height: int) -> bool:
    return rect[0] >= 0 and rect[1] >= 0 and rect[2] <= width and rect[3] <= height


def _overlap(a: PixelRect, b: PixelRect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _thing(
    placed: PlacedObject,
    mark: int,
    mask: NDArray[np.uint8],
    whole: int,
    view: CameraView,
    material_shows: bool,
) -> Thing:
    """Return the ground truth of an object that would have `whole` pixels if nothing of it were hidden."""
    inside = (mask == mark).astype(np.uint8)
    pixels = cv2.countNonZero(inside)
    u, v, wide, high = cv2.boundingRect(inside)
    low_m, high_m = placed.bounds_m
    centre_m = placed.position_m + placed.axes @ ((low_m + high_m) / 2)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, placed.axes.flatten())
    x, y, z = map(float, centre_m)
    along_x, along_y, along_z = map(float, high_m - low_m)
    qw, qx, qy, qz = map(float, quaternion)
    return Thing(
        shape=placed.shape,
        colour=placed.colour,
        material=placed.material,
        material_shows=material_shows,
        size=placed.size,
        mark=mark,
        box=box_of_pixels(u, v, u + wide, v + high, view.width, view.height) if pixels else None,
        visible=min(pixels / whole, 1.0) if whole else 0.0,
        distance_m=float(view.project(centre_m[None])[1][0]),
        centre_m=(x, y, z),
        extent_m=(along_x, along_y, along_z),
        quaternion=(qw, qx, qy, qz),
    )

"""The tabletop: images of drawn scenes, and what is true of them.

    with Tabletop() as tabletop:
        shot = tabletop.shoot(seed=7, split="standard")

A scene is drawn (layout.py), put on MuJoCo's stage (stage.py), and rendered: in colour, with marks and
depth, and for what is hidden or cut off, alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import box_of_pixels
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_sim.layout import Layout, draw
from kosmos2_sim.offscreen import mujoco, open_context
from kosmos2_sim.placing import Placed
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.stage import Stage, compile_model
from kosmos2_sim.truth import Shot, Thing
from kosmos2_sim.view import View

Window = tuple[int, int, int, int]  # u_min, v_min, u_max, v_max, whole pixels of the image

NEAR_M, FAR_M = 0.02, 20.0
FINER = 2  # rendered with as many pixels along each side, for smooth edges
SMALLEST_PX, LARGEST_PX = 32, 2048
HIGHLIGHTS_PX = 224  # of the larger side of the images in which highlights are sought
HIGHLIGHT = 25  # of 255, how much brighter
HIGHLIGHT_SHARE = (0.02, 0.3)  # of an object's pixels


class Tabletop:
    """Renders shots of one size. It holds an OpenGL context: use it in one thread, and close it."""

    def __init__(self, width: int = 224, height: int = 224) -> None:
        if not all(SMALLEST_PX <= size <= LARGEST_PX for size in (width, height)):
            raise InputError(
                f"an image of {width} x {height} pixels cannot be rendered: choose {SMALLEST_PX} to"
                f" {LARGEST_PX} for each."
            )
        self.width, self.height = width, height
        model = compile_model(FINER * width, FINER * height)
        self._gl = open_context(FINER * width, FINER * height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._stage = Stage(model)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def shoot(
        self, seed: int, split: str = "standard", shapes: Sequence[str] = SHAPES, must: str | None = None
    ) -> Shot:
        """The image of a split and a seed, and what is true of it; the same at every call.

        shapes: which may appear. must: this one does.
        """
        return self.shoot_layout(draw(seed, split, shapes, must, self.width, self.height), seed, split)

    def shoot_layout(self, layout: Layout, seed: int, split: str) -> Shot:
        """A scene that was drawn for this size, perhaps seen from elsewhere than it was drawn."""
        if self._closed:
            raise InputError("this tabletop was closed: open another one.")
        self._gl.make_current()
        self._stage.show(layout)
        # Shadows on all of the table; at the very edge of where they are drawn they have gaps.
        self._context.shadowClip = 1.3 * np.hypot(*layout.scenery.table.half_m)
        image = self._colours(layout.view)
        highlights = self._highlights(layout.view)
        mask, depth_m = self._marks(layout.view, (0, 0, self.width, self.height))
        wholes = self._wholes(layout, mask)
        return Shot(
            seed=seed,
            split=split,
            image=image,
            depth_m=depth_m,
            mask=mask,
            camera=layout.view.camera,
            pose=layout.view.pose,
            things=tuple(
                _thing(one, mark, mask, whole, layout.view, _shows(highlights, mask == mark))
                for mark, (one, whole) in enumerate(zip(layout.objects, wholes, strict=True), 1)
            ),
        )

    def _colours(self, view: View) -> Pixels:
        image = np.empty((FINER * self.height, FINER * self.width, 3), np.uint8)
        self._render(view, (0, 0, self.width, self.height), FINER, False, image, None)
        size = self.width, self.height
        return cv2.resize(image[::-1], size, interpolation=cv2.INTER_AREA).astype(np.uint8)

    def _highlights(self, view: View) -> NDArray[np.bool_]:
        """Where it would be seen if what is matte were shiny, or what is shiny matte. Materials are swapped
        when it returns."""
        finer = min(1.0, HIGHLIGHTS_PX / max(self.width, self.height))
        whole = 0, 0, self.width, self.height
        width, height = _pixels(whole, finer)
        seen, other = (np.empty((height, width, 3), np.uint8) for _ in range(2))
        self._render(view, whole, finer, False, seen, None)
        self._stage.swap_materials()
        self._render(view, whole, finer, False, other, None)
        clear = (cv2.absdiff(seen, other).max(2) >= HIGHLIGHT).astype(np.uint8)[::-1]
        size = self.width, self.height
        return np.asarray(cv2.resize(clear, size, interpolation=cv2.INTER_NEAREST), np.bool_)

    def _marks(self, view: View, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Each pixel's mark, and its depth."""
        u_min, v_min, u_max, v_max = window
        codes = np.empty((v_max - v_min, u_max - u_min, 3), np.uint8)
        inverse = np.empty((v_max - v_min, u_max - u_min), np.float32)  # 1 at NEAR_M, 0 at FAR_M
        self._render(view, window, 1, True, codes, inverse)
        depth_m = NEAR_M * FAR_M / (NEAR_M + inverse[::-1].astype(np.float64) * (FAR_M - NEAR_M))
        marks = np.maximum(codes[::-1, :, 0], 1) - 1  # a code is a segid + 1, or 0 where nothing is
        return marks.astype(np.uint8), depth_m.astype(np.float32)

    def _render(
        self,
        view: View,
        window: Window,
        finer: float,
        marks: bool,
        colours: NDArray[np.uint8],
        inverse: NDArray[np.float32] | None,
    ) -> None:
        """Into the arrays, whose first row is the lowest one."""
        scene, flag = self._stage.scene, mujoco.mjtRndFlag
        scene.flags[:] = 0
        for one in (flag.mjRND_SEGMENT, flag.mjRND_IDCOLOR) if marks else (flag.mjRND_SHADOW,):
            scene.flags[one] = 1
        scene.flags[flag.mjRND_CULL_FACE] = 1
        for camera in scene.camera:  # of the left and the right eye
            _aim(camera, view, window)
        rectangle = mujoco.MjrRect(0, 0, *_pixels(window, finer))
        mujoco.mjr_render(rectangle, scene, self._context)
        mujoco.mjr_readPixels(colours, inverse, rectangle, self._context)

    def _wholes(self, layout: Layout, mask: NDArray[np.uint8]) -> list[int]:
        """How many pixels each object would have, with nothing before it and no edge of the image."""
        windows = [_window(one, layout.view) for one in layout.objects]
        wholes: list[int] = []
        for mark, (one, window) in enumerate(zip(layout.objects, windows, strict=True), 1):
            others = [other for other in windows if other is not window]
            if _inside(window, self.width, self.height) and not any(_overlap(window, one) for one in others):
                wholes.append(int(np.count_nonzero(mask == mark)))
            else:
                self._stage.show_alone(one, mark)
                wholes.append(cv2.countNonZero(self._marks(layout.view, self._cut(window))[0]))
        return wholes

    def _cut(self, window: Window) -> Window:
        """To what can be rendered: larger is only what fills an image and is mostly outside."""
        u_min, v_min, u_max, v_max = window
        return u_min, v_min, min(u_max, u_min + FINER * self.width), min(v_max, v_min + FINER * self.height)


def _pixels(window: Window, finer: float) -> tuple[int, int]:
    """A window's width and height, rendered so much finer."""
    u_min, v_min, u_max, v_max = window
    return round(finer * (u_max - u_min)), round(finer * (v_max - v_min))


def _shows(highlights: NDArray[np.bool_], own: NDArray[np.bool_]) -> bool:
    """Whether an object's material can be told: a highlight is a part of it. A flat side that is brighter
    all over may as well be of a lighter colour."""
    low, high = HIGHLIGHT_SHARE
    pixels, bright = np.count_nonzero(own), np.count_nonzero(highlights & own)
    return bool(pixels and low * pixels <= bright <= high * pixels)


def _aim(camera: mujoco.MjvGLCamera, view: View, window: Window) -> None:
    """At a window of the image, pixel for pixel as in the whole."""
    u_min, v_min, u_max, v_max = window
    pixel = NEAR_M / view.focal_px  # its side, on the plane at NEAR_M
    camera.pos, camera.forward, camera.up = view.eye_m, view.axes[:, 2], -view.axes[:, 1]
    camera.frustum_near, camera.frustum_far = NEAR_M, FAR_M
    camera.frustum_top = (view.height / 2 - v_min) * pixel
    camera.frustum_bottom = (view.height / 2 - v_max) * pixel
    camera.frustum_center = ((u_min + u_max) / 2 - view.width / 2) * pixel
    camera.frustum_width = (u_max - u_min) / 2 * pixel  # to each side


def _window(one: Placed, view: View) -> Window:
    """Around all of an object, in or out of the image."""
    pixels, _ = view.project(one.corners_m)
    (u_min, v_min), (u_max, v_max) = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    return int(u_min), int(v_min), int(u_max), int(v_max)


def _inside(window: Window, width: int, height: int) -> bool:
    return window[0] >= 0 and window[1] >= 0 and window[2] <= width and window[3] <= height


def _overlap(a: Window, b: Window) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _thing(
    one: Placed, mark: int, mask: NDArray[np.uint8], whole: int, view: View, material_shows: bool
) -> Thing:
    """whole: its pixels, if nothing were hidden."""
    own = (mask == mark).astype(np.uint8)
    pixels = cv2.countNonZero(own)
    u, v, wide, high = cv2.boundingRect(own)
    low_m, high_m = one.bounds_m
    centre_m = one.position_m + one.axes @ ((low_m + high_m) / 2)
    turned = np.empty(4)
    mujoco.mju_mat2Quat(turned, one.axes.flatten())
    x, y, z = map(float, centre_m)
    along_x, along_y, along_z = map(float, high_m - low_m)
    qw, qx, qy, qz = map(float, turned)
    return Thing(
        shape=one.shape,
        colour=one.colour,
        material=one.material,
        material_shows=material_shows,
        size=one.size,
        mark=mark,
        box=box_of_pixels(u, v, u + wide, v + high, view.width, view.height) if pixels else None,
        visible=min(pixels / whole, 1.0) if whole else 0.0,
        distance_m=float(view.project(centre_m[None])[1][0]),
        centre_m=(x, y, z),
        extent_m=(along_x, along_y, along_z),
        quaternion=(qw, qx, qy, qz),
    )

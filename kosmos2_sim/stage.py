"""MuJoCo's renderer: an OpenGL context without a window, one compiled model, and a scene that is refilled.

The model holds all meshes and textures. The scene is the list of geoms and lights that MuJoCo draws. Filling
it by hand, from a SceneLayout, takes a millisecond; compiling a model for each scene would take many times
longer than rendering it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_sim.layout import PlacedObject, SceneLayout
from kosmos2_sim.scenery import (
    ROOM_M,
    TEXTURE_SIZE_PX,
    TEXTURE_VARIANTS,
    TEXTURES,
    Light,
    Scenery,
    Sheet,
    Surface,
    texture_image,
)
from kosmos2_sim.shapes import NOVEL, SHAPES, Rgb, parts_of

try:
    import mujoco
except (ImportError, AttributeError, RuntimeError) as error:  # MuJoCo and PyOpenGL raise all three
    raise InputError(
        f"the simulated tabletop cannot render, MuJoCo cannot be imported ({error}): install the extra sim"
        " (`make setup EXTRAS=ros,sim`), and if MUJOCO_GL is set, unset it."
    ) from None

__all__ = ["Stage", "compile_model", "mujoco", "open_context", "shaded"]  # import mujoco from this module

Array = NDArray[np.float64]

MAX_GEOMS = 100  # more than any scene has
FLOOR_M, BOARD_M, LEG_M = -0.72, 0.015, 0.02  # height of the floor; half thickness of the table and its legs
NO_OBJECT = 0  # the mark of everything that is not an object
UPRIGHT = np.eye(3)
# Specular and shininess. A sharper highlight would fall between the points at which OpenGL computes lighting.
FINISH = {"matte": (0.04, 0.1), "shiny": (0.9, 0.4)}
CASTS_SHADOW = mujoco.mjtCatBit.mjCAT_DYNAMIC
GL_LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so"}
GL_MISSING = (
    "the simulated tabletop cannot render, OpenGL without a screen is not installed ({reason}): on Debian"
    " and Ubuntu, `apt install libegl1 libegl-mesa0 libgl1-mesa-dri`, or `apt install libosmesa6` and set"
    " MUJOCO_GL=osmesa."
)


def compile_model(width: int, height: int) -> mujoco.MjModel:
    """Compile the model that all scenes use, for images up to this size in pixels."""
    spec = mujoco.MjSpec()
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = width, height
    visual.quality.offsamples, visual.quality.shadowsize = 0, 1024
    for shape in SHAPES + NOVEL:
        for number, part in enumerate(parts_of(shape)):
            name = f"{shape}{number}"
            spec.add_mesh(
                name=name,
                uservert=part.mesh.points.flatten(),
                usernormal=part.mesh.normals.flatten(),
                userface=part.mesh.faces.flatten(),
                inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,  # because some meshes are open
            )
            spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name)
    for kind in TEXTURES:
        for variant in range(TEXTURE_VARIANTS):
            name = f"{kind}{variant}"
            image = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
            image.width, image.height, image.nchannel = TEXTURE_SIZE_PX, TEXTURE_SIZE_PX, 3
            image.data = texture_image(kind, variant).tobytes()
            material = spec.add_material(name=name)
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return spec.compile()


class Stage:
    """A MuJoCo scene that is filled from a layout.

    The segid of a geom is the mark of the object that the geom is a part of.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)

    def show(self, layout: SceneLayout) -> None:
        """Replace the content of the scene by a layout."""
        self.scene.ngeom = 0
        self._room(layout.scenery)
        self._table(layout.scenery.table)
        self._sheets(layout.scenery.sheets)
        for mark, placed in enumerate(layout.objects, 1):
            self._object(placed, mark)
        self._lights(layout.scenery.lights)

    def show_alone(self, placed: PlacedObject, mark: int) -> None:
        """Replace the content of the scene by a single object."""
        self.scene.ngeom = 0
        self._object(placed, mark)

    def swap_materials(self) -> None:
        """Make all matte objects shiny, and all shiny objects matte."""
        other = {FINISH["matte"]: FINISH["shiny"], FINISH["shiny"]: FINISH["matte"]}
        for geom in self.scene.geoms[: self.scene.ngeom]:
            if geom.segid != NO_OBJECT:
                current = round(geom.specular, 3), round(geom.shininess, 3)
                geom.specular, geom.shininess = other[current]

    def _room(self, scenery: Scenery) -> None:
        self._surface(scenery.floor, FLOOR_M)
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            half_m = [0.05 if x else ROOM_M, 0.05 if y else ROOM_M, 2.5]
            self._add(mujoco.mjtGeom.mjGEOM_BOX, half_m, [x * ROOM_M, y * ROOM_M, 0], scenery.wall)

    def _table(self, table: Surface) -> None:
        x, y = table.half_m
        r, g, b = table.rgb
        side = 0.8 * r, 0.8 * g, 0.8 * b
        self._surface(table, 0.0)
        self._add(mujoco.mjtGeom.mjGEOM_BOX, [x, y, BOARD_M], [0, 0, -BOARD_M - 0.001], side)
        leg_m = -FLOOR_M / 2 - BOARD_M
        for right, far in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            position_m = [right * (x - LEG_M), far * (y - LEG_M), FLOOR_M + leg_m]
            self._add(mujoco.mjtGeom.mjGEOM_BOX, [LEG_M, LEG_M, leg_m], position_m, side)

    def _surface(self, surface: Surface, height_m: float) -> None:
        x, y = surface.half_m
        geom = self._add(mujoco.mjtGeom.mjGEOM_PLANE, [x, y, 0.1], [0, 0, height_m], surface.rgb)
        if surface.texture is not None:
            geom.matid = self.model.material(f"{surface.texture}{surface.variant}").id
            geom.texrepeat = surface.repeat, surface.repeat * y / x

    def _sheets(self, sheets: Iterable[Sheet]) -> None:
        for number, sheet in enumerate(sheets, 1):
            sine, cosine = np.sin(sheet.yaw), np.cos(sheet.yaw)
            axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
            position_m = [*sheet.middle_m, 0.0002 * number]  # in layers
            self._add(mujoco.mjtGeom.mjGEOM_PLANE, [*sheet.half_m, 0.1], position_m, sheet.rgb, axes)

    def _object(self, placed: PlacedObject, mark: int) -> None:
        for number, part in enumerate(parts_of(placed.shape)):
            mesh = self.model.mesh(f"{placed.shape}{number}").id
            turn = np.empty(9)  # the model compiler aligns each mesh with its principal axes
            mujoco.mju_quat2Mat(turn, self.model.mesh_quat[mesh])
            axes = placed.axes * placed.scale
            position_m = placed.position_m + axes @ self.model.mesh_pos[mesh]
            geom = self._add(
                mujoco.mjtGeom.mjGEOM_MESH,
                [1, 1, 1],
                position_m,
                shaded(placed.rgb, part.shade),
                axes @ turn.reshape(3, 3),
                mark,
            )
            geom.dataid = 2 * mesh  # 2 * mesh + 1 is its convex hull
            geom.specular, geom.shininess = FINISH[placed.material]

    def _add(
        self,
        kind: mujoco.mjtGeom,
        size_m: Sequence[float],
        position_m: Sequence[float] | Array,
        rgb: Rgb,
        axes: Array = UPRIGHT,
        mark: int = NO_OBJECT,
    ) -> Any:
        geom = self.scene.geoms[self.scene.ngeom]
        self.scene.ngeom += 1
        mujoco.mjv_initGeom(
            geom,
            kind,
            np.array(size_m, float),
            np.array(position_m),
            axes.flatten(),
            np.array([*rgb, 1], np.float32),
        )
        geom.segid, geom.specular, geom.shininess = mark, 0.0, 0.0
        # MuJoCo does not initialise these fields, and a geom of the category `decor` would cast no shadow.
        geom.category, geom.objtype, geom.objid = CASTS_SHADOW, mujoco.mjtObj.mjOBJ_UNKNOWN, -1
        return geom

    def _lights(self, lights: Sequence[Light]) -> None:
        self.scene.nlight = len(lights)
        for light, wanted in zip(self.scene.lights, lights, strict=False):
            light.type, light.headlight = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, 0
            light.pos, light.dir, light.attenuation = -2 * wanted.direction, wanted.direction, (1, 0, 0)
            light.diffuse, light.specular = wanted.rgb, [wanted.specular] * 3
            light.ambient = [wanted.ambient] * 3
            light.castshadow = wanted.shadow


def shaded(rgb: Rgb, shade: float) -> Rgb:
    """Return a colour mixed with black (shade -1) or white (shade 1)."""
    r, g, b = (value + shade * (1 - value if shade > 0 else value) for value in rgb)
    return r, g, b


class GlContext(Protocol):
    """An OpenGL context, as MuJoCo offers it."""

    def make_current(self) -> None: ...
    def free(self) -> None: ...


def open_context(width: int, height: int) -> GlContext:
    """Open an OpenGL context without a window; the caller makes it current.

    The backend is MUJOCO_GL, or EGL if it is installed, or else OSMesa.

    Raises:
        InputError: no backend is installed.
    """
    # Small images gain nothing from Mesa's threads, and data sets are rendered by many processes.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    backend = _backend()
    try:
        # `mujoco.GLContext` was chosen when MuJoCo was first imported, perhaps with another MUJOCO_GL.
        context: GlContext = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError) as error:
        reason = str(error).split(". ")[0].strip().rstrip(".")
        raise InputError(GL_MISSING.format(reason=f"{backend}: {reason}")) from None
    return context


def _backend() -> str:
    """Choose a backend by the libraries that are installed.

    Trying one after the other is not possible: PyOpenGL can be imported for one backend only.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in ("egl", "osmesa", "glfw", "cgl"):
        return wanted
    if sys.platform != "linux":
        return "cgl" if sys.platform == "darwin" else "glfw"
    for backend, library in GL_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return backend
    raise InputError(GL_MISSING.format(reason="neither libEGL nor libOSMesa was found"))

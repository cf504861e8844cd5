"""MuJoCo's renderer: an OpenGL context without a window, one compiled model, and a scene that is refilled.

The model holds all meshes and textures. The scene is the list of geoms and lights that MuJoCo draws. Filling
it by hand, from a SceneLayout, takes a millisecond; compiling a model for each scene would take many times
longer than rendering it.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_sim.clutter import CLUTTER
from kosmos2_sim.layout import CORNERS, PlacedObject, SceneLayout
from kosmos2_sim.meshes import Mesh, Rgb, grid
from kosmos2_sim.paintings import SIDE, Painting, paint
from kosmos2_sim.scenery import (
    TEXTURE_VARIANTS,
    TEXTURES,
    Block,
    Light,
    Scenery,
    Sheet,
    Surface,
    texture_image,
)
from kosmos2_sim.shapes import NOVEL, SHAPES, parts_of
from kosmos2_sim.shot import CameraView

try:
    import mujoco
except (ImportError, AttributeError, RuntimeError) as error:  # MuJoCo and PyOpenGL raise all three
    raise InputError(
        f"the simulated tabletop cannot render, MuJoCo cannot be imported ({error}): install the extra sim"
        " (`make setup EXTRAS=ros,sim`), and if MUJOCO_GL is set, unset it."
    ) from None

__all__ = ["Stage", "compile_model", "mujoco", "open_context", "shaded"]  # import mujoco from this module

Array = NDArray[np.float64]

MAX_GEOMS = 200  # more than any scene has
CANVAS, CANVASES = "canvas", 12  # textures that are painted for each scene; at least as many as a scene has
DOME, DOME_M = "dome", 15.0
LAMP_EXPONENT = 1.0  # how fast a lamp's light gets weaker from the middle of its cone
WALL_TOP_M = 4.0  # of the walls that are painted
WALL_TILE_M = 0.5  # half the side of a painting that is repeated on a wall
FLOOR_M, BOARD_M, LEG_M = -0.72, 0.015, 0.02  # height of the floor; half thickness of the table and its legs
NO_OBJECT = 0  # the mark of everything that is not an object
UPRIGHT = np.eye(3)
# Specular and shininess. A sharper highlight would fall between the points at which OpenGL computes lighting.
FINISH = {"matte": (0.04, 0.1), "shiny": (0.9, 0.4)}
CASTS_SHADOW, CASTS_NO_SHADOW = mujoco.mjtCatBit.mjCAT_DYNAMIC, mujoco.mjtCatBit.mjCAT_DECOR
ONCE_FROM_FLOOR_TO_TOP = ("panels",)  # paintings of walls
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
    for shape in (*SHAPES, *NOVEL, *CLUTTER):
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
            _add_texture(spec, f"{kind}{variant}", texture_image(kind, variant))
    for slot in range(CANVASES):
        _add_texture(spec, f"{CANVAS}{slot}", np.zeros((SIDE, SIDE, 3), np.uint8))
    dome = dome_mesh()
    spec.add_mesh(
        name=DOME,
        uservert=dome.points.flatten(),
        usernormal=dome.normals.flatten(),
        userface=dome.faces.flatten(),
        usertexcoord=_dome_texture_coordinates().flatten(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=DOME)
    return spec.compile()


def _add_texture(spec: mujoco.MjSpec, name: str, pixels: Pixels) -> None:
    """Add a texture, and a material of the same name that shows it."""
    image = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
    image.height, image.width, image.nchannel = pixels.shape
    image.data = pixels.tobytes()
    material = spec.add_material(name=name)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def dome_mesh() -> Mesh:
    """Return a sphere around everything, seen from inside, for what is far away."""
    elevation = np.radians(np.linspace(-90, 90, 19))[:, None]
    azimuth = np.linspace(0, 2 * np.pi, 33)[None]
    flat = np.cos(elevation)
    height = np.broadcast_to(np.sin(elevation), (19, 33))
    points = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], -1)[:, ::-1]
    return grid(DOME_M * points, -points)


def _dome_texture_coordinates() -> Array:
    """Return the texture coordinates of the points of the dome; the painting goes around it twice."""
    rows, columns = np.linspace(0, 1, 19), np.linspace(0, 2, 33)
    pairs: Array = np.stack(np.broadcast_arrays(columns[None], rows[:, None]), -1).reshape(-1, 2)
    return pairs


class Stage:
    """A MuJoCo scene that is filled from a layout.

    The segid of a geom is the mark of the object that the geom is a part of.
    """

    def __init__(self, model: mujoco.MjModel, context: mujoco.MjrContext) -> None:
        self.model, self.context = model, context
        self.scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._canvases: list[Painting | None] = [None] * CANVASES
        self._next_canvas = 0

    def show(self, layout: SceneLayout) -> None:
        """Replace the content of the scene by a layout. The marks of clutter follow those of the objects."""
        self.scene.ngeom = self._next_canvas = 0
        self._room(layout.scenery, layout.view)
        self._table(layout.scenery)
        self._sheets(layout.scenery.sheets, layout.view)
        self._add_objects(layout)
        self._lights(layout.scenery.lights)

    def show_objects(self, layout: SceneLayout) -> None:
        """Leave only the objects and the clutter of a layout on the stage, under the same lights."""
        self.scene.ngeom = 0
        self._add_objects(layout)

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

    def _room(self, scenery: Scenery, view: CameraView) -> None:
        if scenery.has_legs:
            self._surface(scenery.floor, FLOOR_M)
        if scenery.backdrop is not None:
            self._dome(scenery.backdrop)
        if scenery.room_m is not None:
            for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                self._wall(scenery, scenery.room_m, x, y, view)
        for block in scenery.blocks:
            if view.may_show(_corners_m(block.middle_m, block.half_m, block.yaw)):
                self._block(block)

    def _wall(self, scenery: Scenery, room_m: float, x: int, y: int, view: CameraView) -> None:
        if scenery.walls is None:
            size_m = [0.05 if x else room_m, 0.05 if y else room_m, 2.5]
            wall = self._add(mujoco.mjtGeom.mjGEOM_BOX, size_m, [x * room_m, y * room_m, 0], scenery.wall)
            if scenery.reach_m is not None:
                wall.category = CASTS_NO_SHADOW
        else:
            half_m = room_m, (WALL_TOP_M - FLOOR_M) / 2
            middle_m = x * room_m, y * room_m, (WALL_TOP_M + FLOOR_M) / 2
            once = scenery.walls.kind in ONCE_FROM_FLOOR_TO_TOP
            repeat = room_m / WALL_TILE_M, 1 if once else half_m[1] / WALL_TILE_M
            yaw = math.atan2(-y, -x)
            if view.may_show(_corners_m(middle_m, (0.0, *half_m), yaw)):
                self._panel(half_m, middle_m, yaw, scenery.wall, scenery.walls, repeat)

    def _dome(self, painting: Painting) -> None:
        mesh = self.model.mesh(DOME).id
        turn = np.empty(9)
        mujoco.mju_quat2Mat(turn, self.model.mesh_quat[mesh])
        geom = self._add(
            mujoco.mjtGeom.mjGEOM_MESH, [1, 1, 1], self.model.mesh_pos[mesh], (0.9, 0.9, 0.9), turn
        )
        geom.dataid, geom.texcoord, geom.emission, geom.category = 2 * mesh, 1, 1.0, CASTS_NO_SHADOW
        self._paint(geom, painting, (1, 1))

    def _block(self, block: Block) -> None:
        """Add furniture or a panel. It casts no shadow, because it is outside of the region with shadows."""
        if block.half_m[0] == 0:
            geom = self._panel(block.half_m[1:], block.middle_m, block.yaw, block.rgb, block.painting)
        else:
            geom = self._add(
                mujoco.mjtGeom.mjGEOM_BOX, block.half_m, block.middle_m, block.rgb, _turn(block.yaw)
            )
        geom.emission, geom.category = block.glow, CASTS_NO_SHADOW

    def _panel(
        self,
        half_m: Sequence[float],
        middle_m: Sequence[float],
        yaw: float,
        rgb: Rgb,
        painting: Painting | None,
        repeat: tuple[float, float] = (1, 1),
    ) -> Any:
        """Add an upright rectangle that faces in the direction of the yaw."""
        across, up, out = np.array([0.0, 1, 0]), np.array([0.0, 0, 1]), np.array([1.0, 0, 0])
        axes = _turn(yaw) @ np.stack([across, up, out], 1)
        geom = self._add(mujoco.mjtGeom.mjGEOM_PLANE, [*half_m, 0.1], middle_m, rgb, axes)
        geom.category = CASTS_NO_SHADOW
        self._paint(geom, painting, repeat)
        return geom

    def _table(self, scenery: Scenery) -> None:
        table = scenery.table
        self._surface(table, 0.0)
        if not scenery.has_legs:
            return
        x, y = table.half_m
        r, g, b = table.rgb if table.painting is None else table.painting.rgb
        side = 0.8 * r, 0.8 * g, 0.8 * b
        self._add(mujoco.mjtGeom.mjGEOM_BOX, [x, y, BOARD_M], [0, 0, -BOARD_M - 0.001], side)
        leg_m = -FLOOR_M / 2 - BOARD_M
        for right, far in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            position_m = [right * (x - LEG_M), far * (y - LEG_M), FLOOR_M + leg_m]
            self._add(mujoco.mjtGeom.mjGEOM_BOX, [LEG_M, LEG_M, leg_m], position_m, side)

    def _surface(self, surface: Surface, height_m: float) -> None:
        x, y = surface.half_m
        geom = self._add(mujoco.mjtGeom.mjGEOM_PLANE, [x, y, 0.1], [0, 0, height_m], surface.rgb)
        repeat = surface.repeat, surface.repeat * y / x
        if surface.texture is not None:
            geom.matid = self.model.material(f"{surface.texture}{surface.variant}").id
            geom.texrepeat = repeat
        if surface.painting is not None:
            geom.category = CASTS_NO_SHADOW  # the board below it casts one
            self._paint(geom, surface.painting, repeat)

    def _paint(self, geom: Any, painting: Painting | None, repeat: tuple[float, float]) -> None:
        """Paint a texture into the next canvas, unless it is there already, and let the geom show it."""
        if painting is None:
            return
        slot, self._next_canvas = self._next_canvas, self._next_canvas + 1
        material = self.model.material(f"{CANVAS}{slot}").id
        if self._canvases[slot] != painting:
            texture = self.model.texture(f"{CANVAS}{slot}").id
            start = self.model.tex_adr[texture]
            self.model.tex_data[start : start + 3 * SIDE * SIDE] = paint(painting)[::-1].reshape(-1)
            mujoco.mjr_uploadTexture(self.model, self.context, texture)
            self._canvases[slot] = painting
        # The renderer reads the repetition from the material, not from the geom.
        self.context.mat_texrepeat[2 * material : 2 * material + 2] = repeat
        geom.matid = material
        geom.rgba[:3] = 1

    def _sheets(self, sheets: Iterable[Sheet], view: CameraView) -> None:
        for number, sheet in enumerate(sheets, 1):
            position_m = [*sheet.middle_m, 0.0002 * number]  # in layers
            geom = self._add(
                mujoco.mjtGeom.mjGEOM_PLANE, [*sheet.half_m, 0.1], position_m, sheet.rgb, _turn(sheet.yaw)
            )
            if view.may_show(_corners_m((*sheet.middle_m, 0.0), (*sheet.half_m, 0.0), sheet.yaw)):
                self._paint(geom, sheet.painting, (1, 1))

    def _add_objects(self, layout: SceneLayout) -> None:
        for mark, placed in enumerate((*layout.objects, *layout.clutter), 1):
            self._object(placed, mark)

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
                shaded(part.rgb or placed.rgb, part.shade),
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
            kind = mujoco.mjtLightType
            light.type = kind.mjLIGHT_DIRECTIONAL if wanted.lamp_m is None else kind.mjLIGHT_SPOT
            light.pos = -2 * wanted.direction if wanted.lamp_m is None else wanted.lamp_m
            light.headlight, light.dir, light.attenuation = 0, wanted.direction, (1, 0, 0)
            light.cutoff, light.exponent = wanted.cone, LAMP_EXPONENT
            light.diffuse, light.specular = wanted.rgb, [wanted.specular] * 3
            light.ambient = [wanted.ambient * tint for tint in wanted.ambient_tint]
            light.castshadow = wanted.shadow


def _corners_m(middle_m: Sequence[float], half_m: Sequence[float], yaw: float) -> Array:
    """Return the corners (8, 3) of a block, a panel or a sheet in the world."""
    corners: Array = np.array(half_m) * (2 * CORNERS - 1) @ _turn(yaw).T + np.array(middle_m)
    return corners


def _turn(yaw: float) -> Array:
    """Return the rotation around z by an angle in radians."""
    sine, cosine = np.sin(yaw), np.cos(yaw)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


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

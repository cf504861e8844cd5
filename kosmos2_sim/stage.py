"""MuJoCo's part: one compiled model with all meshes and textures, and a scene filled anew for each image.

The scene is the list of geoms and lights that MuJoCo draws. Filling it by hand, from a Layout, takes a
millisecond; compiling a model for each scene would take many times what rendering it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_sim.layout import Layout
from kosmos2_sim.meshes import parts_of
from kosmos2_sim.offscreen import mujoco
from kosmos2_sim.placing import Placed
from kosmos2_sim.scenery import ROOM_M, TEXTURES, VARIANTS, Light, Scenery, Sheet, Surface
from kosmos2_sim.shapes import NOVEL, SHAPES, Rgb
from kosmos2_sim.textures import SIZE_PX, texture

Array = NDArray[np.float64]

GEOMS = 100  # room for more than any scene has
FLOOR_M, BOARD_M, LEG_M = -0.72, 0.015, 0.02  # height of the floor; half thickness of the table and its legs
NOTHING = 0  # the mark of all that is no object
UPRIGHT = np.eye(3)
# Specular and shininess. A sharper highlight falls between the points at which OpenGL computes it.
FINISH = {"matte": (0.04, 0.1), "shiny": (0.9, 0.4)}
CASTS_SHADOW = mujoco.mjtCatBit.mjCAT_DYNAMIC


def compile_model(width: int, height: int) -> mujoco.MjModel:
    """A model that images up to this size can be drawn with."""
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
                inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,  # some are open
            )
            spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name)
    for kind in TEXTURES:
        for variant in range(VARIANTS):
            name = f"{kind}{variant}"
            image = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
            image.width, image.height, image.nchannel = SIZE_PX, SIZE_PX, 3
            image.data = texture(kind, variant).tobytes()
            material = spec.add_material(name=name)
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return spec.compile()


class Stage:
    """Fills a scene. A geom's segid is the mark of the object that it is a part of."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.scene = mujoco.MjvScene(model, maxgeom=GEOMS)

    def show(self, layout: Layout) -> None:
        """Everything, and nothing of before."""
        self.scene.ngeom = 0
        self._room(layout.scenery)
        self._table(layout.scenery.table)
        self._sheets(layout.scenery.sheets)
        for mark, one in enumerate(layout.objects, 1):
            self._object(one, mark)
        self._lights(layout.scenery.lights)

    def show_alone(self, one: Placed, mark: int) -> None:
        """One object, and nothing else."""
        self.scene.ngeom = 0
        self._object(one, mark)

    def swap_materials(self) -> None:
        """What is matte becomes shiny, and what is shiny matte."""
        other = {FINISH["matte"]: FINISH["shiny"], FINISH["shiny"]: FINISH["matte"]}
        for geom in self.scene.geoms[: self.scene.ngeom]:
            if geom.segid != NOTHING:
                now = round(geom.specular, 3), round(geom.shininess, 3)
                geom.specular, geom.shininess = other[now]

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
            place_m = [right * (x - LEG_M), far * (y - LEG_M), FLOOR_M + leg_m]
            self._add(mujoco.mjtGeom.mjGEOM_BOX, [LEG_M, LEG_M, leg_m], place_m, side)

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
            place_m = [*sheet.middle_m, 0.0002 * number]  # in layers
            self._add(mujoco.mjtGeom.mjGEOM_PLANE, [*sheet.half_m, 0.1], place_m, sheet.rgb, axes)

    def _object(self, one: Placed, mark: int) -> None:
        for number, part in enumerate(parts_of(one.shape)):
            mesh = self.model.mesh(f"{one.shape}{number}").id
            turn = np.empty(9)  # the compiler turned and moved the mesh to its principal axes
            mujoco.mju_quat2Mat(turn, self.model.mesh_quat[mesh])
            axes = one.axes * one.scale
            place_m = one.position_m + axes @ self.model.mesh_pos[mesh]
            geom = self._add(
                mujoco.mjtGeom.mjGEOM_MESH,
                [1, 1, 1],
                place_m,
                shaded(one.rgb, part.shade),
                axes @ turn.reshape(3, 3),
                mark,
            )
            geom.dataid = 2 * mesh  # 2 * mesh + 1 is its convex hull
            geom.specular, geom.shininess = FINISH[one.material]

    def _add(
        self,
        kind: mujoco.mjtGeom,
        size_m: Sequence[float],
        place_m: Sequence[float] | Array,
        rgb: Rgb,
        axes: Array = UPRIGHT,
        mark: int = NOTHING,
    ) -> Any:
        geom = self.scene.geoms[self.scene.ngeom]
        self.scene.ngeom += 1
        mujoco.mjv_initGeom(
            geom,
            kind,
            np.array(size_m, float),
            np.array(place_m),
            axes.flatten(),
            np.array([*rgb, 1], np.float32),
        )
        geom.segid, geom.specular, geom.shininess = mark, 0.0, 0.0
        # MuJoCo leaves these as the memory was; what happens to be a decoration casts no shadow.
        geom.category, geom.objtype, geom.objid = CASTS_SHADOW, mujoco.mjtObj.mjOBJ_UNKNOWN, -1
        return geom

    def _lights(self, lights: Sequence[Light]) -> None:
        self.scene.nlight = len(lights)
        for light, wanted in zip(self.scene.lights, lights, strict=False):
            light.type, light.headlight = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, 0
            light.pos, light.dir, light.attenuation = -2 * wanted.towards, wanted.towards, (1, 0, 0)
            light.diffuse, light.specular = wanted.rgb, [wanted.specular] * 3
            light.ambient = [wanted.ambient] * 3
            light.castshadow = wanted.shadow


def shaded(rgb: Rgb, shade: float) -> Rgb:
    """A colour nearer to black (-1) or white (1)."""
    r, g, b = (value + shade * (1 - value if shade > 0 else value) for value in rgb)
    return r, g, b

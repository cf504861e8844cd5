"""A bag of a robot's camera over a simulated tabletop, with commands, and the right answers beside them.

Each image with its depth, calibration and transform has the same stamp; so have the answers in it, under
`/truth`. Nothing in a bag comes from a clock: the same plan gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kosmos2_core.errors import InputError
from kosmos2_io import messages
from kosmos2_io.bag_writer import BagWriter, open_bag
from kosmos2_sim.film import Film, draw_film
from kosmos2_sim.layout import SPLITS, check
from kosmos2_sim.scene import Tabletop
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.standing import Standing, stand
from kosmos2_sim.truth import Shot, Thing

EPOCH_NS = 1_767_225_600 * 10**9  # 2026-01-01, 0:00 UTC: when every bag begins
COMMAND_S = 3.0  # how long a command stands, at most
FASTEST_HZ = 1000.0
CAMERA, WORLD, LINK, OPTICAL = "camera", "world", "camera_link", "camera_optical_frame"
LATCHED = ("/tf_static", "/grounding/command")
# REP-103: a body's frame is x forward, y left, z up; a camera's optical frame z forward, x right, y down.
OPTICAL_IN_LINK = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Plan:
    """What decides a bag's content."""

    seconds: float = 10.0
    rate_hz: float = 10.0
    seed: int = 0
    split: str = "standard"
    width: int = 640
    height: int = 480
    compressed: bool = False  # images as JPEG
    depth: str = "32FC1"  # how depth is encoded, one of messages.DEPTH_ENCODINGS
    still: bool = False  # the camera does not move

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise InputError(f"a bag of {self.seconds:g} seconds cannot be made: give more than 0.")
        if not 0 < self.rate_hz <= FASTEST_HZ:
            raise InputError(
                f"{self.rate_hz:g} images a second cannot be made: give more than 0, {FASTEST_HZ:g} at most."
            )
        if self.depth not in messages.DEPTH_ENCODINGS:
            known = " or ".join(messages.DEPTH_ENCODINGS)
            raise InputError(f"there is no depth encoding {self.depth!r}: choose {known}.")
        check(self.seed, self.split, SHAPES, None)

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.rate_hz))


@dataclass(frozen=True)
class Frame:
    stamp_ns: int
    shot: Shot
    command: Standing
    new: bool  # whether the command comes with it


def make_bag(folder: Path, plan: Plan, storage: str = "mcap") -> Path:
    """Write it, and return its folder."""
    about = {name: str(value) for name, value in asdict(plan).items()}
    with (
        open_bag(folder, storage, LATCHED, {"made_by": "kosmos2 sim bag", **about}) as bag,
        Tabletop(plan.width, plan.height) as tabletop,
    ):
        frames = _frames(draw_film(tabletop, plan.seed, plan.split, plan.still), plan)
        for number, frame in enumerate(tqdm(frames, total=plan.frames, unit="image", disable=None)):
            if number == 0:
                _write_static(bag, frame, plan)
            _write_camera(bag, frame, plan)
            _write_truth(bag, frame, plan)
    return folder


def _frames(film: Film, plan: Plan) -> Iterator[Frame]:
    """A command stands for its time, or as long as what it means is well seen."""
    rng = np.random.default_rng([SPLITS.index(plan.split), plan.seed, 2])  # a data set's sentences: 1
    said: list[str] = []
    command: Standing | None = None
    until_s = 0.0
    for number in range(plan.frames):
        time_s = number / plan.rate_hz
        shot = film.shoot(time_s)
        new = command is None or time_s >= until_s or not command.holds(shot)
        if command is None or new:
            until_s = min(time_s + COMMAND_S, plan.frames / plan.rate_hz)
            command = stand(str(len(said) + 1), shot, film.shoot(until_s), rng, said)
            said.append(command.text)
        yield Frame(EPOCH_NS + round(time_s * 1e9), shot, command, new)


def _write_static(bag: BagWriter, frame: Frame, plan: Plan) -> None:
    link = messages.header(frame.stamp_ns, LINK)
    fixed = [messages.transform(link, OPTICAL, OPTICAL_IN_LINK)]
    if plan.still:
        fixed.append(_camera_in_world(frame))
    bag.write("/tf_static", messages.transforms(*fixed), frame.stamp_ns)


def _write_camera(bag: BagWriter, frame: Frame, plan: Plan) -> None:
    """What a robot has: commands, transform, image, depth."""
    stamp_ns, shot = frame.stamp_ns, frame.shot
    if frame.new:
        bag.write("/grounding/command", messages.string(frame.command.markdown), stamp_ns)
    if not plan.still:
        bag.write("/tf", messages.transforms(_camera_in_world(frame)), stamp_ns)
    head = messages.header(stamp_ns, OPTICAL)
    info = messages.camera_info(head, shot.camera, plan.width, plan.height)
    bag.write(f"/{CAMERA}/camera_info", info, stamp_ns)
    if plan.compressed:
        bag.write(f"/{CAMERA}/image/compressed", messages.compressed_image(head, shot.image), stamp_ns)
    else:
        bag.write(f"/{CAMERA}/image", messages.image(head, shot.image), stamp_ns)
    bag.write(f"/{CAMERA}/depth/camera_info", info, stamp_ns)
    bag.write(f"/{CAMERA}/depth/image", messages.depth_image(head, shot.depth_m, plan.depth), stamp_ns)


def _write_truth(bag: BagWriter, frame: Frame, plan: Plan) -> None:
    stamp_ns, command = frame.stamp_ns, frame.command
    answer, size = command.answer(frame.shot), (plan.width, plan.height)
    optical, world = messages.header(stamp_ns, OPTICAL), messages.header(stamp_ns, WORLD)
    solids = [[_solid(thing)] if thing else [] for thing in command.meant(frame.shot)]
    bag.write(
        "/truth/grounding",
        messages.grounded_frame(optical, CAMERA, command.id, answer, *size, model="truth"),
        stamp_ns,
    )
    bag.write("/truth/detections", messages.detections(optical, command.id, answer, *size), stamp_ns)
    bag.write("/truth/detections_3d", messages.detections_3d(world, command.id, answer, solids), stamp_ns)


def _camera_in_world(frame: Frame) -> Any:
    pose = frame.shot.pose @ np.linalg.inv(OPTICAL_IN_LINK)
    return messages.transform(messages.header(frame.stamp_ns, WORLD), LINK, pose)


def _solid(thing: Thing) -> messages.Box3D:
    w, x, y, z = thing.quaternion
    return messages.Box3D(thing.centre_m, thing.extent_m, (x, y, z, w))

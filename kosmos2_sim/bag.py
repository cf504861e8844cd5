"""A bag of a robot's camera over a simulated tabletop, with commands, and the right answers beside them.

Each image with its depth, calibration and transform has the same stamp; so have the answers in it, under
`/truth`. Nothing in a bag comes from a clock: the same plan gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kosmos2_core.errors import InputError
from kosmos2_io.answer_messages import AnswerContext, AnswerMessages, Box3D
from kosmos2_io.bag_writer import BagWriter, open_bag
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages
from kosmos2_sim.depth_camera import WORLD, DepthCamera
from kosmos2_sim.film import Film, draw_film
from kosmos2_sim.layout import SPLITS, check
from kosmos2_sim.scene import Tabletop
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.standing import Standing, stand
from kosmos2_sim.truth import Shot, Thing

EPOCH_NS = 1_767_225_600 * 10**9  # 2026-01-01, 0:00 UTC: when every bag begins
COMMAND_S = 3.0  # how long a command stands, at most
FASTEST_HZ = 1000.0
messages = Messages(new)
answers = AnswerMessages(messages)
LATCHED = ("/tf_static", "/grounding/command")


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
    depth: str = "32FC1"  # how depth is encoded, one of DEPTH_ENCODINGS
    still: bool = False  # the camera does not move

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise InputError(f"a bag of {self.seconds:g} seconds cannot be made: give more than 0.")
        if not 0 < self.rate_hz <= FASTEST_HZ:
            raise InputError(
                f"{self.rate_hz:g} images a second cannot be made: give more than 0, {FASTEST_HZ:g} at most."
            )
        check(self.seed, self.split, SHAPES, None)
        self.camera()  # says now what is wrong with it

    def camera(self) -> DepthCamera:
        return DepthCamera(
            messages, "camera", not self.compressed, self.compressed, depth=self.depth, still=self.still
        )

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
        for frame in tqdm(frames, total=plan.frames, unit="image", disable=None):
            _write_camera(bag, frame, plan.camera())
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


def _write_camera(bag: BagWriter, frame: Frame, camera: DepthCamera) -> None:
    """What a robot has: commands, transforms, image, depth."""
    stamp_ns, shot = frame.stamp_ns, frame.shot
    if stamp_ns == EPOCH_NS:
        bag.write("/tf_static", camera.fixed(shot, stamp_ns), stamp_ns)
    if frame.new:
        bag.write("/grounding/command", messages.string(frame.command.markdown), stamp_ns)
    for transforms in camera.moving(shot, stamp_ns):
        bag.write("/tf", transforms, stamp_ns)
    for topic, message in camera.sense(shot, stamp_ns):
        bag.write(f"/{camera.name}/{topic}", message, stamp_ns)


def _write_truth(bag: BagWriter, frame: Frame, plan: Plan) -> None:
    stamp_ns, command, camera = frame.stamp_ns, frame.command, plan.camera()
    answer = command.answer(frame.shot)
    optical, world = messages.header(stamp_ns, camera.optical), messages.header(stamp_ns, WORLD)
    solids = [[_solid(thing)] if thing else [] for thing in command.meant(frame.shot)]
    asked = AnswerContext(optical, camera.name, command.id, plan.width, plan.height, model="truth")
    bag.write("/truth/grounding", answers.grounded_frame(asked, answer), stamp_ns)
    bag.write("/truth/detections", answers.detections(asked, answer), stamp_ns)
    bag.write("/truth/detections_3d", answers.detections_3d(world, command.id, answer, solids), stamp_ns)


def _solid(thing: Thing) -> Box3D:
    w, x, y, z = thing.quaternion
    return Box3D(thing.centre_m, thing.extent_m, (x, y, z, w))

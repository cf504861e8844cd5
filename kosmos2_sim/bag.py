"""Write a bag of a robot's camera over a simulated tabletop, with commands and their right answers.

An image, its depth, calibration and transform, and the right answer under `/truth` have the same stamp.
Nothing in a bag comes from a clock: the same plan gives the same bytes.
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
from kosmos2_sim.film import Film, FilmCommand, draw_command, draw_film
from kosmos2_sim.layout import SPLITS, check_scene
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.shot import Shot, Thing
from kosmos2_sim.tabletop import Tabletop

EPOCH_NS = 1_767_225_600 * 10**9  # 2026-01-01, 0:00 UTC: the first stamp of every bag
COMMAND_S = 3.0  # the longest time for which a command is valid
FASTEST_HZ = 1000.0
messages = Messages(new)
answers = AnswerMessages(messages)
LATCHED = ("/tf_static", "/grounding/command")


@dataclass(frozen=True)
class BagPlan:
    """The options that determine a bag's content."""

    seconds: float = 10.0
    rate_hz: float = 10.0
    seed: int = 0
    split: str = "standard"
    width: int = 640
    height: int = 480
    compressed: bool = False  # images as JPEG
    depth: str = "32FC1"  # the encoding of depth images, one of DEPTH_ENCODINGS
    still: bool = False  # the camera does not move

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise InputError(f"a bag of {self.seconds:g} seconds cannot be made: the time must be above 0.")
        if not 0 < self.rate_hz <= FASTEST_HZ:
            raise InputError(
                f"a bag with {self.rate_hz:g} images per second cannot be made: the rate must be above 0 and"
                f" at most {FASTEST_HZ:g}."
            )
        check_scene(self.seed, self.split, SHAPES, None)
        self.camera()  # raises an InputError if an option of the camera is wrong

    def camera(self) -> DepthCamera:
        """Return the camera that the bag records."""
        return DepthCamera(
            messages, "camera", not self.compressed, self.compressed, depth=self.depth, still=self.still
        )

    @property
    def frames(self) -> int:
        """The number of images."""
        return max(1, round(self.seconds * self.rate_hz))


@dataclass(frozen=True)
class BagFrame:
    """One image of a bag, with the command that is valid at its time."""

    stamp_ns: int
    shot: Shot
    command: FilmCommand
    is_new: bool  # the command is sent together with this image


def make_bag(folder: Path, plan: BagPlan, storage: str = "mcap") -> Path:
    """Write a bag and return its folder.

    Args:
        storage: "mcap" or "sqlite3".
    """
    metadata = {name: str(value) for name, value in asdict(plan).items()}
    with (
        open_bag(folder, storage, LATCHED, {"made_by": "kosmos2 sim bag", **metadata}) as bag,
        Tabletop(plan.width, plan.height) as tabletop,
    ):
        frames = _frames(draw_film(tabletop, plan.seed, plan.split, plan.still), plan)
        for frame in tqdm(frames, total=plan.frames, unit="image", disable=None):
            _write_camera(bag, frame, plan.camera())
            _write_truth(bag, frame, plan)
    return folder


def _frames(film: Film, plan: BagPlan) -> Iterator[BagFrame]:
    """Yield the frames. A command ends after COMMAND_S, or when a thing it refers to is no longer visible."""
    rng = np.random.default_rng([SPLITS.index(plan.split), plan.seed, 2])  # stream 1 is for data sets
    previous: list[str] = []
    command: FilmCommand | None = None
    until_s = 0.0
    for number in range(plan.frames):
        time_s = number / plan.rate_hz
        shot = film.shoot(time_s)
        is_new = command is None or time_s >= until_s or not command.is_answerable(shot)
        if command is None or is_new:
            until_s = min(time_s + COMMAND_S, plan.frames / plan.rate_hz)
            command = draw_command(str(len(previous) + 1), shot, film.shoot(until_s), rng, previous)
            previous.append(command.text)
        yield BagFrame(EPOCH_NS + round(time_s * 1e9), shot, command, is_new)


def _write_camera(bag: BagWriter, frame: BagFrame, camera: DepthCamera) -> None:
    """Write the messages that a robot has: command, transforms, image and depth."""
    stamp_ns, shot = frame.stamp_ns, frame.shot
    if stamp_ns == EPOCH_NS:
        bag.write("/tf_static", camera.static_transforms(shot, stamp_ns), stamp_ns)
    if frame.is_new:
        bag.write("/grounding/command", messages.string(frame.command.markdown), stamp_ns)
    for transforms in camera.moving_transforms(shot, stamp_ns):
        bag.write("/tf", transforms, stamp_ns)
    for topic, message in camera.frame_messages(shot, stamp_ns):
        bag.write(f"/{camera.name}/{topic}", message, stamp_ns)


def _write_truth(bag: BagWriter, frame: BagFrame, plan: BagPlan) -> None:
    """Write the right answer to the current command, in the forms in which the node publishes answers."""
    stamp_ns, command, camera = frame.stamp_ns, frame.command, plan.camera()
    answer = command.answer(frame.shot)
    optical, world = messages.header(stamp_ns, camera.optical), messages.header(stamp_ns, WORLD)
    boxes = [[_box_3d(thing)] if thing else [] for thing in command.targets(frame.shot)]
    asked = AnswerContext(optical, camera.name, command.id, plan.width, plan.height, model="truth")
    bag.write("/truth/grounding", answers.grounded_frame(asked, answer), stamp_ns)
    bag.write("/truth/detections", answers.detections(asked, answer), stamp_ns)
    bag.write("/truth/detections_3d", answers.detections_3d(world, command.id, answer, boxes), stamp_ns)


def _box_3d(thing: Thing) -> Box3D:
    w, x, y, z = thing.quaternion
    return Box3D(thing.centre_m, thing.extent_m, (x, y, z, w))

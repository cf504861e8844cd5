"""The images to evaluate, in the order of the recording, each with the depth and the transforms of its stamp.

Depth and transforms may be recorded a little after their image: an image waits for them, and goes on when
what was recorded is so much later that they will not come.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_data.bag_labels import stamp_of
from kosmos2_data.bag_topics import Camera, Topics
from kosmos2_io.bag_reader import BagReader, Recorded
from kosmos2_io.transforms import TransformBuffer

WAIT_NS = 500_000_000  # for depth and transforms
SLOP_NS = 50_000_000  # between the stamps of image and depth, as the node's sync_slop_s
TF, TF_STATIC = "/tf", "/tf_static"
Pose = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Of a recording: log times, and each how manieth image of a camera."""

    start_ns: int
    end_ns: int
    every: int = 1


@dataclass(frozen=True)
class Selection:
    """Which images of a recording to use: a span in seconds from its start, every Nth of each camera.

    Raises:
        InputError: the numbers are out of range; the sentence names the command-line option.
    """

    from_s: float = 0.0
    to_s: float | None = None  # None: to the end
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"--every {self.every}: it is 1, for each image, or more.")
        if not 0 <= self.from_s < (float("inf") if self.to_s is None else self.to_s):
            raise InputError("--from and --to are seconds from the bag's start, the first of them before.")

    def part_of(self, bag: BagReader) -> Part:
        """Return the same selection in log times. Raises InputError if it begins after the bag's end."""
        start_ns = bag.start_ns + round(self.from_s * 1e9)
        end_ns = bag.end_ns if self.to_s is None else bag.start_ns + round(self.to_s * 1e9)
        if start_ns > bag.end_ns:
            seconds = (bag.end_ns - bag.start_ns) / 1e9
            raise InputError(f"--from {self.from_s:g} is behind the bag's end: it has {seconds:g} seconds.")
        return Part(start_ns, min(end_ns, bag.end_ns), self.every)


@dataclass(frozen=True, eq=False)
class Sight:
    """What it takes to place a box of an image in space."""

    depth: Any  # the message
    target_from_camera: Pose
    camera_from_depth: Pose


@dataclass(frozen=True, eq=False)
class Frame:
    camera: Camera
    recorded: Recorded
    frame_id: str
    stamp_ns: int
    damage: str = ""  # why the message cannot be read
    sight: Sight | None = None
    unplaced: str = ""  # why there is no sight, where there should be


def frames(
    bag: BagReader, topics: Topics, part: Part, targets: Mapping[int, str] | None = None
) -> Iterator[Frame]:
    """Every image of the part. targets: by stamp, the frame in which the truth in space is; without them
    neither depth nor transforms are read."""
    cameras = {one.image: one for one in topics.cameras}
    if not targets:
        for recorded in _chosen(bag.messages(topics.images, part.start_ns, part.end_ns), part):
            yield frame_of(cameras[recorded.topic], recorded)
        return
    depths = {one.depth for one in topics.cameras if one.depth}
    join = _Join(bag, targets)
    read = bag.messages([*cameras, *depths, TF], part.start_ns - WAIT_NS, part.end_ns + WAIT_NS)
    pictures = _Every(part)
    for recorded in read:
        yield from join.until(recorded.stamp_ns - WAIT_NS)
        if recorded.topic in cameras:
            if pictures.takes(recorded):
                join.waiting.append(frame_of(cameras[recorded.topic], recorded))
        else:
            join.hear(recorded)
    yield from join.until(part.end_ns + WAIT_NS)


def frame_of(camera: Camera, recorded: Recorded) -> Frame:
    """An image without a stamp has the time when it was recorded."""
    try:
        header = recorded.message().header
    except InputError as error:
        return Frame(camera, recorded, "", recorded.stamp_ns, damage=str(error))
    return Frame(camera, recorded, header.frame_id, stamp_of(header) or recorded.stamp_ns)


class _Every:
    """Counts the images of each camera."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._seen: Counter[str] = Counter()

    def takes(self, recorded: Recorded) -> bool:
        if not self.part.start_ns <= recorded.stamp_ns <= self.part.end_ns:
            return False
        self._seen[recorded.topic] += 1
        return (self._seen[recorded.topic] - 1) % self.part.every == 0


def _chosen(images: Iterator[Recorded], part: Part) -> Iterator[Recorded]:
    return filter(_Every(part).takes, images)


class _Join:
    def __init__(self, bag: BagReader, targets: Mapping[int, str]) -> None:
        self.waiting: deque[Frame] = deque()
        self._targets = targets
        self._depths: dict[str, deque[tuple[int, Recorded]]] = {}  # their stamps come first
        self._transforms = TransformBuffer()
        for one in bag.messages([TF_STATIC]):
            self._transforms.add(one.message(), static=True)

    def hear(self, recorded: Recorded) -> None:
        """Depth or a transform; a damaged one is as if it had not been sent."""
        try:
            message = recorded.message()
        except InputError:
            return
        if recorded.topic == TF:
            self._transforms.add(message, static=False)
            return
        kept = self._depths.setdefault(recorded.topic, deque())
        kept.append((stamp_of(message.header), recorded))
        while kept[0][1].stamp_ns < recorded.stamp_ns - 4 * WAIT_NS:
            kept.popleft()

    def until(self, log_ns: int) -> Iterator[Frame]:
        """The images recorded until then."""
        while self.waiting and self.waiting[0].recorded.stamp_ns <= log_ns:
            frame = self.waiting.popleft()
            target = self._targets.get(frame.stamp_ns)
            yield self._placed(frame, target) if target and not frame.damage else frame

    def _placed(self, frame: Frame, target: str) -> Frame:
        depth = self._depth_of(frame)
        if depth is None:
            return replace(frame, unplaced="no depth within 50 ms of the image's stamp")
        try:
            from_camera = self._pose(target, frame.frame_id, frame.stamp_ns)
            from_depth = self._pose(frame.frame_id, depth.header.frame_id, frame.stamp_ns)
        except InputError:
            return replace(frame, unplaced="no transform at the image's stamp")
        return replace(frame, sight=Sight(depth, from_camera, from_depth))

    def _depth_of(self, frame: Frame) -> Any | None:
        kept = self._depths.get(frame.camera.depth or "", ())
        best = min(kept, key=lambda one: abs(one[0] - frame.stamp_ns), default=None)
        return best[1].message() if best and abs(best[0] - frame.stamp_ns) <= SLOP_NS else None

    def _pose(self, target: str, source: str, stamp_ns: int) -> Pose:
        if target == source or not source:
            return np.eye(4)
        return self._transforms.lookup(target, source, stamp_ns)

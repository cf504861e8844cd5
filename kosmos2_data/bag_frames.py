"""The images of a recording in order, each with the depth and the transforms of its stamp.

Depth and transforms may be recorded a little later than their image. An image therefore waits until the
recording is WAIT_NS further; what has not come by then is missing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_data.bag_topics import CameraTopics, RecordingTopics
from kosmos2_io.bag_reader import BagReader, MessageError, Recorded
from kosmos2_io.stamps import NS_PER_S, header_ns, ns_of_s, to_ns
from kosmos2_io.transforms import TransformBuffer

WAIT_NS = 500_000_000  # for depth and transforms
SLOP_NS = 50_000_000  # between the stamps of image and depth, as the node's sync_slop_s
TF, TF_STATIC = "/tf", "/tf_static"
Matrix = NDArray[np.float64]  # (4, 4)


@dataclass(frozen=True)
class FrameSpan:
    """A span of log times, both ends included, of which every Nth image of each camera is used."""

    start_ns: int
    end_ns: int
    every_nth: int = 1


@dataclass(frozen=True)
class ImageSelection:
    """The images of a recording that a user wants, in seconds from its start.

    Args:
        from_s: Start of the span.
        to_s: End of the span; None: the end of the recording.
        every_nth: Use every Nth image of each camera.

    Raises:
        InputError: A number is out of range; the sentence names the command-line option.
    """

    from_s: float = 0.0
    to_s: float | None = None
    every_nth: int = 1

    def __post_init__(self) -> None:
        if self.every_nth < 1:
            raise InputError(f"--every {self.every_nth} is not possible: give 1 for every image, or more.")
        if not 0 <= self.from_s < (float("inf") if self.to_s is None else self.to_s):
            raise InputError(
                "--from and --to are seconds from the start of the bag: --from must be the smaller, and not"
                " negative."
            )

    def span_of(self, bag: BagReader) -> FrameSpan:
        """Return the selection in log times. Raises InputError if it begins after the end of the bag."""
        start_ns = bag.start_ns + ns_of_s(self.from_s)
        end_ns = bag.end_ns if self.to_s is None else bag.start_ns + ns_of_s(self.to_s)
        if start_ns > bag.end_ns:
            seconds = (bag.end_ns - bag.start_ns) / NS_PER_S
            raise InputError(f"--from {self.from_s:g} is after the end of the bag, which has {seconds:g} s.")
        return FrameSpan(start_ns, min(end_ns, bag.end_ns), self.every_nth)


@dataclass(frozen=True, eq=False)
class DepthAtStamp:
    """The depth image and the poses that place a box of an image in space.

    Args:
        depth: The depth message, an Image or a CompressedImage.
        target_from_camera: (4, 4), the camera's optical frame in the target frame.
        camera_from_depth: (4, 4), the depth camera's optical frame in the camera's.
    """

    depth: Any
    target_from_camera: Matrix
    camera_from_depth: Matrix


@dataclass(frozen=True, eq=False)
class RecordedFrame:
    """An image of a recording.

    Args:
        camera: The topics of its camera.
        recorded: The message.
        frame_id: The frame in its header.
        stamp_ns: The stamp in its header; without one, the log time.
        damage: Why the message cannot be decoded; empty if it can.
        depth: The depth of its stamp; None if it is missing or not wanted.
        unplaced: Why there is no depth although it is wanted; empty otherwise.
    """

    camera: CameraTopics
    recorded: Recorded
    frame_id: str
    stamp_ns: int
    damage: str = ""
    depth: DepthAtStamp | None = None
    unplaced: str = ""


def read_frames(
    bag: BagReader, topics: RecordingTopics, span: FrameSpan, targets: Mapping[int, str] | None = None
) -> Iterator[RecordedFrame]:
    """Yield every image of the span, in the order of log times.

    Args:
        bag: The recording.
        topics: Its topics.
        span: The images to use.
        targets: By stamp of an image, the frame in which its boxes are to be placed in space. Without
            targets neither depth nor transforms are read.
    """
    cameras = {camera.image: camera for camera in topics.cameras}
    if not targets:
        images = filter(_EveryNth(span).takes, bag.messages(topics.images, span.start_ns, span.end_ns))
        yield from (recorded_frame(cameras[image.topic], image) for image in images)
        return
    depths = {camera.depth for camera in topics.cameras if camera.depth}
    join = _Join(bag, targets)
    every_nth = _EveryNth(span)
    for recorded in bag.messages([*cameras, *depths, TF], span.start_ns - WAIT_NS, span.end_ns + WAIT_NS):
        yield from join.frames_until(recorded.stamp_ns - WAIT_NS)
        if recorded.topic not in cameras:
            join.add(recorded)
        elif every_nth.takes(recorded):
            join.waiting.append(recorded_frame(cameras[recorded.topic], recorded))
    yield from join.frames_until(span.end_ns + WAIT_NS)


def recorded_frame(camera: CameraTopics, recorded: Recorded) -> RecordedFrame:
    """Return an image with its stamp, or with the reason why it cannot be decoded."""
    try:
        header = recorded.message().header
    except MessageError as error:
        return RecordedFrame(camera, recorded, "", recorded.stamp_ns, damage=error.reason)
    except InputError as error:  # a message without a header
        return RecordedFrame(camera, recorded, "", recorded.stamp_ns, damage=str(error))
    return RecordedFrame(camera, recorded, header.frame_id, to_ns(header.stamp) or recorded.stamp_ns)


class _EveryNth:
    """Counts the images of each camera inside a span."""

    def __init__(self, span: FrameSpan) -> None:
        self._span = span
        self._counts: Counter[str] = Counter()

    def takes(self, recorded: Recorded) -> bool:
        if not self._span.start_ns <= recorded.stamp_ns <= self._span.end_ns:
            return False
        self._counts[recorded.topic] += 1
        return (self._counts[recorded.topic] - 1) % self._span.every_nth == 0


class _Join:
    """Joins images with the depth and the transforms of their stamps."""

    def __init__(self, bag: BagReader, targets: Mapping[int, str]) -> None:
        self.waiting: deque[RecordedFrame] = deque()
        self._targets = targets
        self._depths: dict[str, deque[tuple[int, Recorded]]] = {}  # by topic; header stamp and message
        self._transforms = TransformBuffer()
        for recorded in bag.messages([TF_STATIC]):
            self._transforms.add(recorded.message(), static=True)

    def add(self, recorded: Recorded) -> None:
        """Keep a depth image or a transform. A damaged message is skipped, as if it had been lost."""
        try:
            message = recorded.message()
        except InputError:
            return
        if recorded.topic == TF:
            self._transforms.add(message, static=False)
            return
        kept = self._depths.setdefault(recorded.topic, deque())
        kept.append((header_ns(message), recorded))
        while kept[0][1].stamp_ns < recorded.stamp_ns - 4 * WAIT_NS:
            kept.popleft()

    def frames_until(self, log_ns: int) -> Iterator[RecordedFrame]:
        """Yield the waiting images that were recorded until a log time."""
        while self.waiting and self.waiting[0].recorded.stamp_ns <= log_ns:
            frame = self.waiting.popleft()
            target = self._targets.get(frame.stamp_ns)
            yield self._with_depth(frame, target) if target and not frame.damage else frame

    def _with_depth(self, frame: RecordedFrame, target: str) -> RecordedFrame:
        depth = self._depth_of(frame)
        if depth is None:
            return replace(frame, unplaced="no depth within 50 ms of the image's stamp")
        try:
            target_from_camera = self._pose(target, frame.frame_id, frame.stamp_ns)
            camera_from_depth = self._pose(frame.frame_id, depth.header.frame_id, frame.stamp_ns)
        except InputError:
            return replace(frame, unplaced="no transform at the image's stamp")
        return replace(frame, depth=DepthAtStamp(depth, target_from_camera, camera_from_depth))

    def _depth_of(self, frame: RecordedFrame) -> Any | None:
        kept = self._depths.get(frame.camera.depth or "", ())
        nearest = min(kept, key=lambda depth: abs(depth[0] - frame.stamp_ns), default=None)
        if nearest is None or abs(nearest[0] - frame.stamp_ns) > SLOP_NS:
            return None
        return nearest[1].message()

    def _pose(self, target: str, source: str, stamp_ns: int) -> Matrix:
        if target == source or not source:
            return np.eye(4)
        return self._transforms.lookup(target, source, stamp_ns)

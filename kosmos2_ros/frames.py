"""Data of the cameras: the newest frame of each, its depth and calibration, and the outcome of every frame.

Subscriptions store data here, and the inference thread takes it. A new frame replaces the one that waits;
nothing queues up. No rclpy in this file.

The counts of every camera always balance:

    received = processed + replaced + rejected + expired + failed + in_flight
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kosmos2_io.camera_model import CameraModel
from kosmos2_io.stamps import ns_of_s

RECENT_DEPTHS = 8  # depth images kept: depth arrives a little before or after its image
EXPECTED_DEPTHS = 16  # frames whose depth is kept while the model works on them
DEPTH_BYTES = 64 * 2**20  # of the depth images kept for a camera
RECENT_INTERVALS = 4  # between frames, which tell how often a camera sends
MAX_REASONS = 32
OTHER_REASONS = "other reasons"


class FrameOutcome(StrEnum):
    """The outcome of a frame."""

    PROCESSED = "processed"  # its answer was published
    REPLACED = "replaced"  # a newer frame arrived before the model was free
    REJECTED = "rejected"  # the message is no image that can be used
    EXPIRED = "expired"  # it became too old, the command was withdrawn, or the node was deactivated
    FAILED = "failed"  # the model or the publishing raised an error


@dataclass(frozen=True)
class CountsSnapshot:
    """The counts of a camera at one moment."""

    received: int
    outcomes: dict[FrameOutcome, int]
    in_flight: int  # waiting, or with the model
    reasons: dict[str, int]  # of rejected, expired and failed frames: "rejected: the image is empty" -> count

    @property
    def residual(self) -> int:
        """Frames that are unaccounted for; always 0."""
        return self.received - sum(self.outcomes.values()) - self.in_flight


@dataclass
class FrameCounts:
    """Thread-safe counters of the frames of one camera."""

    _received: int = 0
    _in_flight: int = 0
    _outcomes: Counter[FrameOutcome] = field(default_factory=Counter)
    _reasons: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self) -> None:
        """Count a message that arrived; it is in flight until `finish`."""
        with self._lock:
            self._received += 1
            self._in_flight += 1

    def finish(self, outcome: FrameOutcome, reason: str = "") -> None:
        """Count the outcome of a frame that was in flight."""
        with self._lock:
            self._in_flight -= 1
            self._outcomes[outcome] += 1
            if reason:
                self._reasons[self._bounded(f"{outcome}: {reason}")] += 1

    def _bounded(self, reason: str) -> str:
        """Return the key to count a reason under; reasons can quote received data, so there is a limit."""
        return reason if reason in self._reasons or len(self._reasons) < MAX_REASONS else OTHER_REASONS

    def snapshot(self) -> CountsSnapshot:
        """Return a consistent copy."""
        with self._lock:
            outcomes = {outcome: self._outcomes[outcome] for outcome in FrameOutcome}
            return CountsSnapshot(self._received, outcomes, self._in_flight, dict(self._reasons))


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """An image message as it arrived."""

    camera: str
    message: Any  # sensor_msgs Image or CompressedImage
    stamp_ns: int
    arrived_s: float = field(default_factory=time.monotonic)

    def age_ns(self, now_ns: int) -> int:
        """Return the age by the stamp, never negative; a frame with stamp 0 is as old as its arrival.

        Args:
            now_ns: The time of the clock that frames are stamped by.
        """
        if self.stamp_ns == 0:
            return ns_of_s(time.monotonic() - self.arrived_s)
        return max(now_ns - self.stamp_ns, 0)

    def too_old(self, now_ns: int, max_age_ns: int) -> bool:
        """Return True if the age is above a limit; the limit 0 allows any age."""
        return 0 < max_age_ns < self.age_ns(now_ns)


class LatestFrame:
    """The newest frame of one camera. A new frame replaces the waiting one, which is counted."""

    def __init__(self) -> None:
        self.counts = FrameCounts()
        self._waiting: CameraFrame | None = None
        self._newest: CameraFrame | None = None
        self._intervals_s: deque[float] = deque(maxlen=RECENT_INTERVALS)
        self._lock = threading.Lock()

    def store(self, frame: CameraFrame) -> None:
        """Make a frame the newest one."""
        self.counts.receive()
        with self._lock:
            if self._newest:
                self._intervals_s.append(frame.arrived_s - self._newest.arrived_s)
            replaced, self._waiting, self._newest = self._waiting, frame, frame
        if replaced:
            self.counts.finish(FrameOutcome.REPLACED)

    def reject(self, reason: str) -> None:
        """Count a message that is no usable image."""
        self.counts.receive()
        self.counts.finish(FrameOutcome.REJECTED, reason)

    def pop(self) -> CameraFrame | None:
        """Return the waiting frame and remove it; the caller has to `finish` it in the counts."""
        with self._lock:
            frame, self._waiting = self._waiting, None
        return frame

    @property
    def waiting(self) -> bool:
        """True if a frame waits for the model."""
        return self._waiting is not None

    @property
    def newest(self) -> CameraFrame | None:
        """The frame that arrived last, popped or not: service requests are about it."""
        return self._newest

    @property
    def interval_s(self) -> float | None:
        """The longest time between the last frames; None before the second one."""
        return max(tuple(self._intervals_s), default=None)

    def clear(self) -> None:
        """Forget all frames because the node stops listening; a waiting frame counts as expired."""
        if self.pop():
            self.counts.finish(FrameOutcome.EXPIRED, "the node was deactivated")
        self._newest = None
        self._intervals_s.clear()


class DepthBuffer:
    """The depth images of one camera, kept until the frames of the same stamps are answered.

    Attributes:
        rejected: Why the newest depth image was not stored; empty if it was.
    """

    def __init__(self) -> None:
        self.rejected = ""
        self._recent: deque[tuple[int, Any]] = deque(maxlen=RECENT_DEPTHS)
        self._expected: OrderedDict[int, tuple[int, Any] | None] = OrderedDict()
        self._lock = threading.Lock()

    def store(self, stamp_ns: int, message: Any) -> None:
        """Add a depth image. The oldest are dropped when all have more than DEPTH_BYTES."""
        if len(message.data) > DEPTH_BYTES:
            self.reject(f"the depth image has {len(message.data):,} bytes, more than {DEPTH_BYTES:,}.")
            return
        self.rejected = ""
        with self._lock:
            self._recent.append((stamp_ns, message))
            for expected_ns, held in self._expected.items():
                self._expected[expected_ns] = _nearer(expected_ns, held, (stamp_ns, message))
            while self._bytes() > DEPTH_BYTES:
                self._drop_oldest()

    def reject(self, reason: str) -> None:
        """Note why a depth image cannot be used."""
        self.rejected = reason

    def _bytes(self) -> int:
        kept = [*self._recent, *filter(None, self._expected.values())]
        return sum({id(message): len(message.data) for _, message in kept}.values())

    def _drop_oldest(self) -> None:
        """Forget the depth image that is kept longest: one that only frames with the model keep, if any."""
        recent = {id(message) for _, message in self._recent}
        held = [depth for depth in self._expected.values() if depth and id(depth[1]) not in recent]
        oldest = held[0] if held else self._recent.popleft()
        for stamp_ns, depth in self._expected.items():
            if depth and depth[1] is oldest[1]:
                self._expected[stamp_ns] = None

    def expect(self, stamp_ns: int) -> None:
        """Keep the depth image nearest to this stamp, because its frame goes to the model."""
        with self._lock:
            best = self._expected.pop(stamp_ns, None)
            for depth in self._recent:
                best = _nearer(stamp_ns, best, depth)
            self._expected[stamp_ns] = best
            while len(self._expected) > EXPECTED_DEPTHS:
                self._expected.popitem(last=False)

    def find(self, stamp_ns: int, slop_ns: int) -> Any | None:
        """Return the depth image of an expected stamp, or None if none is within `slop_ns`."""
        with self._lock:
            best = self._expected.get(stamp_ns)
        return best[1] if best and abs(best[0] - stamp_ns) <= slop_ns else None

    def clear(self) -> None:
        """Forget all depth images."""
        self.rejected = ""
        with self._lock:
            self._recent.clear()
            self._expected.clear()


def _nearer(stamp_ns: int, a: tuple[int, Any] | None, b: tuple[int, Any]) -> tuple[int, Any]:
    return b if a is None or abs(b[0] - stamp_ns) < abs(a[0] - stamp_ns) else a


class CameraCalibration:
    """The newest CameraInfo of a topic, and its camera model, rebuilt only when the content changes."""

    def __init__(self) -> None:
        self._info: Any = None
        self._content: tuple[Any, ...] = ()
        self._model: CameraModel | None = None
        self._lock = threading.Lock()

    def store(self, info: Any) -> None:
        """Take a sensor_msgs/CameraInfo."""
        self._info = info

    def model(self) -> CameraModel | None:
        """Return the camera model, or None if no CameraInfo has arrived.

        Raises:
            InputError: The CameraInfo is not one of a calibrated camera.
        """
        info = self._info
        if info is None:
            return None
        content = _calibration_of(info)
        with self._lock:
            if self._model is None or content != self._content:
                self._model, self._content = CameraModel.of(info), content
            return self._model

    def clear(self) -> None:
        """Forget the CameraInfo."""
        with self._lock:
            self._info, self._model, self._content = None, None, ()


def _calibration_of(info: Any) -> tuple[Any, ...]:
    """Return what a camera model is made from: everything in a CameraInfo but its header."""
    roi = info.roi
    return (
        (info.width, info.height, info.binning_x, info.binning_y, info.distortion_model),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
        tuple(info.k),
        tuple(info.d),
    )


class CameraData:
    """Everything that one camera sent: frames, depth images and the calibration of both."""

    def __init__(self) -> None:
        self.latest = LatestFrame()
        self.depths = DepthBuffer()
        self.calibration = CameraCalibration()
        self.depth_calibration = CameraCalibration()

    def clear(self) -> None:
        """Forget everything but the counts."""
        self.latest.clear()
        self.depths.clear()
        self.calibration.clear()
        self.depth_calibration.clear()


class FrameStore:
    """The data of all cameras, and a condition that is notified when a frame arrives.

    Args:
        cameras: Names of the cameras.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        self._cameras = {name: CameraData() for name in cameras}
        self.changed = threading.Condition()

    def __getitem__(self, camera: str) -> CameraData:
        return self._cameras[camera]

    def get(self, camera: str) -> CameraData | None:
        """Return the data of a camera, or None if there is none of that name."""
        return self._cameras.get(camera)

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def items(self) -> Iterable[tuple[str, CameraData]]:
        """Return names and data of all cameras."""
        return self._cameras.items()

    def store(self, frame: CameraFrame) -> None:
        """Make a frame the newest one of its camera and wake the thread that waits for frames."""
        self._cameras[frame.camera].latest.store(frame)
        with self.changed:
            self.changed.notify()

    def expect_depth(self, frame: CameraFrame) -> None:
        """Keep the depth image of a frame that goes to the model."""
        if camera := self._cameras.get(frame.camera):
            camera.depths.expect(frame.stamp_ns)

    def finish(self, frame: CameraFrame, outcome: FrameOutcome, reason: str = "") -> None:
        """Count the outcome of a frame that was popped."""
        self._cameras[frame.camera].latest.counts.finish(outcome, reason)

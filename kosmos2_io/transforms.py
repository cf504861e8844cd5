"""A transform buffer like tf2's, for bags and for a ROS 2 without tf2.

buffer = TransformBuffer()
buffer.add(message, static=False)  # a message of /tf
world_from_camera = buffer.lookup("world", "camera", stamp_ns)
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_io.stamps import header_ns, ns_of_s

Array = NDArray[np.float64]

MAX_POSES = 10_000  # kept per link, even if they cover less than the time to keep
MAX_POSES_IN_ALL = 100_000  # of all links together, about 50 MB
MAX_FRAMES = 2_000
MAX_DISTANCE_M = 1e7  # between two frames: as far as map coordinates reach


class TransformError(InputError):
    """A transform is not known.

    Args:
        message: One sentence that says why.
        can_answer_later: What is missing may still arrive.
    """

    def __init__(self, message: str, can_answer_later: bool = False) -> None:
        super().__init__(message)
        self.can_answer_later = can_answer_later


class UnknownFrameError(TransformError):
    """No transform has named a frame yet, so its name may be wrong."""


class Pose(NamedTuple):
    """A position and a rotation as a unit quaternion."""

    position_m: Array
    xyzw: Array


@dataclass
class Link:
    """The pose of a frame in its parent frame, at all times or at certain stamps.

    Args:
        child: Name of the frame.
        parent: Name of its parent.
        static: The pose is valid at all times.
        stamps_ns: Stamps of the poses, ascending.
        poses: The pose at each stamp.
    """

    child: str
    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)

    def add(self, stamp_ns: int, pose: Pose, keep_ns: int) -> str | None:
        """Add a pose; return why it is ignored, or None if it is not."""
        if self.static:
            self.stamps_ns, self.poses = [stamp_ns], [pose]
            return None
        if self.stamps_ns and stamp_ns < self.stamps_ns[-1] - keep_ns:
            return "too old"
        index = bisect_left(self.stamps_ns, stamp_ns)
        if index < len(self.stamps_ns) and self.stamps_ns[index] == stamp_ns:
            return "repeated stamp"
        self.stamps_ns.insert(index, stamp_ns)
        self.poses.insert(index, pose)
        drop = bisect_left(self.stamps_ns, self.stamps_ns[-1] - keep_ns)
        drop = max(drop, len(self.stamps_ns) - MAX_POSES)
        del self.stamps_ns[:drop], self.poses[:drop]
        return None

    def matrix_at(self, stamp_ns: int) -> Array:
        """Return the (4, 4) pose of the child in the parent at a stamp, interpolated between two poses.

        Raises:
            TransformError: The stamp is before the first pose or after the last one.
        """
        if self.static:
            return _matrix(self.poses[0])
        first_ns, last_ns = self.stamps_ns[0], self.stamps_ns[-1]
        if stamp_ns < first_ns:
            raise self._unknown(stamp_ns, first_ns - stamp_ns, "before the first pose", later=False)
        if stamp_ns > last_ns:
            raise self._unknown(stamp_ns, stamp_ns - last_ns, "after the last pose", later=True)
        after = bisect_left(self.stamps_ns, stamp_ns)
        if self.stamps_ns[after] == stamp_ns:
            return _matrix(self.poses[after])
        before_ns, after_ns = self.stamps_ns[after - 1 : after + 1]
        share = (stamp_ns - before_ns) / (after_ns - before_ns)
        return _matrix(_interpolate(self.poses[after - 1], self.poses[after], share))

    def _unknown(self, stamp_ns: int, gap_ns: int, relation: str, later: bool) -> TransformError:
        return TransformError(
            f"the transform of {self.child} in {self.parent} is not known at {stamp_ns / 1e9:.3f} s, which is"
            f" {gap_ns / 1e9:.3f} s {relation} that was received.",
            later,
        )


class TransformBuffer:
    """Transforms received on /tf and /tf_static. It may be used from any thread.

    Args:
        keep_s: Moving transforms are kept for this time.

    Attributes:
        ignored: Number of transforms that were ignored, by reason.
    """

    def __init__(self, keep_s: float = 10.0) -> None:
        self.keep_ns = ns_of_s(keep_s)
        self.ignored: Counter[str] = Counter()
        self._links: dict[str, Link] = {}  # by child
        self._pose_count = 0
        self._changed = threading.Condition()

    def add(self, tf_message: Any, static: bool) -> None:
        """Add a tf2_msgs/TFMessage. Invalid transforms in it are ignored and counted."""
        with self._changed:
            for transform in tf_message.transforms:
                reason = self._add(transform, static)
                if reason is not None:
                    self.ignored[reason] += 1
            self._changed.notify_all()

    def clear(self) -> None:
        """Remove moving transforms, as after a jump in time. Static ones stay: they are not sent again."""
        with self._changed:
            self._links = {child: link for child, link in self._links.items() if link.static}
            self._pose_count = len(self._links)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Array:
        """Return the pose of the source frame in the target frame.

        Args:
            target: The target frame.
            source: The source frame.
            stamp_ns: The time; 0 for the newest time that all links between the two frames have.

        Returns:
            (4, 4), which takes points in the source frame to points in the target frame.

        Raises:
            TransformError: The transform is not known at that time.
        """
        target, source = _name(target), _name(source)
        if target == source:
            return np.eye(4)
        with self._changed:
            up, down = self._links_between(source, target)
            if stamp_ns == 0:
                stamp_ns = min((link.stamps_ns[-1] for link in up + down if not link.static), default=0)
            return _inverse(_chained(down, stamp_ns)) @ _chained(up, stamp_ns)

    def wait_until(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Array:
        """Return the same as `lookup`, but wait up to `timeout_s` for transforms that may still arrive.

        It does not wait for a frame that no transform has named yet, since that is mostly a wrong name.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                try:
                    return self.lookup(target, source, stamp_ns)
                except UnknownFrameError:
                    raise
                except TransformError as error:
                    left_s = deadline_s - time.monotonic()
                    if not error.can_answer_later or left_s <= 0:
                        raise
                self._changed.wait(left_s)

    def _add(self, transform: Any, static: bool) -> str | None:
        parent, child = _name(transform.header.frame_id), _name(transform.child_frame_id)
        if not parent or not child:
            return "no frame name"
        if parent == child:
            return "a frame in itself"
        pose = _pose(transform.transform)
        if pose is None:
            return "not finite, too far, or no rotation"
        link = self._links.get(child)
        if link is None and len(self._links) >= MAX_FRAMES:
            return "too many frames"
        if link is None or (link.parent, link.static) != (parent, static):
            self._pose_count -= len(link.poses) if link else 0  # a new parent: earlier poses do not apply
            link = self._links[child] = Link(child, parent, static)
        before = len(link.poses)
        reason = link.add(header_ns(transform), pose, self.keep_ns)
        self._pose_count += len(link.poses) - before
        if self._pose_count > MAX_POSES_IN_ALL:
            self._drop_poses()
        return reason

    def _drop_poses(self) -> None:
        """Forget the older half of the poses of the link that has most."""
        longest = max(self._links.values(), key=lambda link: len(link.poses))
        half = len(longest.poses) // 2
        del longest.stamps_ns[:half], longest.poses[:half]
        self._pose_count -= half

    def _links_between(self, source: str, target: str) -> tuple[list[Link], list[Link]]:
        """Return the links from each of the two frames up to their nearest common ancestor."""
        known = self._links.keys() | {link.parent for link in self._links.values()}
        for frame in (source, target):
            if frame not in known:
                raise UnknownFrameError(f"the frame {frame} is not known: no transform has named it.", True)
        up, down = _chain(self._links, source), _chain(self._links, target)
        ancestors = [source, *(link.parent for link in up)]
        depth_of = {frame: depth for depth, frame in enumerate(ancestors)}
        for depth, frame in enumerate([target, *(link.parent for link in down)]):
            if frame in depth_of:
                return up[: depth_of[frame]], down[:depth]
        raise TransformError(
            f"the frames {source} and {target} are not connected: one is below {ancestors[-1]}, the other"
            f" below {down[-1].parent if down else target}.",
            True,
        )


def _chain(links: Mapping[str, Link], frame: str) -> list[Link]:
    """Return the links from a frame up to the root of its tree."""
    chain: list[Link] = []
    seen = {frame}
    while (link := links.get(frame)) is not None:
        chain.append(link)
        frame = link.parent
        if frame in seen:
            raise TransformError(
                f"the transforms form a loop at the frame {frame}: correct one of them.", False
            )
        seen.add(frame)
    return chain


def _chained(links: list[Link], stamp_ns: int) -> Array:
    """Return the (4, 4) pose of the first link's child in the last link's parent."""
    pose: Array = np.eye(4)
    for link in links:
        pose = link.matrix_at(stamp_ns) @ pose
    return pose


def _name(frame: str) -> str:
    """Remove the leading slash that old drivers write; ROS 2 frames have none."""
    return frame.removeprefix("/")


def matrix_of(transform: Any) -> Array:
    """Return the (4, 4) matrix of a geometry_msgs/Transform.

    Raises:
        TransformError: It has numbers that are not finite or far too large, or no rotation.
    """
    pose = _pose(transform)
    if pose is None:
        raise TransformError(
            "the transform has numbers that are not finite or far too large, or no rotation: correct its"
            " publisher."
        )
    return _matrix(pose)


def _pose(transform: Any) -> Pose | None:
    translation, rotation = transform.translation, transform.rotation
    position_m = np.array([translation.x, translation.y, translation.z], float)
    xyzw = np.array([rotation.x, rotation.y, rotation.z, rotation.w], float)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(xyzw))
    if not (np.abs(position_m).max() <= MAX_DISTANCE_M and 1e-3 < length < np.inf):  # NaN fails too
        return None
    return Pose(position_m, xyzw / length)


def _interpolate(a: Pose, b: Pose, share: float) -> Pose:
    """Interpolate linearly in position, and spherically along the shorter arc in rotation."""
    cosine = float(a.xyzw @ b.xyzw)
    end = -b.xyzw if cosine < 0 else b.xyzw
    angle = np.arccos(min(abs(cosine), 1.0))
    if angle < 1e-6:
        xyzw = (1 - share) * a.xyzw + share * end
    else:
        xyzw = np.sin((1 - share) * angle) * a.xyzw + np.sin(share * angle) * end
    return Pose(a.position_m + share * (b.position_m - a.position_m), xyzw / np.linalg.norm(xyzw))


def _matrix(pose: Pose) -> Array:
    x, y, z, w = pose.xyzw
    matrix = np.eye(4)
    matrix[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    matrix[:3, 3] = pose.position_m
    return matrix


def _inverse(pose: Array) -> Array:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse

"""The ROS messages of a robot's depth camera for a shot: images, depth, calibration and transforms.

Bags and running ROS nodes use the same functions; they differ in the message factory that they pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_io.messages import DEPTH_ENCODINGS, Messages
from kosmos2_sim.shot import Shot

WORLD = "world"
# REP-103: a body frame has x forward, y left, z up; an optical frame has z forward, x right, y down.
OPTICAL_IN_LINK = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class DepthCamera:
    """A depth camera whose depth is registered to its colour image."""

    messages: Messages
    name: str = "camera"
    raw: bool = True  # publish uncompressed images
    compressed: bool = False  # publish JPEG images
    depth: str = "32FC1"  # the encoding of depth images, one of DEPTH_ENCODINGS
    still: bool = False  # the camera does not move, so its pose is a static transform

    def __post_init__(self) -> None:
        if self.depth not in DEPTH_ENCODINGS:
            known = " or ".join(DEPTH_ENCODINGS)
            raise InputError(f"there is no depth encoding {self.depth!r}: choose {known}.")

    @property
    def optical(self) -> str:
        """The frame id of the images."""
        return f"{self.name}_optical_frame"

    def frame_messages(self, shot: Shot, stamp_ns: int) -> Iterator[tuple[str, Any]]:
        """Yield the messages of one frame with their topics, relative to the camera's name."""
        head = self.messages.header(stamp_ns, self.optical)
        height, width = shot.mask.shape
        info = self.messages.camera_info(head, shot.camera, width, height)
        yield "camera_info", info
        if self.raw:
            yield "image", self.messages.image(head, shot.image)
        if self.compressed:
            yield "image/compressed", self.messages.compressed_image(head, shot.image)
        yield "depth/camera_info", info
        yield "depth/image", self.messages.depth_image(head, shot.depth_m, self.depth)

    def moving_transforms(self, shot: Shot, stamp_ns: int) -> Iterator[Any]:
        """Yield the message for /tf, if the camera moves."""
        if not self.still:
            yield self.messages.transforms(self._in_world(shot, stamp_ns))

    def static_transforms(self, shot: Shot, stamp_ns: int) -> Any:
        """Return the message for /tf_static, from the first shot."""
        link = self.messages.header(stamp_ns, f"{self.name}_link")
        lens = self.messages.transform(link, self.optical, OPTICAL_IN_LINK)
        return self.messages.transforms(lens, *([self._in_world(shot, stamp_ns)] if self.still else []))

    def _in_world(self, shot: Shot, stamp_ns: int) -> Any:
        pose = shot.pose @ np.linalg.inv(OPTICAL_IN_LINK)
        return self.messages.transform(self.messages.header(stamp_ns, WORLD), f"{self.name}_link", pose)

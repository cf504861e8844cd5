"""What a robot's depth camera sends of a shot: images, depth, calibration, and where it is.

The same for bags and for a running ROS: it is given the maker of the messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kosmos2_core.errors import InputError
from kosmos2_io.messages import DEPTH_ENCODINGS, Messages
from kosmos2_sim.truth import Shot

WORLD = "world"
# REP-103: a body's frame is x forward, y left, z up; a camera's optical frame z forward, x right, y down.
OPTICAL_IN_LINK = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class DepthCamera:
    messages: Messages
    name: str = "camera"
    raw: bool = True
    compressed: bool = False  # images as JPEG
    depth: str = "32FC1"  # how depth is encoded, one of DEPTH_ENCODINGS
    still: bool = False  # it does not move

    def __post_init__(self) -> None:
        if self.depth not in DEPTH_ENCODINGS:
            known = " or ".join(DEPTH_ENCODINGS)
            raise InputError(f"there is no depth encoding {self.depth!r}: choose {known}.")

    @property
    def optical(self) -> str:
        """The frame of its images."""
        return f"{self.name}_optical_frame"

    def sense(self, shot: Shot, stamp_ns: int) -> Iterator[tuple[str, Any]]:
        """Topics, after the camera's name, and the messages on them."""
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

    def moving(self, shot: Shot, stamp_ns: int) -> Iterator[Any]:
        """What /tf says of a shot."""
        if not self.still:
            yield self.messages.transforms(self._in_world(shot, stamp_ns))

    def fixed(self, shot: Shot, stamp_ns: int) -> Any:
        """What /tf_static says from the first shot on."""
        link = self.messages.header(stamp_ns, f"{self.name}_link")
        lens = self.messages.transform(link, self.optical, OPTICAL_IN_LINK)
        return self.messages.transforms(lens, *([self._in_world(shot, stamp_ns)] if self.still else []))

    def _in_world(self, shot: Shot, stamp_ns: int) -> Any:
        pose = shot.pose @ np.linalg.inv(OPTICAL_IN_LINK)
        return self.messages.transform(self.messages.header(stamp_ns, WORLD), f"{self.name}_link", pose)

"""Make ROS messages of a robot's sensors from pixels, metres and poses.

The same code makes messages for bags and for a running ROS. It is given the function that makes a message:

    Messages(message_types.new).string("hello")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_core.images import Pixels
from kosmos2_io.stamps import NS_PER_S, sec_nanosec

JPEG_QUALITY = 95
MAX_DURATION_NS = (2**31 - 1) * NS_PER_S  # 68 years: a ROS duration holds no more
DEPTH_ENCODINGS = ("32FC1", "16UC1")  # REP-118: metres; millimetres, 0 where unknown


class MessageFactory(Protocol):
    """Makes messages."""

    def __call__(self, name: str, /, **fields: Any) -> Any:
        """Return a message of a type such as `std_msgs/msg/String`, with all its fields."""


class Messages:
    """Makes messages of images, depth, cameras and transforms.

    Args:
        new: Makes a message, from ROS or from `message_types`.
    """

    def __init__(self, new: MessageFactory) -> None:
        self.new = new

    def header(self, stamp_ns: int, frame: str) -> Any:
        """Make a Header with a stamp and a frame_id."""
        return self.new("std_msgs/msg/Header", stamp=self.time(stamp_ns), frame_id=frame)

    def time(self, stamp_ns: int) -> Any:
        sec, nanosec = sec_nanosec(stamp_ns)
        return self.new("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)

    def duration(self, duration_ns: int) -> Any:
        """Make a Duration. One that is too long for ROS is shortened."""
        sec, nanosec = sec_nanosec(min(duration_ns, MAX_DURATION_NS))
        return self.new("builtin_interfaces/msg/Duration", sec=sec, nanosec=nanosec)

    def string(self, text: str) -> Any:
        return self.new("std_msgs/msg/String", data=text)

    # Images.

    def image(self, head: Any, pixels: Pixels) -> Any:
        """Make an Image in rgb8."""
        return self._image(head, "rgb8", pixels)

    def compressed_image(self, head: Any, pixels: Pixels) -> Any:
        """Make a CompressedImage with a JPEG, in the format that image_transport names."""
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
        return self.new(
            "sensor_msgs/msg/CompressedImage",
            header=head,
            format="rgb8; jpeg compressed bgr8",
            data=data.ravel(),
        )

    def depth_image(self, head: Any, depth_m: NDArray[np.float32], encoding: str) -> Any:
        """Make a depth image.

        Args:
            head: The header.
            depth_m: (H, W) depth, NaN where unknown.
            encoding: One of DEPTH_ENCODINGS. 16UC1 stores distances that do not fit as unknown.
        """
        if encoding == "32FC1":
            return self._image(head, encoding, depth_m.astype("<f4"))
        depth_mm = np.rint(depth_m.astype(np.float64) * 1000)
        known = (depth_mm > 0) & (depth_mm < 1 << 16)  # NaN is neither
        return self._image(head, encoding, np.where(known, depth_mm, 0).astype("<u2"))

    def _image(self, head: Any, encoding: str, pixels: NDArray[Any]) -> Any:
        return self.new(
            "sensor_msgs/msg/Image",
            header=head,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels[0].nbytes,
            data=np.ascontiguousarray(pixels).view(np.uint8).ravel(),
        )

    def camera_info(self, head: Any, matrix: NDArray[np.float64], width: int, height: int) -> Any:
        """Make the CameraInfo of a pinhole camera without distortion.

        Args:
            head: The header.
            matrix: (3, 3) camera matrix for pixels that count from the corner of the image. ROS counts from
                the centre of the first pixel, so its principal point is half a pixel less.
            width: Width of the image in pixels.
            height: Height of the image in pixels.
        """
        k = matrix.copy()
        k[:2, 2] -= 0.5
        whole_image = self.new(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        return self.new(
            "sensor_msgs/msg/CameraInfo",
            header=head,
            height=height,
            width=width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.hstack([k, np.zeros((3, 1))]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=whole_image,
        )

    # Transforms and poses.

    def transforms(self, *transforms: Any) -> Any:
        """Make a TFMessage of TransformStamped messages."""
        return self.new("tf2_msgs/msg/TFMessage", transforms=list(transforms))

    def transform(self, head: Any, child: str, pose: NDArray[np.float64]) -> Any:
        """Make a TransformStamped from the (4, 4) pose of the child frame in the frame of the header."""
        transform = self.new(
            "geometry_msgs/msg/Transform",
            translation=self.vector(pose[:3, 3]),
            rotation=self.rotation(quaternion_xyzw(pose[:3, :3])),
        )
        return self.new(
            "geometry_msgs/msg/TransformStamped", header=head, child_frame_id=child, transform=transform
        )

    def pose(self, position_m: Iterable[float], xyzw: Sequence[float]) -> Any:
        """Make a Pose from a position and a quaternion."""
        x, y, z = map(float, position_m)
        return self.new(
            "geometry_msgs/msg/Pose",
            position=self.new("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=self.rotation(xyzw),
        )

    def vector(self, values: Iterable[float]) -> Any:
        x, y, z = map(float, values)
        return self.new("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def rotation(self, xyzw: Sequence[float]) -> Any:
        x, y, z, w = map(float, xyzw)
        return self.new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def quaternion_xyzw(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the quaternion of a rotation matrix, exact at every angle (Bar-Itzhack 2000)."""
    m = rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m.trace()],
        ]
    )
    x, y, z, w = map(
        float, np.linalg.eigh(k)[1][:, -1]
    )  # uses the lower triangle; the largest eigenvalue is last
    return (x, y, z, w) if w >= 0 else (-x, -y, -z, -w)

"""ROS messages from what the rest of the project speaks: pixels, metres, poses, answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import Box
from kosmos2_core.image import Pixels
from kosmos2_core.results import Answer, Entity
from kosmos2_io.message_types import new

JPEG_QUALITY = 95
DEPTH_ENCODINGS = ("32FC1", "16UC1")  # REP-118: metres; millimetres, 0 where unknown


@dataclass(frozen=True)
class Box3D:
    """A box in the frame of its message's header, turned about its centre."""

    centre_m: tuple[float, float, float]
    extent_m: tuple[float, float, float]  # its sides
    quaternion_xyzw: tuple[float, float, float, float]


def header(stamp_ns: int, frame: str) -> Any:
    return new("std_msgs/msg/Header", stamp=time(stamp_ns), frame_id=frame)


def time(stamp_ns: int) -> Any:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return new("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)


def string(text: str) -> Any:
    return new("std_msgs/msg/String", data=text)


def image(head: Any, pixels: Pixels) -> Any:
    return _image(head, "rgb8", pixels)


def compressed_image(head: Any, pixels: Pixels) -> Any:
    """A JPEG, named as image_transport names it."""
    data = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    )[1]
    return new(
        "sensor_msgs/msg/CompressedImage", header=head, format="rgb8; jpeg compressed bgr8", data=data.ravel()
    )


def depth_image(head: Any, depth_m: NDArray[np.float32], encoding: str) -> Any:
    """encoding: one of DEPTH_ENCODINGS. What does not fit into 16 bits of millimetres is unknown there."""
    if encoding == "32FC1":
        return _image(head, encoding, depth_m.astype("<f4"))
    depth_mm = np.rint(depth_m.astype(np.float64) * 1000)
    known = (depth_mm > 0) & (depth_mm < 1 << 16)  # NaN is neither
    return _image(head, encoding, np.where(known, depth_mm, 0).astype("<u2"))


def _image(head: Any, encoding: str, pixels: NDArray[Any]) -> Any:
    return new(
        "sensor_msgs/msg/Image",
        header=head,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].nbytes,
        data=np.ascontiguousarray(pixels).view(np.uint8).ravel(),
    )


def camera_info(head: Any, camera: NDArray[np.float64], width: int, height: int) -> Any:
    """Of a pinhole camera without distortion. camera: its matrix, where the first pixel covers 0 to 1.

    To ROS, as to OpenCV, the first pixel's centre is at 0: its principal point is half a pixel less.
    """
    k = camera.copy()
    k[:2, 2] -= 0.5
    return new(
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
        roi=new(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )


def transforms(*those: Any) -> Any:
    return new("tf2_msgs/msg/TFMessage", transforms=list(those))


def transform(head: Any, child: str, pose: NDArray[np.float64]) -> Any:
    """pose: (4, 4), the child's frame in the frame of the header."""
    return new(
        "geometry_msgs/msg/TransformStamped",
        header=head,
        child_frame_id=child,
        transform=new(
            "geometry_msgs/msg/Transform",
            translation=_vector(pose[:3, 3]),
            rotation=_rotation(quaternion_xyzw(pose[:3, :3])),
        ),
    )


def quaternion_xyzw(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Of a rotation matrix, exact at every angle (Bar-Itzhack 2000)."""
    m = rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m.trace()],
        ]
    )
    x, y, z, w = map(float, np.linalg.eigh(k)[1][:, -1])  # of the lower triangle; the largest value is last
    return (x, y, z, w) if w >= 0 else (-x, -y, -z, -w)


def grounded_frame(
    head: Any, camera: str, command_id: str, answer: Answer, width: int, height: int, model: str
) -> Any:
    """An answer about an image of this size. A score or a presence that nobody asked for is NaN."""
    return new(
        "kosmos2/msg/GroundedFrame",
        header=head,
        camera=camera,
        command_id=command_id,
        text=answer.text,
        markdown=answer.markdown,
        phrases=[_phrase(one, width, height) for one in answer.phrases],
        image_width=width,
        image_height=height,
        frame_age=new("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
        inference_time=new("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
        model=model,
    )


def _phrase(entity: Entity, width: int, height: int) -> Any:
    upper_left, lower_right = zip(*entity.cells, strict=True) if entity.cells else ((), ())
    return new(
        "kosmos2/msg/GroundedPhrase",
        phrase=entity.phrase,
        span_start=entity.start,
        span_end=entity.end,
        boxes=[_box(box, width, height) for box in entity.boxes],
        presence=_number(entity.presence),
        patch_upper_left=np.array(upper_left, np.uint16),
        patch_lower_right=np.array(lower_right, np.uint16),
    )


def _box(box: Box, width: int, height: int) -> Any:
    x_min, y_min, x_max, y_max = box.pixels(width, height)
    return new(
        "kosmos2/msg/Box", x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max, score=_number(box.score)
    )


def identified(command_id: str, answer: Answer) -> Iterator[tuple[str, int, int]]:
    """Each box's id, the same in 2D and 3D, with its phrase's index and its rank, both from 0."""
    for index, entity in enumerate(answer.phrases):
        for rank in range(len(entity.boxes)):
            yield f"{command_id}/{index}/{rank}", index, rank


def detections(head: Any, command_id: str, answer: Answer, width: int, height: int) -> Any:
    """All boxes of an answer about an image of this size."""
    found = []
    for name, index, rank in identified(command_id, answer):
        entity = answer.phrases[index]
        box = entity.boxes[rank]
        x_min, y_min, x_max, y_max = box.pixels(width, height)
        centre = new("vision_msgs/msg/Point2D", x=(x_min + x_max) / 2, y=(y_min + y_max) / 2)
        found.append(
            new(
                "vision_msgs/msg/Detection2D",
                header=head,
                results=[_hypothesis(entity.phrase, box.score, _pose((0, 0, 0), (0, 0, 0, 1)))],
                bbox=new(
                    "vision_msgs/msg/BoundingBox2D",
                    center=new("vision_msgs/msg/Pose2D", position=centre, theta=0.0),
                    size_x=x_max - x_min,
                    size_y=y_max - y_min,
                ),
                id=name,
            )
        )
    return new("vision_msgs/msg/Detection2DArray", header=head, detections=found)


def detections_3d(
    head: Any, command_id: str, answer: Answer, solids: Iterable[Sequence[Box3D | None]]
) -> Any:
    """solids: for each phrase, where each of its boxes is in the header's frame; None: not known."""
    boxes = [tuple(each) for each in solids]
    found = []
    for name, index, rank in identified(command_id, answer):
        entity, solid = answer.phrases[index], boxes[index][rank]
        if solid is None:
            continue
        pose = _pose(solid.centre_m, solid.quaternion_xyzw)
        size = _vector(solid.extent_m)
        found.append(
            new(
                "vision_msgs/msg/Detection3D",
                header=head,
                results=[_hypothesis(entity.phrase, entity.boxes[rank].score, pose)],
                bbox=new("vision_msgs/msg/BoundingBox3D", center=pose, size=size),
                id=name,
            )
        )
    return new("vision_msgs/msg/Detection3DArray", header=head, detections=found)


def _hypothesis(phrase: str, score: float | None, pose: Any) -> Any:
    return new(
        "vision_msgs/msg/ObjectHypothesisWithPose",
        hypothesis=new("vision_msgs/msg/ObjectHypothesis", class_id=phrase, score=_number(score)),
        pose=new("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
    )


def _pose(position_m: Sequence[float], xyzw: Sequence[float]) -> Any:
    x, y, z = map(float, position_m)
    return new(
        "geometry_msgs/msg/Pose",
        position=new("geometry_msgs/msg/Point", x=x, y=y, z=z),
        orientation=_rotation(xyzw),
    )


def _vector(values: Iterable[float]) -> Any:
    x, y, z = map(float, values)
    return new("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def _rotation(xyzw: Sequence[float]) -> Any:
    x, y, z, w = map(float, xyzw)
    return new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def _number(probability: float | None) -> float:
    return math.nan if probability is None else probability

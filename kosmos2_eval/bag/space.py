"""Where in space a box found in an image is, by the recording's depth and transforms."""

from __future__ import annotations

from collections.abc import Mapping

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_data.bag_frames import RecordedFrame
from kosmos2_data.bag_labels import Point
from kosmos2_data.bag_topics import RecordingTopics
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.camera_model import CameraModel
from kosmos2_io.placement import DepthScene, NoPlacement, PlacementError, place_boxes

Models = Mapping[str, CameraModel]


def read_models(bag: BagReader, topics: RecordingTopics) -> Models:
    """By the topic of a CameraInfo, what its first message says. A camera that is not calibrated is left
    out."""
    infos = {topic for one in topics.cameras for topic in (one.info, one.depth_info) if topic}
    models = {}
    for topic in sorted(infos):
        first = next(bag.messages([topic]), None)
        try:
            if first:
                models[topic] = CameraModel.of(first.message())
        except InputError:
            continue
    return models


class Place:
    """Places boxes of a frame in the frame of the truth, by the same function as the node.

    Args:
        frame: An image of the recording.
        models: Camera models by the topic of their CameraInfo.
        size_px: Width and height of the image.
    """

    def __init__(self, frame: RecordedFrame, models: Models, size_px: tuple[int, int]) -> None:
        self._size_px, self._unplaced = size_px, frame.unplaced
        self._scene = _scene(frame, models, size_px)

    def of(self, box: Box) -> tuple[Point | None, str]:
        """Return the middle of what is seen of the object in the box, or None and the reason."""
        if self._scene is None:
            return None, self._unplaced
        try:
            [solid] = place_boxes(self._scene, [box.pixels(*self._size_px)])
        except PlacementError as error:
            unknown = error.reason is NoPlacement.NO_CAMERA_INFO
            return None, error.reason.value if unknown else str(error)
        return (solid.centre_m, "") if solid else (None, "too few depths in the box are known")


def _scene(frame: RecordedFrame, models: Models, size_px: tuple[int, int]) -> DepthScene | None:
    if frame.depth is None:
        return None
    return DepthScene(
        depth=frame.depth.depth,
        camera=models.get(frame.camera.info or frame.camera.depth_info or ""),
        depth_camera=models.get(frame.camera.depth_info or frame.camera.info or ""),
        camera_from_depth=frame.depth.camera_from_depth,
        target_from_camera=frame.depth.target_from_camera,
        image_size_px=size_px,
    )

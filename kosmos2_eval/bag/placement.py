"""3D positions of boxes in an image of a recording, by the same function that the node uses."""

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

CameraModels = Mapping[str, CameraModel]


def read_camera_models(bag: BagReader, topics: RecordingTopics) -> CameraModels:
    """Return camera models by the topic of their CameraInfo; a camera that is not calibrated is left out.

    The first message of a topic is used.
    """
    infos = {topic for camera in topics.cameras for topic in (camera.info, camera.depth_info) if topic}
    models = {}
    for topic in sorted(infos):
        first = next(bag.messages([topic]), None)
        try:
            if first:
                models[topic] = CameraModel.of(first.message())
        except InputError:
            continue
    return models


class FramePlacer:
    """Computes the 3D positions of boxes in one image, in the frame of the 3D labels.

    Args:
        frame: the image, with depth and transforms of its stamp.
        models: camera models by the topic of their CameraInfo.
        size_px: width and height of the image.
    """

    def __init__(self, frame: RecordedFrame, models: CameraModels, size_px: tuple[int, int]) -> None:
        self._size_px, self._unplaced = size_px, frame.unplaced
        self._scene = _scene(frame, models, size_px)

    def place(self, box: Box) -> tuple[Point | None, str]:
        """Return the centre of the visible part of the object in a box, or None and the reason."""
        if self._scene is None:
            return None, self._unplaced
        try:
            [solid] = place_boxes(self._scene, [box.pixels(*self._size_px)])
        except PlacementError as error:
            unknown = error.reason is NoPlacement.NO_CAMERA_INFO
            return None, error.reason.value if unknown else str(error)
        return (solid.centre_m, "") if solid else (None, "too few depths in the box are known")


def _scene(frame: RecordedFrame, models: CameraModels, size_px: tuple[int, int]) -> DepthScene | None:
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

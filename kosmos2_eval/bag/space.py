"""Where in space a box found in an image is, by the recording's depth and transforms."""

from __future__ import annotations

from collections.abc import Mapping

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_data.bag_frames import Frame
from kosmos2_data.bag_labels import Point
from kosmos2_data.bag_topics import Topics
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.camera_model import CameraModel
from kosmos2_io.depth import to_depth_m
from kosmos2_io.lifting import DepthView, lift

Models = Mapping[str, CameraModel]


def read_models(bag: BagReader, topics: Topics) -> Models:
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
    """Of a frame: from boxes in it to places in the frame of the truth."""

    def __init__(self, frame: Frame, models: Models) -> None:
        self._frame, self._why = frame, frame.unplaced
        self._view: DepthView | None = None
        if frame.sight:
            try:
                self._view = _depth_view(frame, models)
            except InputError as error:
                self._why = str(error)

    def of(self, box: Box) -> tuple[Point | None, str]:
        """The middle of what is seen of the object in the box; else why it is not known."""
        if self._view is None or self._frame.sight is None:
            return None, self._why
        camera = self._view.image_camera
        pose = self._frame.sight.target_from_camera
        solid = lift(box.pixels(camera.width, camera.height), self._view, pose)
        return (solid.centre_m, "") if solid else (None, "too few depths in the box are known")


def _depth_view(frame: Frame, models: Models) -> DepthView:
    assert frame.sight is not None
    image, depth = (
        models.get(one or "")
        for one in (
            frame.camera.info or frame.camera.depth_info,
            frame.camera.depth_info or frame.camera.info,
        )
    )
    if image is None or depth is None:
        raise InputError("no CameraInfo of a calibrated camera")
    return DepthView(to_depth_m(frame.sight.depth), depth, image, frame.sight.camera_from_depth)

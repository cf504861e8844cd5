"""Make ROS messages from the engine's answer about an image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_io.messages import Messages

NO_ROTATION = (0.0, 0.0, 0.0, 1.0)  # a quaternion, x y z w


@dataclass(frozen=True)
class AnswerContext:
    """The image that an answer is about, and the model that gave it.

    Args:
        header: Header of the image; messages copy it unchanged.
        camera: Name of the camera.
        command_id: Id of the command or of the request.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        model: Name of the model.
        inference_ns: Time that the model took.
        age_ns: Time from the stamp of the image to now.
    """

    header: Any
    camera: str
    command_id: str
    width: int
    height: int
    model: str
    inference_ns: int = 0
    age_ns: int = 0


@dataclass(frozen=True)
class Box3D:
    """A box in space.

    Args:
        centre_m: Its centre.
        extent_m: Its sides.
        quaternion_xyzw: Its rotation about the centre.
        covariance: (6, 6) of x, y, z and the rotations about them, row by row.
    """

    centre_m: tuple[float, float, float]
    extent_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]
    covariance: tuple[float, ...] = (0.0,) * 36


class AnswerMessages:
    """Makes messages from answers.

    Args:
        messages: Makes the messages that they contain.
    """

    def __init__(self, messages: Messages) -> None:
        self.make, self.new = messages, messages.new

    def grounded_frame(self, context: AnswerContext, answer: Answer) -> Any:
        """Make a GroundedFrame. A score or a presence that the answer does not have is NaN."""
        return self.new(
            "kosmos2/msg/GroundedFrame",
            header=context.header,
            camera=context.camera,
            command_id=context.command_id,
            text=answer.text,
            markdown=answer.markdown,
            phrases=self.phrases(answer, context.width, context.height),
            image_width=context.width,
            image_height=context.height,
            frame_age=self.make.duration(context.age_ns),
            inference_time=self.make.duration(context.inference_ns),
            model=context.model,
        )

    def phrases(self, answer: Answer, width: int, height: int) -> list[Any]:
        """Make a GroundedPhrase for each phrase of an answer about an image of this size."""
        return [self._phrase(phrase, width, height) for phrase in answer.phrases]

    def _phrase(self, entity: Entity, width: int, height: int) -> Any:
        upper_left, lower_right = zip(*entity.cells, strict=True) if entity.cells else ((), ())
        return self.new(
            "kosmos2/msg/GroundedPhrase",
            phrase=entity.phrase,
            span_start=entity.start,
            span_end=entity.end,
            boxes=[self._box(box, width, height) for box in entity.boxes],
            presence=_number(entity.presence),
            patch_upper_left=np.array(upper_left, np.uint16),
            patch_lower_right=np.array(lower_right, np.uint16),
        )

    def _box(self, box: Box, width: int, height: int) -> Any:
        x_min, y_min, x_max, y_max = box.pixels(width, height)
        return self.new(
            "kosmos2/msg/Box", x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max, score=_number(box.score)
        )

    def detections(self, context: AnswerContext, answer: Answer) -> Any:
        """Make a Detection2DArray with all boxes of an answer."""
        detections = []
        for detection_id, index, rank in box_ids(context.command_id, answer):
            entity = answer.phrases[index]
            box = entity.boxes[rank]
            x_min, y_min, x_max, y_max = box.pixels(context.width, context.height)
            centre = self.new("vision_msgs/msg/Point2D", x=(x_min + x_max) / 2, y=(y_min + y_max) / 2)
            detections.append(
                self.new(
                    "vision_msgs/msg/Detection2D",
                    header=context.header,
                    results=[
                        self._hypothesis(entity.phrase, box.score, self.make.pose((0, 0, 0), NO_ROTATION))
                    ],
                    bbox=self.new(
                        "vision_msgs/msg/BoundingBox2D",
                        center=self.new("vision_msgs/msg/Pose2D", position=centre, theta=0.0),
                        size_x=x_max - x_min,
                        size_y=y_max - y_min,
                    ),
                    id=detection_id,
                )
            )
        return self.new("vision_msgs/msg/Detection2DArray", header=context.header, detections=detections)

    def detections_3d(
        self, head: Any, command_id: str, answer: Answer, solids: Iterable[Sequence[Box3D | None]]
    ) -> Any:
        """Make a Detection3DArray.

        Args:
            head: Header with the frame that the solids are in.
            command_id: Id of the command or of the request.
            answer: The answer.
            solids: For each phrase, the place of each of its boxes; None where it is not known.
        """
        solid_lists = [tuple(of_phrase) for of_phrase in solids]
        detections = []
        for detection_id, index, rank in box_ids(command_id, answer):
            entity, solid = answer.phrases[index], solid_lists[index][rank]
            if solid is None:
                continue
            pose = self.make.pose(solid.centre_m, solid.quaternion_xyzw)
            score = entity.boxes[rank].score
            detections.append(
                self.new(
                    "vision_msgs/msg/Detection3D",
                    header=head,
                    results=[self._hypothesis(entity.phrase, score, pose, solid.covariance)],
                    bbox=self.new(
                        "vision_msgs/msg/BoundingBox3D", center=pose, size=self.make.vector(solid.extent_m)
                    ),
                    id=detection_id,
                )
            )
        return self.new("vision_msgs/msg/Detection3DArray", header=head, detections=detections)

    def _hypothesis(
        self, phrase: str, score: float | None, pose: Any, covariance: Sequence[float] = (0.0,) * 36
    ) -> Any:
        return self.new(
            "vision_msgs/msg/ObjectHypothesisWithPose",
            hypothesis=self.new("vision_msgs/msg/ObjectHypothesis", class_id=phrase, score=_number(score)),
            pose=self.new(
                "geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.array(covariance, float)
            ),
        )


def box_ids(command_id: str, answer: Answer) -> Iterator[tuple[str, int, int]]:
    """Yield the id of each box, the same in 2D and 3D, with the index of its phrase and its rank, from 0."""
    for index, entity in enumerate(answer.phrases):
        for rank in range(len(entity.boxes)):
            yield f"{command_id}/{index}/{rank}", index, rank


def _number(probability: float | None) -> float:
    return math.nan if probability is None else probability

"""ROS messages of what the engine answered about an image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_io.messages import Messages

UPRIGHT = (0.0, 0.0, 0.0, 1.0)  # a quaternion, x y z w


@dataclass(frozen=True)
class AnswerContext:
    """What an answer is about, and who answered."""

    header: Any  # the image's, copied as it is
    camera: str
    command_id: str
    width: int  # of the image, pixels
    height: int
    model: str
    inference_ns: int = 0
    age_ns: int = 0  # from the image's stamp to now


@dataclass(frozen=True)
class Box3D:
    """A box in some frame, turned about its centre."""

    centre_m: tuple[float, float, float]
    extent_m: tuple[float, float, float]  # its sides
    quaternion_xyzw: tuple[float, float, float, float]
    covariance: tuple[float, ...] = (0.0,) * 36  # of x, y, z and turns about them, row by row


class AnswerMessages:
    def __init__(self, messages: Messages) -> None:
        self.make, self.new = messages, messages.new

    def grounded_frame(self, asked: AnswerContext, answer: Answer) -> Any:
        """A score or a presence that nobody asked for is NaN."""
        return self.new(
            "kosmos2/msg/GroundedFrame",
            header=asked.header,
            camera=asked.camera,
            command_id=asked.command_id,
            text=answer.text,
            markdown=answer.markdown,
            phrases=self.phrases(answer, asked.width, asked.height),
            image_width=asked.width,
            image_height=asked.height,
            frame_age=self.make.duration(asked.age_ns),
            inference_time=self.make.duration(asked.inference_ns),
            model=asked.model,
        )

    def phrases(self, answer: Answer, width: int, height: int) -> list[Any]:
        return [self._phrase(one, width, height) for one in answer.phrases]

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

    def detections(self, asked: AnswerContext, answer: Answer) -> Any:
        """All boxes of an answer."""
        found = []
        for name, index, rank in identified(asked.command_id, answer):
            entity = answer.phrases[index]
            box = entity.boxes[rank]
            x_min, y_min, x_max, y_max = box.pixels(asked.width, asked.height)
            centre = self.new("vision_msgs/msg/Point2D", x=(x_min + x_max) / 2, y=(y_min + y_max) / 2)
            found.append(
                self.new(
                    "vision_msgs/msg/Detection2D",
                    header=asked.header,
                    results=[self._hypothesis(entity.phrase, box.score, self.make.pose((0, 0, 0), UPRIGHT))],
                    bbox=self.new(
                        "vision_msgs/msg/BoundingBox2D",
                        center=self.new("vision_msgs/msg/Pose2D", position=centre, theta=0.0),
                        size_x=x_max - x_min,
                        size_y=y_max - y_min,
                    ),
                    id=name,
                )
            )
        return self.new("vision_msgs/msg/Detection2DArray", header=asked.header, detections=found)

    def detections_3d(
        self, head: Any, command_id: str, answer: Answer, solids: Iterable[Sequence[Box3D | None]]
    ) -> Any:
        """solids: for each phrase, where each of its boxes is in the header's frame; None: not known."""
        boxes = [tuple(each) for each in solids]
        found = []
        for name, index, rank in identified(command_id, answer):
            entity, solid = answer.phrases[index], boxes[index][rank]
            if solid is None:
                continue
            pose = self.make.pose(solid.centre_m, solid.quaternion_xyzw)
            score = entity.boxes[rank].score
            found.append(
                self.new(
                    "vision_msgs/msg/Detection3D",
                    header=head,
                    results=[self._hypothesis(entity.phrase, score, pose, solid.covariance)],
                    bbox=self.new(
                        "vision_msgs/msg/BoundingBox3D", center=pose, size=self.make.vector(solid.extent_m)
                    ),
                    id=name,
                )
            )
        return self.new("vision_msgs/msg/Detection3DArray", header=head, detections=found)

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


def identified(command_id: str, answer: Answer) -> Iterator[tuple[str, int, int]]:
    """Each box's id, the same in 2D and 3D, with its phrase's index and its rank, both from 0."""
    for index, entity in enumerate(answer.phrases):
        for rank in range(len(entity.boxes)):
            yield f"{command_id}/{index}/{rank}", index, rank


def _number(probability: float | None) -> float:
    return math.nan if probability is None else probability

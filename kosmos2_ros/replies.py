"""Messages of the worker's results: what the stream publishes and what services return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kosmos2_io.answer_messages import AnswerContext
from kosmos2_ros.ros_messages import ANSWERS
from kosmos2_ros.spatial import Placed, Spatial
from kosmos2_ros.worker import Result


class Replies:
    """model: how messages name it. now_ns: the node's clock."""

    def __init__(self, model: str, spatial: Spatial, now_ns: Callable[[], int]) -> None:
        self._model, self._spatial, self._now_ns = model, spatial, now_ns

    def frame(self, result: Result, command_id: str) -> Any:
        return ANSWERS.grounded_frame(self._asked(result, command_id), result.answer)

    def detections(self, result: Result, command_id: str) -> Any:
        return ANSWERS.detections(self._asked(result, command_id), result.answer)

    def placed(self, result: Result) -> Placed:
        """Where the boxes are in space. QueryError: why that is not known."""
        return self._spatial.place(result)

    def detections_3d(self, result: Result, command_id: str, placed: Placed) -> Any:
        return ANSWERS.detections_3d(placed.header, command_id, result.answer, placed.solids)

    def _asked(self, result: Result, command_id: str) -> AnswerContext:
        height, width = result.pixels.shape[:2]
        return AnswerContext(
            header=result.frame.message.header,
            camera=result.frame.camera,
            command_id=command_id,
            width=width,
            height=height,
            model=self._model,
            inference_ns=result.inference_ns,
            age_ns=result.frame.age_ns(self._now_ns()),
        )

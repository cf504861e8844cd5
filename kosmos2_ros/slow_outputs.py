"""The node's second thread: it publishes what takes long, so that the model's thread never waits for it.

Boxes in space need depth images and transforms, which may arrive late, and pictures take long to draw. Each
camera has one result that waits for this thread. A newer result replaces it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from kosmos2_core.drawing import draw
from kosmos2_ros.errors import RequestError
from kosmos2_ros.messages import ROS
from kosmos2_ros.outputs import CameraOutput, ResultMessages, markers
from kosmos2_ros.work import InferenceResult


class SlowOutputs:
    """Publishes boxes in space, markers and pictures, in a thread of its own.

    Args:
        outputs: The publishers of each camera.
        messages: Makes the messages.
        annotate: Returns whether pictures and markers are wanted.
        log_error: Logs an unexpected exception.
    """

    def __init__(
        self,
        outputs: Mapping[str, CameraOutput],
        messages: ResultMessages,
        annotate: Callable[[], bool],
        log_error: Callable[[Exception], None],
    ) -> None:
        self._outputs, self._messages = outputs, messages
        self._annotate, self._log_error = annotate, log_error
        self._waiting: dict[str, InferenceResult] = {}  # by camera; the one that waits longest is first
        self._problems: dict[str, str] = {}
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="kosmos2-slow-outputs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop the thread. If it still waits for a transform after this time, its result is dropped later."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def add(self, result: InferenceResult) -> None:
        """Publish a result soon, if somebody listens. It replaces an older one of its camera that waits."""
        camera = result.frame.camera
        if not self._listeners(self._outputs[camera]):
            self._problems.pop(camera, None)
            return
        with self._changed:
            self._waiting[camera] = result
            self._changed.notify()

    @property
    def problems(self) -> Mapping[str, str]:
        """Why the last result had no boxes in space though somebody listens to them, by camera."""
        return self._problems

    def _listeners(self, output: CameraOutput) -> int:
        """Return how many listen to what this thread publishes."""
        count = output.detections_3d.get_subscription_count()
        if self._annotate():
            count += output.markers.get_subscription_count() + output.annotated.get_subscription_count()
        return int(count)

    def _loop(self) -> None:
        while result := self._next_result():
            try:
                self._publish(result)
            except Exception as error:  # an error costs this result only
                self._log_error(error)

    def _next_result(self) -> InferenceResult | None:
        """Return the result that waits longest, or None to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            return self._waiting.pop(next(iter(self._waiting)))

    def _publish(self, result: InferenceResult) -> None:
        output, annotate = self._outputs[result.frame.camera], self._annotate()
        with_markers = annotate and output.markers.get_subscription_count() > 0
        if with_markers or output.detections_3d.get_subscription_count():
            self._publish_3d(output, result, with_markers)
        if self._stopping:  # the publishers may be destroyed soon
            return
        if annotate and output.annotated.get_subscription_count():
            picture = draw(result.pixels, result.answer.phrases, missing=True)
            if not self._stopping:
                output.annotated.publish(ROS.image(result.frame.message.header, picture))

    def _publish_3d(self, output: CameraOutput, result: InferenceResult, with_markers: bool) -> None:
        assert result.command is not None
        camera = result.frame.camera
        try:
            detections_3d = self._messages.detections_3d(result, result.command.id)
        except RequestError as error:  # /diagnostics says it: the camera may have no depth at all
            self._problems[camera] = str(error)
            return
        self._problems.pop(camera, None)
        if self._stopping:
            return
        output.detections_3d.publish(detections_3d)
        if with_markers:
            output.markers.publish(markers(detections_3d))

"""The publishers of one camera's answers, and the messages that the stream and the services send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import Any

from kosmos2.msg import GroundedFrame
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from kosmos2_core.drawing import COLOURS
from kosmos2_io.answer_messages import AnswerContext
from kosmos2_ros.localization_3d import Localizer3D, PlacedBoxes
from kosmos2_ros.messages import ANSWERS
from kosmos2_ros.work import InferenceResult

KEPT_RESULTS = 10
MARKER_LIFETIME_S = 2.0  # markers vanish if no newer ones arrive
TEXT_HEIGHT_M = 0.03


class CameraOutput:
    """The publishers of the answers about one camera.

    Args:
        node: The node that owns the publishers.
        name: The camera's name; its topics begin with it unless it is empty.
    """

    def __init__(self, node: LifecycleNode, name: str) -> None:
        self._node, self._prefix = node, f"{name}/" if name else ""
        self._publishers: list[Any] = []

    def advertise(self) -> None:
        """Create the publishers."""
        self.grounding = self._publisher(GroundedFrame, "grounding")
        self.detections = self._publisher(Detection2DArray, "detections")
        self.detections_3d = self._publisher(Detection3DArray, "detections_3d")
        self.annotated = self._publisher(Image, "annotated")
        self.markers = self._publisher(MarkerArray, "markers")

    @property
    def topics(self) -> list[str]:
        """The full names of all topics, after remapping."""
        return [str(publisher.topic_name) for publisher in self._publishers]

    def publish(self, messages: ResultMessages, result: InferenceResult) -> None:
        """Publish a result of the stream with its boxes in pixels."""
        assert result.command is not None
        self.detections.publish(messages.detections(result, result.command.id))
        self.grounding.publish(messages.frame(result, result.command.id))

    def destroy(self) -> None:
        """Destroy the publishers."""
        while self._publishers:
            self._node.destroy_publisher(self._publishers[-1])
            self._publishers.pop()  # only now, so that a publisher that failed to end is tried again

    def _publisher(self, message_type: Any, topic: str) -> Any:
        publisher = self._node.create_publisher(
            message_type,
            f"~/{self._prefix}{topic}",
            KEPT_RESULTS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._publishers.append(publisher)
        return publisher


class ResultMessages:
    """Makes the messages of an inference result.

    Args:
        model: How messages name the model.
        localizer: Places boxes in space.
        now_ns: The time of the node's clock.
    """

    def __init__(self, model: str, localizer: Localizer3D, now_ns: Callable[[], int]) -> None:
        self._model, self._localizer, self._now_ns = model, localizer, now_ns

    def frame(self, result: InferenceResult, command_id: str) -> Any:
        """Return a kosmos2/GroundedFrame."""
        return ANSWERS.grounded_frame(self._about(result, command_id), result.answer)

    def detections(self, result: InferenceResult, command_id: str) -> Any:
        """Return a vision_msgs/Detection2DArray."""
        return ANSWERS.detections(self._about(result, command_id), result.answer)

    def detections_3d(self, result: InferenceResult, command_id: str) -> Any:
        """Return a vision_msgs/Detection3DArray.

        Raises:
            RequestError: There is no depth or no transform at the image's stamp.
        """
        placed: PlacedBoxes = self._localizer.place(result)
        return ANSWERS.detections_3d(placed.header, command_id, result.answer, placed.solids)

    def _about(self, result: InferenceResult, command_id: str) -> AnswerContext:
        width, height = result.size_px
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


# Markers for RViz and Foxglove.


def markers(detections_3d: Any) -> MarkerArray:
    """Return a box and a label for each detection; they replace the markers before."""
    clear = Marker(header=detections_3d.header, action=Marker.DELETEALL)
    return MarkerArray(markers=[clear, *_boxes_and_labels(detections_3d)])


def _boxes_and_labels(detections_3d: Any) -> Iterator[Marker]:
    ids = count()
    for detection, colour in zip(detections_3d.detections, cycle(COLOURS)):
        box, hypothesis = detection.bbox, detection.results[0].hypothesis
        cube = _marker(detection, Marker.CUBE, next(ids), _rgba(colour, 0.4))
        cube.pose, cube.scale = box.center, box.size
        label = _marker(detection, Marker.TEXT_VIEW_FACING, next(ids), _rgba(colour, 1.0))
        label.pose.position.x, label.pose.position.y = box.center.position.x, box.center.position.y
        label.pose.position.z = box.center.position.z + box.size.z / 2 + TEXT_HEIGHT_M
        label.scale.z = TEXT_HEIGHT_M
        label.text = f"{hypothesis.class_id} {hypothesis.score:.2f}"
        yield from (cube, label)


def _marker(detection: Any, kind: int, marker_id: int, colour: ColorRGBA) -> Marker:
    marker = Marker(header=detection.header, ns="kosmos2", id=marker_id, type=kind, action=Marker.ADD)
    marker.lifetime, marker.color = Duration(seconds=MARKER_LIFETIME_S).to_msg(), colour
    return marker


def _rgba(hex_colour: str, opacity: float) -> ColorRGBA:
    """Convert "#rrggbb"."""
    red, green, blue = (int(hex_colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return ColorRGBA(r=red, g=green, b=blue, a=opacity)

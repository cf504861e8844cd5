"""Publish the pose of the detection that is most probably right.

    python examples/pick_best.py --ros-args -p class_id:="the red mug" -p min_score:=0.6

Subscribes to `grounding/detections_3d`. Publishes `pick_pose`, only if a detection has a high enough score.
"""

from collections.abc import Iterable
from contextlib import suppress

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from vision_msgs.msg import Detection3D, Detection3DArray


class PickBest(Node):
    """Chooses one detection of every array."""

    def __init__(self) -> None:
        super().__init__("pick_best")
        self.declare_parameter("class_id", "")  # a phrase of the command; empty: any
        self.declare_parameter("min_score", 0.5)
        self.poses = self.create_publisher(PoseStamped, "pick_pose", 10)
        self.create_subscription(Detection3DArray, "grounding/detections_3d", self.on_detections, 10)

    def on_detections(self, message: Detection3DArray) -> None:
        """Choose, and log any error: an exception in a callback would end the node."""
        try:
            self.choose(message)
        except Exception as error:
            self.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=5.0)

    def choose(self, message: Detection3DArray) -> None:
        """Publish the pose of the best detection, if there is one."""
        class_id, min_score = (self.get_parameter(name).value for name in ("class_id", "min_score"))
        found = best(message.detections, class_id, min_score)
        if found:
            self.poses.publish(PoseStamped(header=message.header, pose=found.bbox.center))


def best(detections: Iterable[Detection3D], class_id: str, min_score: float) -> Detection3D | None:
    """Return the detection with the highest score, or None if none reaches `min_score`.

    Args:
        detections: Detections of an array.
        class_id: The phrase to choose from; empty: all.
        min_score: The lowest score to accept.
    """
    accepted = [
        detection
        for detection in detections
        if class_id in ("", name_of(detection)) and score_of(detection) >= min_score  # refuses NaN too
    ]
    return max(accepted, key=score_of, default=None)


def name_of(detection: Detection3D) -> str:
    """Return the phrase of a detection."""
    return detection.results[0].hypothesis.class_id


def score_of(detection: Detection3D) -> float:
    """Return the score of a detection."""
    return detection.results[0].hypothesis.score


def main() -> None:
    """Run the node until Ctrl-C."""
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.init()
        rclpy.spin(PickBest())


if __name__ == "__main__":
    main()

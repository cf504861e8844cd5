"""Where to pick: the detection of a class that is most probably right, as a pose.

    python examples/pick_best.py --ros-args -p class_id:="the red mug" -p min_score:=0.6

In: `grounding/detections_3d`. Out: `pick_pose`, only when something is sure enough.
"""

from collections.abc import Iterable
from contextlib import suppress

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from vision_msgs.msg import Detection3D, Detection3DArray


class PickBest(Node):
    def __init__(self) -> None:
        super().__init__("pick_best")
        self.declare_parameter("class_id", "")  # a phrase of the command; empty: any
        self.declare_parameter("min_score", 0.5)
        self.poses = self.create_publisher(PoseStamped, "pick_pose", 10)
        self.create_subscription(Detection3DArray, "grounding/detections_3d", self.hear, 10)

    def hear(self, message: Detection3DArray) -> None:
        try:
            self.choose(message)
        except Exception as error:  # else one strange message ends the node
            self.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=5.0)

    def choose(self, message: Detection3DArray) -> None:
        class_id, min_score = (self.get_parameter(name).value for name in ("class_id", "min_score"))
        found = best(message.detections, class_id, min_score)
        if found:
            self.poses.publish(PoseStamped(header=message.header, pose=found.bbox.center))


def best(detections: Iterable[Detection3D], class_id: str, min_score: float) -> Detection3D | None:
    """None: nothing of the class is sure enough."""
    sure = [
        one
        for one in detections
        if class_id in ("", name_of(one)) and score_of(one) >= min_score  # NaN is not
    ]
    return max(sure, key=score_of, default=None)


def name_of(detection: Detection3D) -> str:
    return detection.results[0].hypothesis.class_id


def score_of(detection: Detection3D) -> float:
    return detection.results[0].hypothesis.score


def main() -> None:
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.init()
        rclpy.spin(PickBest())


if __name__ == "__main__":
    main()

"""Put each detection as a box into MoveIt's planning scene, so that an arm avoids it.

    python examples/collision_objects.py --ros-args -p margin_m:=0.02

Subscribes to `grounding/detections_3d`. Publishes `collision_object`, which MoveIt subscribes to; without
moveit_msgs it publishes the same boxes as markers on `collision_markers`.
"""

from contextlib import suppress

import rclpy
from geometry_msgs.msg import Vector3
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import BoundingBox3D, Detection3DArray
from visualization_msgs.msg import Marker

try:
    from moveit_msgs.msg import CollisionObject
    from shape_msgs.msg import SolidPrimitive
except ImportError:
    CollisionObject = None


class CollisionObjects(Node):
    """Adds boxes that are detected, and removes those that are not detected for a while."""

    def __init__(self) -> None:
        super().__init__("collision_objects")
        self.declare_parameter("min_score", 0.5)
        self.declare_parameter("margin_m", 0.01)  # on each side, because only visible surfaces are measured
        self.declare_parameter("keep_s", 2.0)  # a box that is not detected for this long is removed
        self.last_seen_s: dict[str, float] = {}  # by the detection's id
        if CollisionObject is None:
            self.get_logger().warning("moveit_msgs is not installed: boxes are markers on collision_markers")
            self.objects = self.create_publisher(Marker, "collision_markers", 10)
        else:
            self.objects = self.create_publisher(CollisionObject, "collision_object", 10)
        self.create_subscription(Detection3DArray, "grounding/detections_3d", self.on_detections, 10)

    def on_detections(self, message: Detection3DArray) -> None:
        """Update, and log any error: an exception in a callback would end the node."""
        try:
            self.update(message)
        except Exception as error:
            self.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=5.0)

    def update(self, message: Detection3DArray) -> None:
        """Publish the boxes of an array, and the removal of boxes that were not seen."""
        names = "min_score", "margin_m", "keep_s"
        min_score, margin_m, keep_s = (self.get_parameter(name).value for name in names)
        now_s = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        make = marker if CollisionObject is None else collision_object
        for detection in message.detections:
            if detection.results[0].hypothesis.score >= min_score:  # refuses NaN too
                self.last_seen_s[detection.id] = now_s
                self.objects.publish(make(message.header, detection.id, grown(detection.bbox, margin_m)))
        gone = [name for name, seen_s in self.last_seen_s.items() if abs(now_s - seen_s) > keep_s]
        for name in gone:
            del self.last_seen_s[name]
            self.objects.publish(make(message.header, name, None))


def grown(box: BoundingBox3D, margin_m: float) -> BoundingBox3D:
    """Return a box that is larger by a margin on each side."""
    x, y, z = (side + 2 * margin_m for side in (box.size.x, box.size.y, box.size.z))
    return BoundingBox3D(center=box.center, size=Vector3(x=x, y=y, z=z))


def collision_object(header: Header, name: str, box: BoundingBox3D | None) -> "CollisionObject":
    """Return the message that adds a box to the planning scene, or removes it if `box` is None."""
    if box is None:
        return CollisionObject(header=header, id=name, operation=CollisionObject.REMOVE)
    solid = SolidPrimitive(type=SolidPrimitive.BOX, dimensions=[box.size.x, box.size.y, box.size.z])
    shape = {"primitives": [solid], "primitive_poses": [box.center]}
    return CollisionObject(header=header, id=name, operation=CollisionObject.ADD, **shape)


def marker(header: Header, name: str, box: BoundingBox3D | None) -> Marker:
    """Return the marker that shows a box, or removes it if `box` is None."""
    if box is None:
        return Marker(header=header, ns=name, action=Marker.DELETE)
    red = ColorRGBA(r=1.0, a=0.5)
    return Marker(header=header, ns=name, type=Marker.CUBE, pose=box.center, scale=box.size, color=red)


def main() -> None:
    """Run the node until Ctrl-C."""
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.init()
        rclpy.spin(CollisionObjects())


if __name__ == "__main__":
    main()

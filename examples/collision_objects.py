"""What an arm must not hit: each detection as a box in MoveIt's planning scene.

    python examples/collision_objects.py --ros-args -p margin_m:=0.02

In: `grounding/detections_3d`. Out: `collision_object`, where MoveIt listens; without moveit_msgs the same
boxes as markers, on `collision_markers`.
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
    def __init__(self) -> None:
        super().__init__("collision_objects")
        self.declare_parameter("min_score", 0.5)
        self.declare_parameter("margin_m", 0.01)  # on each side: only what is seen is measured
        self.declare_parameter("keep_s", 2.0)  # what is not seen for so long is removed
        self.seen: dict[str, float] = {}  # when each object was, by its id
        if CollisionObject is None:
            self.get_logger().warning("there is no moveit_msgs: the boxes are markers on collision_markers")
            self.objects = self.create_publisher(Marker, "collision_markers", 10)
        else:
            self.objects = self.create_publisher(CollisionObject, "collision_object", 10)
        self.create_subscription(Detection3DArray, "grounding/detections_3d", self.hear, 10)

    def hear(self, message: Detection3DArray) -> None:
        try:
            self.update(message)
        except Exception as error:  # else one strange message ends the node
            self.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=5.0)

    def update(self, message: Detection3DArray) -> None:
        names = "min_score", "margin_m", "keep_s"
        min_score, margin_m, keep_s = (self.get_parameter(name).value for name in names)
        now_s = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        make = marker if CollisionObject is None else collision_object
        for one in message.detections:
            if one.results[0].hypothesis.score >= min_score:  # NaN is not
                self.seen[one.id] = now_s
                self.objects.publish(make(message.header, one.id, grown(one.bbox, margin_m)))
        for name in [name for name, seen_s in self.seen.items() if abs(now_s - seen_s) > keep_s]:
            del self.seen[name]
            self.objects.publish(make(message.header, name, None))


def grown(box: BoundingBox3D, margin_m: float) -> BoundingBox3D:
    x, y, z = (side + 2 * margin_m for side in (box.size.x, box.size.y, box.size.z))
    return BoundingBox3D(center=box.center, size=Vector3(x=x, y=y, z=z))


def collision_object(header: Header, name: str, box: BoundingBox3D | None) -> "CollisionObject":
    """No box: it is gone."""
    if box is None:
        return CollisionObject(header=header, id=name, operation=CollisionObject.REMOVE)
    solid = SolidPrimitive(type=SolidPrimitive.BOX, dimensions=[box.size.x, box.size.y, box.size.z])
    shape = {"primitives": [solid], "primitive_poses": [box.center]}
    return CollisionObject(header=header, id=name, operation=CollisionObject.ADD, **shape)


def marker(header: Header, name: str, box: BoundingBox3D | None) -> Marker:
    if box is None:
        return Marker(header=header, ns=name, action=Marker.DELETE)
    red = ColorRGBA(r=1.0, a=0.5)
    return Marker(header=header, ns=name, type=Marker.CUBE, pose=box.center, scale=box.size, color=red)


def main() -> None:
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.init()
        rclpy.spin(CollisionObjects())


if __name__ == "__main__":
    main()

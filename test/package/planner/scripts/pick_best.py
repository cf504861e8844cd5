#!/usr/bin/env python3
"""A planner in Python: hears one grounded frame, answers with the phrase to pick."""

import rclpy
from example_planner.msg import PickTarget
from kosmos2.msg import GroundedFrame
from rclpy.qos import DurabilityPolicy, QoSProfile

kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

rclpy.init()
node = rclpy.create_node("example_planner")
target = node.create_publisher(PickTarget, "target", kept)
done = rclpy.task.Future()


def choose(frame: GroundedFrame) -> None:
    found = [phrase for phrase in frame.phrases if phrase.boxes]
    target.publish(PickTarget(target=max(found, key=lambda phrase: phrase.boxes[0].score)))
    done.set_result(None)


node.create_subscription(GroundedFrame, "grounding", choose, kept)
rclpy.spin_until_future_complete(node, done)
assert target.wait_for_all_acked(rclpy.duration.Duration(seconds=30))

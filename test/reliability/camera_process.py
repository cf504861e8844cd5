"""A camera in a process of its own: images at 20 Hz until it is killed. Says when it begins: sending."""

import numpy as np
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from kosmos2_ros.messages import ROS

GREY = np.full((48, 64, 3), 90, np.uint8)

rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "/image", qos_profile_sensor_data)


def send():
    publisher.publish(ROS.image(ROS.header(node.get_clock().now().nanoseconds, "camera"), GREY))


node.create_timer(0.05, send)
print("sending", flush=True)
rclpy.spin(node)

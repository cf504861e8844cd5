"""A camera in a process of its own: images until it is killed. Says when it begins: sending.

python camera_process.py [RATE_HZ WIDTH HEIGHT]
"""

import sys

import numpy as np
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from kosmos2_ros.messages import ROS

rate_hz, width, height = map(int, sys.argv[1:] or (20, 64, 48))
grey = np.full((height, width, 3), 90, np.uint8)

rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "/image", qos_profile_sensor_data)
message = ROS.image(ROS.header(0, "camera"), grey)


def send():
    message.header = ROS.header(node.get_clock().now().nanoseconds, "camera")
    publisher.publish(message)


node.create_timer(1 / rate_hz, send)
print("sending", flush=True)
rclpy.spin(node)

"""A camera in a process of its own: the same image until it is killed. Says when it begins: sending.

python soak_camera.py RATE_HZ [IMAGE]
"""

import sys
import time

import numpy as np
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from kosmos2_core.images import load_image
from kosmos2_ros.messages import ROS

PERIOD_S = 1 / float(sys.argv[1])
PIXELS = load_image(sys.argv[2]) if len(sys.argv) > 2 else np.full((48, 64, 3), 90, np.uint8)

rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "/image", qos_profile_sensor_data)
message = ROS.image(ROS.header(0, "camera"), PIXELS)
print("sending", flush=True)
due_s = time.monotonic()
while True:
    message.header = ROS.header(node.get_clock().now().nanoseconds, "camera")
    publisher.publish(message)
    due_s = max(due_s + PERIOD_S, time.monotonic() - 1)
    time.sleep(max(0.0, due_s - time.monotonic()))

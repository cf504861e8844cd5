"""A camera's process: publishes so many images of a size at 30 Hz, best effort, once it is heard."""

import sys
import threading
import time
from array import array

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

PERIOD_S = 1 / 30


def main() -> None:
    width, height, images = map(int, sys.argv[1:])
    rclpy.init()
    node = rclpy.create_node("image_stream")
    publisher = node.create_publisher(Image, "stream", qos_profile_sensor_data)
    data = array("B", bytes(3 * width * height))
    pause = threading.Event()  # never set
    while publisher.get_subscription_count() == 0:
        pause.wait(PERIOD_S)
    due_s = time.monotonic()
    for number in range(images):
        image = Image(width=width, height=height, encoding="rgb8", step=3 * width, data=data)
        image.header.stamp.sec = number
        publisher.publish(image)
        due_s += PERIOD_S
        pause.wait(max(0.0, due_s - time.monotonic()))
    sys.stdin.read()  # what was sent lies in this process's shared memory: until it was read
    rclpy.shutdown()


main()

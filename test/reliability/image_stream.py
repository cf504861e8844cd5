"""A camera's process: publishes images at 30 Hz at most, best effort, once there is a subscriber.

    python image_stream.py WIDTH HEIGHT IMAGES AHEAD

The subscriber writes a line to standard input for each image that it received. The camera is at most AHEAD
images ahead of it: so a busy machine slows the stream down, and what is lost was lost by the middleware.

A publisher knows its subscriber before the subscriber knows it, and what it sends meanwhile is lost. So it
greets with images whose frame is GREETING until one is received; only then the stream begins.
"""

import sys
import threading
import time
from array import array

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

GREETING = "greeting"
PERIOD_S = 1 / 30
LOST_S = 1.0  # an image that was not received after this time counts as lost


def main() -> None:
    width, height, images, ahead = map(int, sys.argv[1:])
    may_publish = threading.Semaphore(0)
    reader = threading.Thread(target=read_receipts, args=(may_publish,))
    reader.start()
    rclpy.init()
    node = rclpy.create_node("image_stream")
    publisher = node.create_publisher(Image, "stream", qos_profile_sensor_data)
    data = array("B", bytes(3 * width * height))
    pause = threading.Event()  # never set
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width, data=data)
    image.header.frame_id = GREETING
    while not may_publish.acquire(timeout=PERIOD_S):
        publisher.publish(image)
    may_publish.release(ahead)
    image.header.frame_id = "camera"
    due_s = time.monotonic()
    for number in range(images):
        may_publish.acquire(timeout=LOST_S)
        image.header.stamp.sec = number
        publisher.publish(image)
        due_s += PERIOD_S
        pause.wait(max(0.0, due_s - time.monotonic()))
    reader.join()  # published images stay in this process's shared memory until they are read
    rclpy.shutdown()


def read_receipts(may_publish: threading.Semaphore) -> None:
    """Until standard input is closed."""
    for _ in sys.stdin:
        may_publish.release()


main()

"""A camera that sends all the time, and waiting for what the node makes of it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from robot import IMAGES, PATIENCE_S
from sensor_msgs.msg import Image

from kosmos2_ros.messages import ROS

GREY = np.full((48, 64, 3), 90, np.uint8)


@contextmanager
def traffic(robot, rate_hz, frames=None, qos=IMAGES):
    """Images while it lasts, or so many; yields an event: the last was sent."""
    publisher = robot.node.create_publisher(Image, "/image", qos)
    sent, done, sending = 0, threading.Event(), threading.Lock()

    def send():
        nonlocal sent
        with sending:
            if not done.is_set():
                publisher.publish(ROS.image(robot.header(), GREY))
                sent += 1
                if sent == frames:
                    done.set()

    timer = robot.node.create_timer(1 / rate_hz, send)
    try:
        yield done
    finally:
        with sending:
            done.set()
        robot.node.destroy_timer(timer)
        robot.node.destroy_publisher(publisher)


def counts_of(node):
    return node._frames[""].latest.counts


def finished(node):
    """How many frames came, once all are done with."""
    counts = counts_of(node).snapshot()
    return counts.in_flight == 0 and counts.received


def meet(node, robot):
    """The first images after a subscription was made can be lost: until one arrived and is done with."""
    while not counts_of(node).snapshot().received:
        robot.show()
        time.sleep(0.02)
    until(lambda: finished(node), "the end of the first images")


def until(true, what="it"):
    """Until it is true."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, f"{what} did not come"
        time.sleep(0.002)


def resident_kib(process="self", part="VmRSS"):
    """Memory of a process: all that is resident, or a part such as RssShmem."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split(f"{part}:")[1].split()[0])


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec

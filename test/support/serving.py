"""Fixtures: a node `grounding` in this process, a stand-in model behind it, and a robot that talks to it.

A conftest.py imports them where rclpy is.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter
from robot import Robot
from stand_in import StandIn

from kosmos2_ros.node import GroundingNode
from kosmos2_ros.process import Executor


@contextmanager
def served(load, **parameters):
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = GroundingNode(load, parameter_overrides=overrides)
    try:
        with spinning(node):
            try:
                yield node
            finally:
                node.close()
    finally:
        node.destroy_node()


@contextmanager
def spinning(node):
    """Spin a node in a thread until the end of the block."""
    executor = Executor()
    executor.add_node(node)

    def spin():
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def ros():
    """One for all tests of a file: Fast DDS on one machine finds no more than some dozens of participants,
    and those of contexts that ended count on for a while."""
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def model():
    """Let go at the end, whatever a test left it at."""
    model = StandIn()
    yield model
    model.open = True
    model.let.release(1000)


@pytest.fixture
def serve(ros, model):
    """A node with these parameters, active unless said otherwise."""
    opened = []

    def make(active=True, load=None, **parameters):
        context = served(load or (lambda options: model), **parameters)
        node = context.__enter__()
        opened.append(context)
        if active:
            node.trigger_configure()
            node.trigger_activate()
        return node

    yield make
    model.open = True
    model.let.release(1000)
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture
def robot(ros):
    robot = Robot()
    yield robot
    robot.close()

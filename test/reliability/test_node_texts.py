"""Row 24: what the node says to other machines, after errors of all kinds."""

from __future__ import annotations

import os
import re

import pytest
import torch

pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2.action import Converse
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from robot import PATIENCE_S, values
from sensor_msgs.msg import Image
from traffic import finished, meet, until

from kosmos2_ros.errors import Code

ADDRESS, TRACEBACK = re.compile(r"0x[0-9a-fA-F]"), re.compile(r'Traceback|File "|line \d+, in')
FOLDERS = sorted({*os.listdir("/"), "home", "usr"})
PATH = re.compile(rf"(?<![\w.~])/({'|'.join(map(re.escape, FOLDERS))})\b")
SECRET = "<Tensor at 0x7f00dead> in /home/someone/model.py"
CAUSES = (RuntimeError, ValueError, KeyError, AssertionError, MemoryError, torch.OutOfMemoryError)


def errors():
    """As libraries and the system raise them, with paths and addresses."""
    return [
        *(kind(SECRET) for kind in CAUSES),
        FileNotFoundError(2, "No such file or directory", "/home/someone/model.py"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, SECRET),
    ]


def texts(value):
    """All strings in messages, however deep."""
    if isinstance(value, str):
        yield value
    elif hasattr(value, "get_fields_and_field_types"):
        for name in value.get_fields_and_field_types():
            yield from texts(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


def strange(text):
    """Whether it says what is nobody's business."""
    return any(kind.search(text) for kind in (ADDRESS, TRACEBACK, PATH))


def test_what_is_looked_for_is_found():
    assert all(map(strange, ("at 0x7f", "in /home/x", "(/usr/a.py)", "Traceback (most", 'File "a.py"')))
    assert not any(map(strange, ("/image", "/grounding: camera", "models/home", "3 x 4", "30 %")))


@pytest.mark.row(
    *(24, "text on topics, services, the action and /diagnostics, after errors of all kinds"),
    "no address, absolute path or traceback",
)
def test_what_is_published_names_no_path_and_no_address(serve, robot, model, monkeypatch, record_property):
    failing = errors()

    def load(options):
        if failing:
            raise failing.pop()
        return model

    node = serve(active=False, load=load, command="the mug", model="models/mine")
    said = []
    while node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
        said.append(robot.call("locate", text="the mug"))
    said.append(robot.call("ask", question="what?"))
    node.trigger_activate()
    meet(node, robot)
    for error in errors():
        said += [*failures(robot, model, error)]
        model.error = error
        show(node, robot)
        with monkeypatch.context() as broken:
            broken.setattr("kosmos2_ros.node.to_rgb", raises(error))
            show(node, robot)
            said.append(robot.call("describe"))
    said += [robot.call("locate", **wrong) for wrong in WRONG] + refused_parameters(node)
    assert not [
        message for message in said if getattr(message, "error", Code.BAD_REQUEST) in (Code.OK, Code.BUSY)
    ]
    status = robot.status("camera", lambda status: len(reasons(status)) >= 2 * len(CAUSES))
    assert all(f"failed: {kind.__name__}" in reasons(status) for kind in CAUSES)
    strings = list(texts([said, *robot.heard.values()]))
    assert not [text for text in strings if strange(text)]
    record_property("figure", f"{len(strings):,} texts, {len(said)} of them refusals")


def failures(robot, model, error):
    """What a service and the action answer when the model raises it."""
    model.error = error
    yield robot.call("locate", text="the mug")
    model.error = error
    assert robot.converse.wait_for_server(PATIENCE_S)
    goal = robot.result(robot.converse.send_goal_async(Converse.Goal(text="what is it?")))
    yield robot.result(goal.get_result_async()).result


def show(node, robot):
    """An image, until it is finished."""
    received = finished(node)
    robot.show()
    until(lambda: finished(node) == received + 1)


def raises(error):
    def convert(message, fallback):
        raise error

    return convert


WRONG = [
    {"text": ""},
    {"text": " ; "},
    {"text": "the mug", "camera": "no_such"},
    {"text": "the mug", "max_boxes": 255, "min_score": float("nan")},
    {"text": "the mug", "image": Image(height=1, width=1, step=0, encoding="rgb8", data=b"0")},
    {"text": "the mug", "image": Image(height=1, width=1, step=9, encoding="no_such", data=b"0")},
]


def refused_parameters(node):
    wrong = [
        ("max_boxes", 0),
        ("min_score", "high"),
        ("dtype", "float7"),
        ("cameras", [" "]),
        ("command", ";"),
    ]
    results = node.set_parameters([Parameter(name, value=value) for name, value in wrong])
    assert not any(result.successful for result in results)
    return results


def reasons(status):
    return [name for name in values(status) if ": " in name]

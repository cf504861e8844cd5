"""Detections as RViz and Foxglove draw them: a box and a label for each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, cycle
from typing import Any

from rclpy.duration import Duration
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from kosmos2_core.drawing import COLOURS

LASTS_S = 2.0  # without news they vanish
LETTERS_M = 0.03


def markers(detections_3d: Any) -> MarkerArray:
    """In place of those before."""
    clear = Marker(header=detections_3d.header, action=Marker.DELETEALL)
    return MarkerArray(markers=[clear, *_drawn(detections_3d)])


def _drawn(detections_3d: Any) -> Iterator[Marker]:
    numbers = count()
    for detection, colour in zip(detections_3d.detections, cycle(COLOURS)):
        box, hypothesis = detection.bbox, detection.results[0].hypothesis
        solid = _marker(detection, Marker.CUBE, next(numbers), _colour(colour, 0.4))
        solid.pose, solid.scale = box.center, box.size
        label = _marker(detection, Marker.TEXT_VIEW_FACING, next(numbers), _colour(colour, 1.0))
        label.pose.position.x, label.pose.position.y = box.center.position.x, box.center.position.y
        label.pose.position.z = box.center.position.z + box.size.z / 2 + LETTERS_M
        label.scale.z = LETTERS_M
        label.text = f"{hypothesis.class_id} {hypothesis.score:.2f}"
        yield from (solid, label)


def _marker(detection: Any, kind: int, number: int, colour: ColorRGBA) -> Marker:
    marker = Marker(header=detection.header, ns="kosmos2", id=number, type=kind, action=Marker.ADD)
    marker.lifetime, marker.color = Duration(seconds=LASTS_S).to_msg(), colour
    return marker


def _colour(name: str, opacity: float) -> ColorRGBA:
    red, green, blue = (int(name[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return ColorRGBA(r=red, g=green, b=blue, a=opacity)

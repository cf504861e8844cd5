"""Boxes of an image become boxes in space, or there is a reason that a program can decide on."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from in_space import camera_of, registered

from kosmos2_io.lifting import lift
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages
from kosmos2_io.placement import DepthScene, NoPlacement, PlacementError, place_boxes
from kosmos2_sim.tabletop import Tabletop

SIZE = 224
messages = Messages(new)


@pytest.fixture(scope="module")
def shot():
    with Tabletop(SIZE, SIZE) as tabletop:
        return tabletop.shoot(3)


def scene_of(shot, **fields):
    depth = messages.depth_image(messages.header(1, "camera"), shot.depth_m, "32FC1")
    known = {"depth": depth, "camera": camera_of(shot), "depth_camera": camera_of(shot)}
    return DepthScene(**known | {"target_from_camera": shot.pose, "image_size_px": (SIZE, SIZE)} | fields)


def boxes_of(shot):
    return [thing.box.pixels(SIZE, SIZE) for thing in shot.things]


def test_boxes_are_placed_in_the_order_given_as_lifting_does(shot):
    boxes = boxes_of(shot)
    assert place_boxes(scene_of(shot), boxes) == tuple(
        lift(box, registered(shot), shot.pose) for box in boxes
    )


def test_one_calibration_serves_both_cameras(shot):
    both = place_boxes(scene_of(shot), boxes_of(shot))
    assert place_boxes(scene_of(shot, camera=None), boxes_of(shot)) == both
    assert place_boxes(scene_of(shot, depth_camera=None), boxes_of(shot)) == both


def test_a_box_without_depth_is_none_and_the_others_are_placed(shot):
    [first, second, *_] = boxes_of(shot)
    blank = shot.depth_m.copy()
    blank[:, :] = np.nan
    depth = messages.depth_image(messages.header(1, "camera"), blank, "32FC1")
    assert place_boxes(scene_of(shot, depth=depth), [first, second]) == (None, None)


def moved(x_m):
    pose = np.eye(4)
    pose[0, 3] = x_m
    return pose


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"depth": None}, NoPlacement.NO_DEPTH_IMAGE),
        ({"camera": None, "depth_camera": None}, NoPlacement.NO_CAMERA_INFO),
        ({"image_size_px": (SIZE, SIZE - 1)}, NoPlacement.CALIBRATION_MISMATCH),
        (
            {"depth": messages.image(messages.header(1, "camera"), np.zeros((SIZE, SIZE, 3), np.uint8))},
            NoPlacement.UNREADABLE_DEPTH,
        ),
        (
            {"depth": messages.depth_image(messages.header(1, "c"), np.ones((9, 9), np.float32), "32FC1")},
            NoPlacement.CALIBRATION_MISMATCH,
        ),
        ({"camera_from_depth": moved(11.0)}, NoPlacement.WRONG_TRANSFORM),
        ({"target_from_camera": moved(8.6e7)}, NoPlacement.WRONG_TRANSFORM),
        ({"target_from_camera": moved(np.nan)}, NoPlacement.WRONG_TRANSFORM),
    ],
)
def test_why_nothing_can_be_placed(shot, fields, reason):
    scene = scene_of(shot, **fields)
    with pytest.raises(PlacementError) as caught:
        place_boxes(scene, boxes_of(shot))
    assert caught.value.reason is reason
    assert str(caught.value).endswith(".")
    assert place_boxes(scene, []) == ()


def test_only_this_module_lifts_boxes():
    """The node and the evaluation of bags cannot drift apart while both call `place_boxes`."""
    root = Path(__file__).resolve().parents[2]
    callers = {
        str(file.relative_to(root))
        for package in (*root.glob("kosmos2_*"), root / "training")
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "kosmos2_io.lifting"
        and any(name.name == "lift" for name in node.names)
    }
    assert callers == {"kosmos2_io/placement.py"}

"""Boxes in space, through the node: a simulated scene in, metres in the frame of the planner out."""

from __future__ import annotations

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2_ros.codes import Code  # noqa: E402
from kosmos2_sim.tabletop import Tabletop  # noqa: E402


@pytest.fixture(scope="module")
def shot():
    with Tabletop(320, 240) as tabletop:
        return tabletop.shoot(3)


@pytest.fixture
def target(shot):
    """A thing that is wholly seen, and the middle of what is seen of it."""
    thing = max(shot.things, key=lambda one: one.visible)
    v, u = np.nonzero(shot.mask == thing.mark)
    rays = np.linalg.inv(shot.camera) @ np.array([u + 0.5, v + 0.5, np.ones(len(u))])
    points_m = (shot.pose[:3, :3] @ (rays * shot.depth_m[v, u])).T + shot.pose[:3, 3]
    return thing, (points_m.min(0) + points_m.max(0)) / 2


@pytest.mark.parametrize("depth", ["32FC1", "16UC1"])
def test_a_box_is_where_the_thing_is_in_the_target_frame(serve, robot, model, shot, target, depth):
    thing, centre_m = target
    model.boxes = (thing.box,)
    serve(target_frame="world", tf_timeout_s=2.0)
    robot.listen_3d()
    robot.show_scene(shot, depth)
    response = robot.call("locate", text="it", want_3d=True)
    while response.error in (Code.NO_IMAGE, Code.NO_DEPTH):
        robot.show_scene(shot, depth)
        response = robot.call("locate", text="it", want_3d=True)
    assert (response.error, response.message) == (Code.OK, "")
    [solid] = response.detections_3d.detections
    assert solid.header.frame_id == "world"
    assert solid.header.stamp == response.frame.header.stamp
    assert solid.id == response.detections.detections[0].id
    at = solid.bbox.center.position
    assert np.linalg.norm(np.array([at.x, at.y, at.z]) - centre_m) < 0.015
    assert solid.results[0].pose.pose == solid.bbox.center
    covariance = solid.results[0].pose.covariance.reshape(6, 6)
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_the_stream_places_its_boxes_too(serve, robot, model, shot, target):
    thing, centre_m = target
    model.boxes = (thing.box,)
    serve(target_frame="world", command="it", tf_timeout_s=2.0)
    robot.listen_3d()
    while not robot.heard["detections_3d"]:
        sent = robot.show_scene(shot)
        robot.wait("grounding", lambda one, sent=sent: one.header == sent.header)
    [solid] = robot.heard["detections_3d"][0].detections
    at = solid.bbox.center.position
    assert np.linalg.norm(np.array([at.x, at.y, at.z]) - centre_m) < 0.015


def test_without_a_transform_2d_is_filled_in(serve, robot, model, shot, target):
    model.boxes = (target[0].box,)
    serve(target_frame="world", tf_timeout_s=0.01)
    robot.show_scene(shot, with_transforms=False)
    response = robot.call("locate", text="it", want_3d=True)
    while response.error in (Code.NO_IMAGE, Code.NO_DEPTH):
        robot.show_scene(shot, with_transforms=False)
        response = robot.call("locate", text="it", want_3d=True)
    assert response.error == Code.NO_TRANSFORM
    assert "camera_optical_frame" in response.message
    assert response.detections.detections
    assert not response.detections_3d.detections

"""3D boxes through the node: a simulated scene in, metres in the planner's frame out."""

from __future__ import annotations

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2_core.answers import Answer, Entity  # noqa: E402
from kosmos2_data.bag_frames import DepthAtStamp, RecordedFrame  # noqa: E402
from kosmos2_data.bag_topics import CameraTopics  # noqa: E402
from kosmos2_eval.bag.placement import FramePlacer  # noqa: E402
from kosmos2_ros.errors import Code  # noqa: E402
from kosmos2_ros.frames import CameraFrame, FrameStore  # noqa: E402
from kosmos2_ros.localization_3d import Localizer3D, no_transform  # noqa: E402
from kosmos2_ros.messages import ROS  # noqa: E402
from kosmos2_ros.parameters import GroundingParameters  # noqa: E402
from kosmos2_ros.work import InferenceResult  # noqa: E402
from kosmos2_sim.tabletop import Tabletop  # noqa: E402


@pytest.fixture(scope="module")
def shot():
    with Tabletop(320, 240) as tabletop:
        return tabletop.shoot(3)


@pytest.fixture
def target(shot):
    """A thing that is wholly seen, and the middle of what is seen of it."""
    thing = max(shot.things, key=lambda candidate: candidate.visible)
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
        robot.wait("grounding", lambda message, sent=sent: message.header == sent.header)
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


class FixedTransforms:
    """Answers every lookup with the pose of the shot's camera."""

    def __init__(self, pose):
        self.pose = pose

    def lookup(self, target, source, stamp_ns, timeout_s):
        return self.pose


def test_the_node_and_the_evaluation_of_bags_place_boxes_alike(shot):
    stamp_ns, size_px = 10**9, (320, 240)
    header = ROS.header(stamp_ns, "camera")
    depth = ROS.depth_image(header, shot.depth_m, "16UC1")
    info = ROS.camera_info(header, shot.camera, *size_px)
    boxes = [thing.box for thing in shot.things if thing.box]

    frames = FrameStore([""])
    frames[""].calibration.store(info)
    frame = CameraFrame("", ROS.image(header, shot.image), stamp_ns)
    frames.expect_depth(frame)
    frames[""].depths.store(stamp_ns, depth)
    entity = Entity("it", 0, 2, tuple(boxes))
    result = InferenceResult(frame, shot.image, Answer("it", phrases=(entity,)), 0)
    parameters = GroundingParameters(target_frame="world")
    placed = Localizer3D(frames, FixedTransforms(shot.pose), lambda: parameters).place(result)

    camera = CameraTopics("image", info="camera_info", depth="depth")
    seen = RecordedFrame(camera, None, "camera", stamp_ns, depth=DepthAtStamp(depth, shot.pose, np.eye(4)))
    placer = FramePlacer(seen, {"camera_info": frames[""].calibration.model()}, size_px)
    [solids] = placed.solids
    assert len(solids) == len(boxes) > 2
    assert [solid and solid.centre_m for solid in solids] == [placer.place(box)[0] for box in boxes]


def test_calibration_and_depth_are_forgotten_when_the_node_is_deactivated(serve, robot, model, shot):
    node = serve(target_frame="world", tf_timeout_s=2.0)
    camera = node._frames[""]
    while camera.calibration.model() is None:
        robot.show_scene(shot)
    node.trigger_deactivate()
    assert camera.calibration.model() is None
    assert camera.depth_calibration.model() is None


def test_the_reason_of_tf2_ends_with_one_full_stop():
    sentence = no_transform("world", "camera", '"world" passed to lookupTransform does not exist. .')
    assert sentence.endswith("does not exist.")

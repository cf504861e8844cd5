"""A box in the image becomes a box in space: on scenes whose truth is known, near what is seen of the object.

What is seen is compared with the bounds of the object's visible pixels in space.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from in_space import camera_of, registered, seen_of, well_seen

from kosmos2_core.boxes import box_of_cells, cells_of_box
from kosmos2_core.errors import InputError
from kosmos2_io.camera_model import CameraModel
from kosmos2_io.lifting import DepthView, lift
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages
from kosmos2_io.transforms import TransformBuffer
from kosmos2_sim.film import draw_film, moved_view
from kosmos2_sim.layout import draw_layout
from kosmos2_sim.tabletop import Tabletop

SIZE = 224
MEDIAN_M, P90_M = 0.015, 0.030
SEEDS = {"standard": range(10), "cluttered": range(8), "far": range(4), "occluded": range(6)}
messages = Messages(new)
# REP-103: a link has x forward, y left, z up; an optical frame z forward, x right, y down.
OPTICAL_IN_LINK = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def tabletop():
    with Tabletop(SIZE, SIZE) as tabletop:
        yield tabletop


@pytest.fixture(scope="module")
def shots(tabletop):
    return {split: [tabletop.shoot(seed, split) for seed in seeds] for split, seeds in SEEDS.items()}


def box_px(box):
    return box.pixels(SIZE, SIZE)


def lifted(shot, thing, view):
    return lift(box_px(thing.box), view, shot.pose)


def off_m(shot, view, pose=None, box=lambda thing: thing.box):
    """Of each object, how far it is found from where it is."""
    target = shot.pose if pose is None else pose
    found = [(lift(box_px(box(thing)), view, target), thing) for thing in well_seen(shot)]
    return [np.linalg.norm(np.array(solid.centre_m) - seen_of(shot, thing)[0]) for solid, thing in found]


def assert_near(distances_m):
    assert len(distances_m) >= 10
    assert np.median(distances_m) <= MEDIAN_M
    assert np.percentile(distances_m, 90) <= P90_M


@pytest.mark.parametrize("split", ["standard", "cluttered", "far"])
def test_the_centre_is_where_the_object_is_seen(shots, split):
    assert_near([off for shot in shots[split] for off in off_m(shot, registered(shot))])


def test_most_objects_that_others_half_hide_are_found(shots):
    distances_m = [off for shot in shots["occluded"] for off in off_m(shot, registered(shot))]
    assert np.median(distances_m) <= MEDIAN_M / 2
    assert np.percentile(distances_m, 80) <= P90_M


def test_the_extent_is_that_of_what_is_seen(shots):
    for split in ("standard", "cluttered"):
        for shot in shots[split]:
            off = [
                np.abs(np.array(lifted(shot, thing, registered(shot)).extent_m) - seen_of(shot, thing)[1])
                for thing in well_seen(shot)
            ]
            assert np.median(off) < 0.015


def half(depth_m):
    return np.where(np.random.default_rng(3).random(depth_m.shape) < 0.5, np.nan, depth_m)


def millimetres(depth_m):
    return np.rint(depth_m * 1000).astype(np.uint16) / np.float32(1000)


def noisy(depth_m):
    return depth_m + np.random.default_rng(3).normal(0, 0.0015, depth_m.shape) * depth_m**2


@pytest.mark.parametrize("spoilt", [half, millimetres, noisy])
@pytest.mark.parametrize("split", ["standard", "cluttered"])
def test_half_of_the_depths_or_rounded_or_noisy_ones_are_enough(shots, split, spoilt):
    spoilt_m = {shot.seed: spoilt(shot.depth_m).astype(np.float32) for shot in shots[split][:5]}
    assert_near(
        [off for shot in shots[split][:5] for off in off_m(shot, registered(shot, spoilt_m[shot.seed]))]
    )


@pytest.mark.parametrize("split", ["standard", "cluttered", "far"])
def test_a_box_of_location_cells_finds_nearly_the_same_place(shots, split):
    def coarse(thing):
        return box_of_cells(*cells_of_box(thing.box))

    assert_near([off for shot in shots[split] for off in off_m(shot, registered(shot), box=coarse)])


@pytest.mark.parametrize("split", ["standard", "cluttered"])
def test_depth_of_a_second_camera_beside_the_first(tabletop, shots, split):
    distances_m = []
    for shot in shots[split][:5]:
        view = draw_layout(shot.seed, split).view
        turn, _ = cv2.Rodrigues(np.array([0.01, -0.03, 0.02]))
        beside = replace(
            view, eye_m=view.eye_m + view.axes @ (0.05, 0.01, 0), axes=view.axes @ turn, fovy=1.2 * view.fovy
        )
        layout = replace(draw_layout(shot.seed, split), view=beside)
        other = tabletop.shoot_layout(layout, shot.seed, split)
        pose = np.linalg.inv(shot.pose) @ other.pose
        distances_m += off_m(shot, DepthView(other.depth_m, camera_of(other), camera_of(shot), pose))
    assert_near(distances_m)


def test_a_moving_camera_s_place_is_taken_between_its_transforms(tabletop):
    film = draw_film(tabletop, 3, "cluttered")
    buffer = TransformBuffer()
    for time_s in np.arange(0, 4, 0.04):
        pose = moved_view(film.layout.view, time_s).pose @ np.linalg.inv(OPTICAL_IN_LINK)
        head = messages.header(round((1 + time_s) * 1e9), "world")
        buffer.add(messages.transforms(messages.transform(head, "link", pose)), static=False)
    head = messages.header(0, "link")
    optical = messages.transforms(messages.transform(head, "optical", OPTICAL_IN_LINK))
    buffer.add(optical, static=True)
    distances_m = []
    for time_s in (0.055, 1.337, 2.71):
        shot = film.shoot(time_s)
        pose = buffer.lookup("world", "optical", round((1 + time_s) * 1e9))
        np.testing.assert_allclose(pose, shot.pose, atol=1e-3)
        distances_m += off_m(shot, registered(shot), pose)
    assert_near(distances_m)


def test_an_object_cut_off_by_the_image_s_edge(shots):
    """Each shot is cropped through the middle of an object."""
    distances_m = []
    for shot in shots["standard"]:
        for thing in well_seen(shot)[:1]:
            left = round(SIZE * (thing.box.x1 + thing.box.x2) / 2)
            matrix = shot.camera - np.array([[0, 0, left], [0, 0, 0], [0, 0, 0]])
            crop = replace(
                shot, camera=matrix, mask=shot.mask[:, left:], depth_m=shot.depth_m[:, left:].copy()
            )
            x_min, y_min, x_max, y_max = box_px(thing.box)
            found = lift((x_min - left, y_min, x_max - left, y_max), registered(crop), shot.pose)
            distances_m.append(np.linalg.norm(np.array(found.centre_m) - seen_of(crop, thing)[0]))
    assert_near(distances_m)


def test_without_depth_in_the_box_its_place_is_not_known(shots):
    shot = shots["standard"][0]
    thing = well_seen(shot)[0]
    x_min, y_min, x_max, y_max = np.array(box_px(thing.box)).astype(int)
    hole = shot.depth_m.copy()
    hole[y_min : y_max + 1, x_min : x_max + 1] = np.nan
    assert lifted(shot, thing, registered(shot, hole)) is None
    nothing = np.full_like(hole, np.nan)
    assert lifted(shot, thing, registered(shot, nothing)) is None
    beside = DepthView(nothing, camera_of(shot), camera_of(shot), np.diag([-1.0, -1, 1, 1]))
    assert lifted(shot, thing, beside) is None
    too_far = lift(box_px(thing.box), registered(shot), shot.pose, range_m=(0.01, 0.1))
    assert too_far is None


def test_a_flat_thing_that_fills_the_image_is_a_plane_at_its_depth():
    camera = CameraModel(np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), 100, 80)
    wall = DepthView(np.full((80, 100), 2.0, np.float32), camera, camera)
    whole = lift((0, 0, 100, 80), wall, np.eye(4))
    np.testing.assert_allclose(whole.centre_m, (0, 0, 2), atol=0.02)
    np.testing.assert_allclose(whole.extent_m, (2, 1.6, 0.001), atol=0.1)
    assert (whole.depth_m, whole.pixels) == (2, 2000)  # every second row and column
    part = lift((50, 40, 70, 60), wall, np.eye(4))
    np.testing.assert_allclose(part.centre_m, (0.2, 0.2, 2), atol=0.02)


def test_a_box_is_turned_into_the_target_frame_by_its_points():
    """Seen along the target's diagonal, a wide wall is as long as deep there."""
    camera = CameraModel(np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), 100, 100)
    wall = DepthView(np.full((100, 100), 2.0, np.float32), camera, camera)
    turn = np.eye(4)
    turn[:3, :3], _ = cv2.Rodrigues(np.array([0, np.pi / 4, 0]))
    turn[:3, 3] = 5, 6, 7
    solid = lift((0, 0, 100, 100), wall, turn)
    np.testing.assert_allclose(solid.extent_m, (np.sqrt(2), 2, np.sqrt(2)), rtol=0.05)
    np.testing.assert_allclose(solid.centre_m, turn[:3] @ (0, 0, 2, 1), atol=0.02)


def test_the_covariance_is_one_and_grows_with_distance_across_and_with_depth_s_spread(shots):
    for shot in (shots["standard"][0], shots["far"][0]):
        for thing in well_seen(shot):
            matrix = np.array(lifted(shot, thing, registered(shot)).covariance).reshape(6, 6)
            np.testing.assert_array_equal(matrix, matrix.T)
            assert np.linalg.eigvalsh(matrix).min() > 0
    camera = CameraModel(np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), 100, 100)
    near, far = (
        np.array(lift((40, 40, 60, 60), DepthView(flat, camera, camera), np.eye(4)).covariance)
        for flat in (np.full((100, 100), depth_m, np.float32) for depth_m in (1.0, 3.0))
    )
    assert far[0] == pytest.approx(9 * near[0], rel=0.01)
    one_cell_m = 100 / 32 / 100  # at 1 m
    assert 0.1 * one_cell_m < np.sqrt(near[0]) < one_cell_m


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (9, 5, 5, 9), (300, 5, 400, 9), (-9, 5, 0, 9), (np.nan, 0, 5, 5), (0, 0, np.inf, 5)]
)
def test_a_box_without_area_in_the_image_is_refused(shots, box):
    with pytest.raises(InputError, match=r"has no area in the image of 224 x 224 pixels\."):
        lift(box, registered(shots["standard"][0]), np.eye(4))


def test_depth_of_another_size_than_its_camera_info_says_is_refused(shots):
    shot = shots["standard"][0]
    with pytest.raises(InputError, match="112 x 224 pixels and its CameraInfo 224 x 224"):
        registered(shot, shot.depth_m[:, ::2])

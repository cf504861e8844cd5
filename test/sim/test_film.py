"""A moving camera: smooth, and always directed at the table."""

from itertools import pairwise

import numpy as np
import pytest

from kosmos2_core.errors import InputError
from kosmos2_sim.film import draw_film, moved_view
from kosmos2_sim.layout import SPLITS, draw_layout
from kosmos2_sim.tabletop import Tabletop

TIMES_S = np.arange(0, 60, 0.1)


@pytest.fixture(scope="module", params=SPLITS)
def views(request):
    view = draw_layout(4, request.param, width=160, height=120).view
    return [moved_view(view, time_s) for time_s in TIMES_S]


def elevation(view):
    return np.degrees(np.arcsin(-view.axes[2, 2]))


def test_it_starts_where_the_scene_was_drawn_from(views):
    first, drawn = views[0], moved_view(views[0], 0.0)
    np.testing.assert_allclose(first.pose, drawn.pose, atol=1e-12)


def test_it_looks_at_one_place_from_all_sides(views):
    places = np.array([view.table_point(80, 60) for view in views])
    assert np.ptp(places, axis=0).max() < 1e-9
    headings = np.unwrap([np.arctan2(*view.axes[:2, 2]) for view in views])
    assert np.degrees(np.ptp(headings)) > 60
    assert 9 < np.ptp([elevation(view) for view in views]) < 13
    assert all(10 < elevation(view) < 90 for view in views)


def test_its_axes_stay_at_right_angles_and_its_way_has_no_jumps(views):
    for view, following in pairwise(views):
        np.testing.assert_allclose(view.axes.T @ view.axes, np.eye(3), atol=1e-9)
        assert np.linalg.det(view.axes) == pytest.approx(1)
        turn = np.arccos(np.clip((np.trace(view.axes.T @ following.axes) - 1) / 2, -1, 1))
        assert np.degrees(turn) < 1.5  # in a tenth of a second
        assert np.linalg.norm(following.eye_m - view.eye_m) < 0.03 * np.linalg.norm(view.eye_m)


def test_led_around_a_point_the_point_stays_in_the_image_and_the_distance_is_as_said():
    view = draw_layout(1, "standard").view
    point_m = np.array([*view.table_point(30, 200), 0.0])
    led = view.orbited(point_m, azimuth=20, elevation=-5, distance=1.3)
    np.testing.assert_allclose(led.project(point_m[None])[0], [[30, 200]], atol=1e-6)
    assert np.linalg.norm(led.eye_m - point_m) == pytest.approx(1.3 * np.linalg.norm(view.eye_m - point_m))
    higher = view.orbited(point_m, azimuth=0, elevation=5, distance=1)
    assert elevation(higher) == pytest.approx(elevation(view) + 5, abs=0.5)  # but for the camera's roll


def test_its_first_shot_is_the_scene_s_and_the_next_shows_the_same_things_from_elsewhere():
    with Tabletop(160, 120) as tabletop:
        film = draw_film(tabletop, 5, "cluttered")
        first, later, still = film.shoot(0), film.shoot(2), draw_film(tabletop, 5, "cluttered", True).shoot(2)
        plain = tabletop.shoot(5, "cluttered")
    for shot in (first, still):
        np.testing.assert_allclose(shot.pose, plain.pose, atol=1e-12)
        assert np.abs(shot.image.astype(int) - plain.image).mean() < 0.05
    assert np.abs(later.image.astype(int) - plain.image).mean() > 3
    assert [thing.centre_m for thing in later.things] == [thing.centre_m for thing in plain.things]


def test_a_camera_that_does_not_see_the_table_says_so():
    view = draw_layout(1, "standard").view
    with pytest.raises(InputError, match="does not look at the table"):
        moved_view(view.orbited(np.zeros(3), 0, -80, 1), 1.0)

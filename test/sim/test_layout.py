"""Layouts depend on split and seed alone; objects rest on the table and touch nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2_core.errors import InputError
from kosmos2_sim.layout import RULES, SPLITS, PlacedObject, SceneLayout, draw_layout
from kosmos2_sim.shapes import COLOURS, NOVEL, SHAPE_COLOURS, SHAPES, points_of

SEEDS = st.integers(0, 2**40)
SURROUNDINGS = "9b7ee5a3f3dce309"  # of layouts, too
RELEASED = ("train", "standard", "cluttered", "occluded", "far")  # splits of data sets and published figures
DRAWN = "2c4f664b4b12ea77"  # of layouts; a change of it is a change of all scenes


def solid(placed: PlacedObject) -> np.ndarray:
    """All points of an object, in the world."""
    return points_of(placed.shape) * placed.scale @ placed.axes.T + placed.position_m


def summary(layout: SceneLayout) -> tuple:
    return tuple((placed.shape, placed.colour, placed.size, *placed.position_m) for placed in layout.objects)


@pytest.mark.parametrize("split", RULES)
def test_a_split_has_as_many_objects_as_it_says_and_of_its_size(split):
    rules = RULES[split]
    for seed in range(8):
        layout = draw_layout(seed, split)
        assert rules.count[0] <= len(layout.objects) <= rules.count[1]
        for placed in layout.objects:
            u = layout.view.project(solid(placed))[0][:, 0]
            assert rules.width_px[0] - 1 <= u.max() - u.min() <= rules.width_px[1] + 2


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, split=st.sampled_from(SPLITS))
def test_objects_rest_on_the_table_and_do_not_touch(seed, split):
    layout = draw_layout(seed, split)
    everything = (*layout.objects, *layout.clutter)
    for placed in everything:
        assert solid(placed)[:, 2].min() == pytest.approx(0, abs=1e-9)
        assert (np.abs(solid(placed)[:, :2]) <= layout.scenery.table.half_m).all()
    for number, placed in enumerate(everything):
        for other in everything[:number]:
            assert separated(solid(placed)[:, :2], solid(other)[:, :2])


def separated(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a line keeps two sets of points apart, tried in half-degree steps."""
    angles = np.radians(np.arange(0, 180, 0.5))
    lines = np.stack([np.cos(angles), np.sin(angles)])
    a, b = a @ lines, b @ lines
    return bool(((a.max(0) < b.min(0)) | (b.max(0) < a.min(0))).any())


def test_a_scene_is_drawn_from_its_split_and_seed_alone():
    assert summary(draw_layout(3, "cluttered")) == summary(draw_layout(3, "cluttered"))
    scenes = {summary(draw_layout(seed, split)) for split in SPLITS for seed in range(3)}
    assert len(scenes) == 3 * len(SPLITS)


def test_train_is_like_all_the_others():
    layouts = [draw_layout(seed, "train") for seed in range(40)]
    assert any(len(layout.objects) >= 7 for layout in layouts)  # only in cluttered
    assert any(len(layout.objects) <= 3 for layout in layouts)
    distances = [float(np.linalg.norm(layout.view.eye_m)) for layout in layouts]
    assert max(distances) > 2 * min(distances)


@pytest.mark.parametrize("split", SPLITS)
def test_only_allowed_shapes_appear_and_the_required_one_does(split):
    for seed in range(2):
        layout = draw_layout(seed, split, shapes=("ball", "ring"), must="hammer")
        shapes = {placed.shape for placed in layout.objects}
        assert "hammer" in shapes
        assert shapes <= {"ball", "ring", "hammer"}


@pytest.mark.parametrize("split", ["standard", "occluded", "far"])
@pytest.mark.parametrize("shape", SHAPES + NOVEL)
def test_any_shape_alone_makes_a_scene(split, shape):
    objects = draw_layout(1, split, shapes=(shape,)).objects
    assert len(objects) >= 1
    assert {placed.shape for placed in objects} == {shape}


def test_a_novel_object_appears_only_when_asked_for():
    assert not set(NOVEL) & {
        placed.shape for seed in range(30) for placed in draw_layout(seed, "cluttered").objects
    }


def test_names_repeat_so_that_a_shape_alone_is_often_not_enough():
    scenes = [draw_layout(seed, "standard").objects for seed in range(40)]
    same_shape = [len({placed.shape for placed in scene}) < len(scene) for scene in scenes]
    same_colour = [len({placed.colour for placed in scene}) < len(scene) for scene in scenes]
    assert np.mean(same_shape) > 0.5
    assert np.mean(same_colour) > 0.5


def test_every_shape_and_colour_occurs_and_bananas_only_in_theirs():
    objects = [placed for seed in range(50) for placed in draw_layout(seed, "cluttered").objects]
    assert {placed.shape for placed in objects} == set(SHAPES)
    assert {placed.colour for placed in objects} == set(COLOURS)
    assert {placed.colour for placed in objects if placed.shape == "banana"} == set(SHAPE_COLOURS["banana"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"split": "clutered"}, ["'clutered'", "cluttered"]),
        ({"seed": -1}, ["-1", "0 or more"]),
        ({"shapes": ()}, ["name at least one"]),
        ({"shapes": ("cube", "spoon")}, ["'spoon'", "hammer"]),
        ({"must": "spoon"}, ["'spoon'", "mug"]),
    ],
)
def test_arguments_that_cannot_be_drawn_get_one_sentence(wrong, words):
    with pytest.raises(InputError) as error:
        draw_layout(**({"seed": 0, "split": "standard"} | wrong))
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_the_layouts_of_released_data_sets_are_drawn_again():
    digest = hashlib.sha256()
    for split in RELEASED:
        for seed in (0, 7, 300_000):
            layout = draw_layout(seed, split)
            numbers = [
                *layout.view.pose.flat,
                *(value for placed in layout.objects for value in placed.position_m),
            ]
            digest.update(repr([round(float(number), 5) + 0.0 for number in numbers]).encode())
            names = [(placed.shape, placed.colour, placed.material, placed.size) for placed in layout.objects]
            digest.update(repr((names, layout.scenery.table.texture, len(layout.scenery.sheets))).encode())
    assert digest.hexdigest()[:16] == DRAWN


def test_the_surroundings_of_released_data_sets_are_drawn_again():
    digest = hashlib.sha256()
    for split in RELEASED:
        for seed in (0, 7, 300_000):
            scenery = draw_layout(seed, split).scenery
            surfaces = [
                (*surface.rgb, *surface.half_m, surface.variant) for surface in (scenery.table, scenery.floor)
            ]
            sheets = [(*sheet.rgb, *sheet.middle_m, *sheet.half_m, sheet.yaw) for sheet in scenery.sheets]
            lights = [
                (*light.direction, *light.rgb, light.specular, light.ambient, light.shadow)
                for light in scenery.lights
            ]
            numbers = [number for row in (*surfaces, scenery.wall, *sheets, *lights) for number in row]
            digest.update(repr([round(float(number), 5) + 0.0 for number in numbers]).encode())
    assert digest.hexdigest()[:16] == SURROUNDINGS

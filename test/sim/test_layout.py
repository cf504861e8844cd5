"""What stands where: drawn from split and seed alone, on the table, touching nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2_core.errors import InputError
from kosmos2_sim.layout import RULES, SPLITS, Layout, draw
from kosmos2_sim.meshes import points_of
from kosmos2_sim.placing import Placed
from kosmos2_sim.shapes import COLOURS, NOVEL, ONLY, SHAPES

SEEDS = st.integers(0, 2**40)


def solid(one: Placed) -> np.ndarray:
    """All points of an object, in the world."""
    return points_of(one.shape) * one.scale @ one.axes.T + one.position_m


def summary(layout: Layout) -> tuple:
    return tuple((one.shape, one.colour, one.size, *one.position_m) for one in layout.objects)


@pytest.mark.parametrize("split", RULES)
def test_a_split_has_as_many_objects_as_it_says_and_of_its_size(split):
    rules = RULES[split]
    for seed in range(8):
        layout = draw(seed, split)
        assert rules.count[0] <= len(layout.objects) <= rules.count[1]
        for one in layout.objects:
            u = layout.view.project(solid(one))[0][:, 0]
            assert rules.width_px[0] - 1 <= u.max() - u.min() <= rules.width_px[1] + 2


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, split=st.sampled_from(SPLITS))
def test_objects_rest_on_the_table_and_do_not_touch(seed, split):
    layout = draw(seed, split)
    for one in layout.objects:
        assert solid(one)[:, 2].min() == pytest.approx(0, abs=1e-9)
        assert (np.abs(solid(one)[:, :2]) <= layout.scenery.table.half_m).all()
    for number, one in enumerate(layout.objects):
        for other in layout.objects[:number]:
            assert separated(solid(one)[:, :2], solid(other)[:, :2])


def separated(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a line keeps two sets of points apart, tried in half-degree steps."""
    angles = np.radians(np.arange(0, 180, 0.5))
    lines = np.stack([np.cos(angles), np.sin(angles)])
    a, b = a @ lines, b @ lines
    return bool(((a.max(0) < b.min(0)) | (b.max(0) < a.min(0))).any())


def test_a_scene_is_drawn_from_its_split_and_seed_alone():
    assert summary(draw(3, "cluttered")) == summary(draw(3, "cluttered"))
    scenes = {summary(draw(seed, split)) for split in SPLITS for seed in range(3)}
    assert len(scenes) == 3 * len(SPLITS)


def test_train_is_like_all_the_others():
    layouts = [draw(seed, "train") for seed in range(40)]
    assert any(len(one.objects) >= 7 for one in layouts)  # only in cluttered
    assert any(len(one.objects) <= 3 for one in layouts)
    distances = [float(np.linalg.norm(one.view.eye_m)) for one in layouts]
    assert max(distances) > 2 * min(distances)


@pytest.mark.parametrize("split", SPLITS)
def test_only_what_may_appear_does_and_what_must_does(split):
    for seed in range(2):
        shapes = {one.shape for one in draw(seed, split, shapes=("ball", "ring"), must="hammer").objects}
        assert "hammer" in shapes
        assert shapes <= {"ball", "ring", "hammer"}


@pytest.mark.parametrize("split", ["standard", "occluded", "far"])
@pytest.mark.parametrize("shape", SHAPES + NOVEL)
def test_any_shape_alone_makes_a_scene(split, shape):
    objects = draw(1, split, shapes=(shape,)).objects
    assert len(objects) >= 1
    assert {one.shape for one in objects} == {shape}


def test_a_novel_object_appears_only_when_asked_for():
    assert not set(NOVEL) & {one.shape for seed in range(30) for one in draw(seed, "cluttered").objects}


def test_names_repeat_so_that_a_shape_alone_is_often_not_enough():
    scenes = [draw(seed, "standard").objects for seed in range(40)]
    same_shape = [len({one.shape for one in scene}) < len(scene) for scene in scenes]
    same_colour = [len({one.colour for one in scene}) < len(scene) for scene in scenes]
    assert np.mean(same_shape) > 0.5
    assert np.mean(same_colour) > 0.5


def test_every_shape_and_colour_occurs_and_bananas_only_in_theirs():
    objects = [one for seed in range(50) for one in draw(seed, "cluttered").objects]
    assert {one.shape for one in objects} == set(SHAPES)
    assert {one.colour for one in objects} == set(COLOURS)
    assert {one.colour for one in objects if one.shape == "banana"} == set(ONLY["banana"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"split": "clutered"}, ["'clutered'", "cluttered"]),
        ({"seed": -1}, ["-1", "0 or more"]),
        ({"shapes": ()}, ["name one"]),
        ({"shapes": ("cube", "spoon")}, ["'spoon'", "hammer"]),
        ({"must": "spoon"}, ["'spoon'", "mug"]),
    ],
)
def test_what_cannot_be_drawn_gets_one_sentence(wrong, words):
    with pytest.raises(InputError) as error:
        draw(**({"seed": 0, "split": "standard"} | wrong))
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)

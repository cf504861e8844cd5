"""Wider worlds: they vary as promised, and words and boxes remain as true as on the plain tabletop."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from kosmos2_sim.clutter import CLUTTER
from kosmos2_sim.dataset import make_dataset
from kosmos2_sim.descriptions import OBJECT, Description, noun_of, visible_things
from kosmos2_sim.image_effects import NO_EFFECTS, draw_effects
from kosmos2_sim.items import items, probes
from kosmos2_sim.layout import SceneLayout, draw_layout
from kosmos2_sim.paintings import PAINTERS, Painting, paint
from kosmos2_sim.shapes import COLOURS, bounds_of
from kosmos2_sim.shot import CameraView
from kosmos2_sim.tabletop import Tabletop

WORLDS = ("worlds", "rooms", "outdoors")


@pytest.fixture(scope="module")
def tabletop():
    with Tabletop() as opened:
        yield opened


@pytest.fixture(scope="module")
def layouts() -> dict[str, list[SceneLayout]]:
    return {split: [draw_layout(seed, split) for seed in range(24)] for split in WORLDS}


def kinds_of_paintings(drawn: list[SceneLayout]) -> set[str]:
    """Return the names of the textures of all surfaces, walls and backgrounds."""
    found = set()
    for layout in drawn:
        scenery = layout.scenery
        surfaces = (
            scenery.table,
            *scenery.sheets,
            *scenery.blocks,
            *([scenery.floor] if scenery.has_legs else []),
        )
        paintings = (scenery.walls, scenery.backdrop, *(surface.painting for surface in surfaces))
        found |= {painting.kind for painting in paintings if painting is not None}
    return found


def test_the_outdoors_share_no_surface_and_no_clutter_with_the_rooms(layouts):
    indoors = kinds_of_paintings(layouts["worlds"] + layouts["rooms"])
    outdoors = kinds_of_paintings(layouts["outdoors"])
    assert len(indoors) >= 12
    assert {"grass", "gravel", "deck", "sky"} <= outdoors
    assert not indoors & outdoors
    clutter = {
        split: {placed.shape for layout in drawn for placed in layout.clutter}
        for split, drawn in layouts.items()
    }
    assert len(clutter["worlds"] | clutter["rooms"]) >= 12
    assert len(clutter["outdoors"]) >= 3
    assert not clutter["outdoors"] & (clutter["worlds"] | clutter["rooms"])


def test_cameras_lights_and_effects_vary(layouts):
    drawn = layouts["worlds"]
    lenses = [layout.view.fovy for layout in drawn]
    assert min(lenses) < 30
    assert max(lenses) > 68
    assert len({len(layout.scenery.lights) for layout in drawn}) >= 3
    assert {light.shadow for layout in drawn for light in layout.scenery.lights} == {True, False}
    assert {layout.scenery.has_legs for layout in drawn} == {True, False}
    assert {layout.scenery.room_m is None for layout in drawn} == {True, False}
    for field in fields(NO_EFFECTS):
        assert len({getattr(layout.effects, field.name) for layout in drawn}) > 1, field.name
    assert {bool(layout.clutter) for layout in drawn} == {True, False}


def test_the_splits_draw_different_scenes(layouts):
    assert len({layouts[split][0].view.eye_m.tobytes() for split in WORLDS}) == len(WORLDS)


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(tmp_path):
    """The noise of the images too."""
    for name, workers in (("single", 1), ("pair", 2)):
        make_dataset(tmp_path / name, 3, "worlds", 5, 2, size=96, workers=workers)
    files = [file.relative_to(tmp_path / "single") for file in (tmp_path / "single").rglob("*.*g")]
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "single" / file).read_bytes() == (tmp_path / "pair" / file).read_bytes()


def test_noise_differs_from_image_to_image_of_a_film(tabletop, layouts):
    layout = next(layout for layout in layouts["rooms"] if layout.effects.noise > 5)
    first = tabletop.shoot_layout(layout, 0, "rooms")
    again = tabletop.shoot_layout(layout, 0, "rooms")
    other_noise = tabletop.shoot_layout(layout, 1, "rooms")
    moved = replace(layout, view=layout.view.orbited(np.zeros(3), 1e-9, 0, 1.0))
    assert (first.image == again.image).all()
    assert (first.image != other_noise.image).any()
    assert (first.image != tabletop.shoot_layout(moved, 0, "rooms").image).mean() > 0.5


def test_effects_leave_every_point_where_it_is():
    """The middle of a disc stays, so that boxes stay right."""
    rows, columns = np.mgrid[:224, :224]
    disc = np.hypot(columns - 150, rows - 90) < 20
    image = np.where(disc[..., None], 230, 20).astype(np.uint8).repeat(3, 2)
    rng = np.random.default_rng(0)
    for _ in range(60):
        effects = draw_effects(rng, 0.07)
        seen = effects.on_sensor(effects.through_lens(image), rng).astype(float).mean(2)
        bright = seen > (seen.min() + seen.max()) / 2
        assert (rows[bright].mean(), columns[bright].mean()) == pytest.approx((90, 150), abs=0.7)
        assert bright.sum() == pytest.approx(disc.sum(), rel=0.08)


def test_nothing_of_a_room_that_the_camera_sees_is_left_out(tabletop, monkeypatch):
    """Walls and furniture outside of the image are not drawn: the images are the same as with them."""
    drawn = [draw_layout(seed, "rooms") for seed in range(4)]
    images = [tabletop.shoot_layout(layout, 0, "rooms").image for layout in drawn]
    monkeypatch.setattr(CameraView, "may_show", lambda *_: True)
    for layout, image in zip(drawn, images, strict=True):
        assert (tabletop.shoot_layout(layout, 0, "rooms").image == image).all()


def test_paintings_fill_their_square_and_depend_on_their_seed():
    for kind in PAINTERS:
        first, second = (paint(Painting(kind, seed, (0.6, 0.5, 0.4), (0.3, 0.3, 0.25))) for seed in (1, 2))
        assert first.shape == (256, 256, 3)
        assert (first != second).any()
        assert (first == paint(Painting(kind, 1, (0.6, 0.5, 0.4), (0.3, 0.3, 0.25)))).all()


def colours_of_objects(tabletop, split: str, seeds: range) -> tuple[np.ndarray, list[str]]:
    """The median colour of each visible object in Lab, and its name."""
    medians, names = [], []
    for seed in seeds:
        shot = tabletop.shoot(seed, split)
        lab = cv2.cvtColor(shot.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        for thing in shot.things:
            inside = shot.mask == thing.mark
            if thing.visible > 0.35 and inside.sum() >= 60:
                medians.append(np.median(lab[inside], axis=0))
                names.append(thing.colour)
    return np.array(medians), names


@pytest.mark.slow
def test_colours_keep_their_names_under_all_lights_and_cameras(tabletop):
    """A classifier that knows the colours of the plain tabletop names them nearly as well elsewhere."""
    known, names = colours_of_objects(tabletop, "train", range(60))
    scores = {}
    for colour in COLOURS:
        same = known[np.array(names) == colour]
        inverse = np.linalg.inv(np.cov(same.T) + 25 * np.eye(3))
        scores[colour] = same.mean(0), inverse, np.linalg.slogdet(inverse)[1]
    for split in ("train", "worlds", "outdoors"):
        medians, truth = colours_of_objects(tabletop, split, range(1000, 1030))
        distances = [
            np.einsum("ni,ij,nj->n", medians - middle, inverse, medians - middle) - log_weight
            for middle, inverse, log_weight in scores.values()
        ]
        guesses = np.array(list(scores))[np.argmin(distances, axis=0)]
        assert np.mean(guesses == np.array(truth)) > 0.95, split


# Words beside clutter.


def with_clutter(kind: str, colour: str = "", beside_m: float = 0.12) -> SceneLayout:
    """A scene with one blue cube, and clutter to the right of it as the camera sees it."""
    layout = draw_layout(3, "standard", shapes=("cube",))
    cube = replace(layout.objects[0], colour="blue", position_m=layout.objects[0].position_m * [0, 0, 1])
    x, y = beside_m * layout.view.axes[:2, 0]
    height_m = -bounds_of(kind)[0][2]
    piece = replace(
        cube, shape=kind, colour=colour, scale=1.0, axes=np.eye(3), position_m=np.array([x, y, height_m])
    )
    return replace(layout, objects=(cube,), clutter=(piece,))


def test_clutter_is_seen_but_is_no_object_of_the_ground_truth(tabletop):
    shot = tabletop.shoot_layout(with_clutter("book", "red"), 0, "standard")
    assert [thing.shape for thing in shot.things] == ["cube"]
    assert set(np.unique(shot.mask)) == {0, 1}
    [piece] = shot.clutter
    assert piece.box is not None
    things = visible_things(shot)
    assert [thing.shape for thing in things.referents] == ["cube"]
    assert things.countable


@pytest.mark.parametrize(
    ("description", "verdict"),
    [
        (Description(OBJECT), None),  # a book is an object to some people
        (Description(OBJECT, "red"), None),
        (Description(OBJECT, "blue"), False),
        (Description(OBJECT, "white"), None),  # its pages
        (Description(noun_of("box")), None),
        (Description(noun_of("box"), "green"), False),
        (Description(noun_of("mug")), False),
    ],
)
def test_words_that_may_mean_clutter_are_in_doubt(tabletop, description, verdict):
    shot = tabletop.shoot_layout(with_clutter("book", "red"), 0, "standard")
    assert description.fits(shot.clutter[0]) is verdict


def test_clutter_that_hides_an_object_counts_as_hiding(tabletop):
    """Against the pixels of the object without it."""
    layout = with_clutter("plant")
    towards = layout.view.eye_m[:2] / np.linalg.norm(layout.view.eye_m[:2]) * 0.07
    piece = replace(layout.clutter[0], position_m=np.array([*towards, 0.0]))
    shot = tabletop.shoot_layout(replace(layout, clutter=(piece,)), 0, "standard")
    alone = tabletop.shoot_layout(replace(layout, clutter=()), 0, "standard")
    share = (shot.mask == 1).sum() / (alone.mask == 1).sum()
    assert share < 0.9
    assert shot.things[0].visible == pytest.approx(share * alone.things[0].visible, abs=0.01)


def test_no_sentence_mentions_clutter(tabletop):
    words: Counter[str] = Counter()
    for split in ("worlds", "outdoors"):
        for seed in range(3):
            shot = tabletop.shoot(seed, split)
            said = (*items(shot, np.random.default_rng(seed), 24), *probes(shot, 2))
            words.update(
                word
                for item in said
                for text in (item.text.text, item.question.text if item.question else "")
                for word in re.findall("[a-z]+", text.lower())
            )
    assert words.total() > 500
    assert not set(words) & set(CLUTTER)

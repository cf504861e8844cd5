"""Augmented images and their texts; the pixels decide whether a text is still true."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import COLOURS, pixel_box, scene

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import parse_markdown, write_markdown
from kosmos2_data.records import Item, Record, Truth, record_of, to_json
from kosmos2_training.augment import Augmentation, augment, cropped, mirrored
from kosmos2_training.image_changes import Crop, Photometry, crop_pixels, relight

DARK = Photometry(tone=0, blur=0, noise=0, jpeg=0)  # the pixels stay what they are
SEEDS = st.integers(0, 10_000)
SCENES = SEEDS.map(lambda seed: scene(np.random.default_rng(seed)))


def close(box: Box, other: Box) -> bool:
    return np.allclose(box.pixels(1, 1), other.pixels(1, 1), atol=1e-9)


def check_truth(image, mask, record):
    """Every box is where the pixels are; every colour word is the pixels' colour."""
    assert image.shape[:2] == mask.shape
    truths = {truth.names[0]: truth for truth in record.truths}
    assert {truth.mark for truth in truths.values()} == set(np.unique(mask)) - {0}
    for colour, truth in truths.items():
        assert (image[mask == truth.mark] == COLOURS[colour]).all()
        assert close(truth.box, pixel_box(mask, truth.mark))
    for item in record.items:
        if item.task == "locate":
            [phrase] = item.text.phrases
            assert close(phrase.boxes[0], truths[item.text.text.split()[1]].box)
        else:
            assert int(item.text.text) == len(truths)


@settings(max_examples=300)
@given(SCENES, SEEDS)
def test_boxes_follow_the_pixels_and_texts_remain_true(view, seed):
    often = Augmentation(mirror=0.5, crop=0.6, crop_side=0.3, pad=0.3, photometry=DARK)
    image, mask, record = augment(*view, np.random.default_rng(seed), often)
    check_truth(image, mask, record)
    assert record_of(to_json(record)).items


@given(SCENES)
def test_a_mirror_s_mirror_is_the_image(view):
    once = mirrored(*view)
    check_truth(*once)
    assert np.array_equal(once[0], view[0][:, ::-1])
    image, mask, record = mirrored(*once)
    assert np.array_equal(image, view[0])
    assert np.array_equal(mask, view[1])
    assert len(record.items) == len(view[2].items)
    for again, truth in zip(record.truths, view[2].truths, strict=True):
        assert close(again.box, truth.box)


@settings(max_examples=200)
@given(SCENES, SEEDS, st.floats(0.05, 1))
def test_an_object_that_is_cut_off_too_far_is_not_located(view, seed, visible):
    rng = np.random.default_rng(seed)
    x, y = int(rng.integers(-20, 60)), int(rng.integers(-20, 40))
    window = Crop(x, y, int(rng.integers(20, 90)), int(rng.integers(20, 60)))
    shown = cropped(*view, window, visible)
    parts = crop_pixels(view[1], window, border=0)
    shares = {t.names[0]: (parts == t.mark).sum() / (view[1] == t.mark).sum() for t in view[2].truths}
    located = (
        set() if shown is None else {i.text.text.split()[1] for i in shown[2].items if i.task == "locate"}
    )
    assert located == {colour for colour, share in shares.items() if share >= visible}
    counts = [] if shown is None else [item for item in shown[2].items if item.task == "ask"]
    assert len(counts) == (min(shares.values()) == 1)
    if shown is not None:
        check_truth(*shown)


def of_boxes(*items: Item) -> tuple[np.ndarray, None, Record]:
    """Without masks, as data made by hand: a mug at the left, a bowl at the right."""
    return np.full((100, 200, 3), 90, np.uint8), None, Record("a.png", items)


MUG, BOWL = "(0.1,0.2,0.3,0.4)", "(0.7,0.4,0.9,0.8)"


def locate(text: str) -> Item:
    return Item("locate", parse_markdown(text))


def ask(question: str, text: str) -> Item:
    return Item("ask", parse_markdown(text), parse_markdown(question))


def texts(view) -> list[str]:
    return [] if view is None else [write_markdown(item.text) for item in view[2].items]


def test_without_a_mask_boxes_are_clipped():
    view = of_boxes(locate(f"[the mug]{MUG}"), locate(f"[the bowl]{BOWL}"))
    assert texts(cropped(*view, Crop(0, 0, 160, 100), 0.45)) == [
        "[the mug](0.125,0.2,0.375,0.4)",
        "[the bowl](0.875,0.4,1,0.8)",
    ]
    assert texts(cropped(*view, Crop(0, 0, 159, 100), 0.5)) == [
        f"[the mug]({20 / 159:.6f},0.2,{60 / 159:.6f},0.4)"
    ]


def test_a_box_that_is_not_around_its_pixels_is_cut_as_a_box():
    """As one drawn around the hidden part too."""
    mask = np.zeros((100, 100), np.uint8)
    mask[40:50, 40:50] = 1
    box = Box(0.2, 0.2, 0.8, 0.8)
    record = Record("a.png", (locate("[it](0.2,0.2,0.8,0.8)"),), "m.png", (Truth(1, ("it",), box),))
    view = (np.zeros((100, 100, 3), np.uint8), mask, record)
    assert texts(cropped(*view, Crop(0, 0, 50, 100), 0.5)) == ["[it](0.4,0.2,1,0.8)"]
    assert texts(cropped(*view, Crop(0, 0, 49, 100), 0.5)) == []


def test_a_region_moves_with_its_question():
    shown = mirrored(*of_boxes(ask(f"What colour is [this]{MUG}?", "red")))
    assert write_markdown(shown[2].items[0].question) == "What colour is [this](0.7,0.2,0.9,0.4)?"


FIRST = f"[the mug]{MUG}"  # stands whatever is done in these tests


@pytest.mark.parametrize(
    ("item", "stands"),
    [
        (locate(f"[the mug beside the bowl]{MUG}"), True),
        (locate(f"[the leftmost mug]{MUG}"), False),
        (locate(f"[the RIGHT mug]{MUG}"), False),
        (locate(f"put [it]{MUG} to the left of [the bowl]{BOWL}"), False),
        (locate(f"turn [the knob]{MUG} counterclockwise"), False),
        (locate(f"turn [the knob]{MUG} anti-clockwise"), False),
        (locate(f"[the third mug from the end]{MUG}"), False),
        (locate(f"[the 2nd mug]{MUG}"), False),
        (locate("[the left mug]()"), False),
        (locate(f"[the bright mug]{MUG}"), True),
        (ask("Is the mug left of the bowl?", "yes"), False),
        (ask("Where is the mug?", "on the right"), False),
        (ask("What does the label say?", "MILK"), False),
        (ask("How many mugs are there?", "one"), True),
        (Item("caption", parse_markdown(f"[a mug]{MUG} and [a bowl]{BOWL}")), False),  # from left to right
        (Item("caption", parse_markdown(f"[a bowl]{BOWL} and [a mug]{MUG}")), True),
        (Item("describe", parse_markdown(f"[a red mug]{MUG}")), True),
    ],
)
def test_texts_that_a_mirror_makes_untrue_are_left_out(item, stands):
    view = of_boxes(locate(FIRST), item)
    assert len(texts(mirrored(*view))) == 1 + stands
    alone = mirrored(*of_boxes(item))
    assert (alone is not None) == stands


LOSSY, LARGER = Crop(0, 0, 130, 100), Crop(-20, -20, 240, 140)  # without the bowl; with a border


@pytest.mark.parametrize(
    ("item", "after_loss", "with_border"),
    [
        (locate(f"[the red mug]{MUG}"), True, True),
        (locate(f"put [the mug]{MUG} on [the tray]()"), True, True),
        (locate(f"put [the mug]{MUG} on [the bowl]{BOWL}"), False, True),
        (locate(f"[the mugs]({MUG[1:-1]};{BOWL[1:-1]})"), False, True),
        (locate("[the banana]()"), True, True),
        (locate(f"[the mug left of the bowl]{MUG}"), False, True),
        (locate(f"[the smallest mug]{MUG}"), False, True),
        (locate(f"[the other mug]{MUG}"), False, True),
        (locate(f"[the mug on the plate]{MUG}"), False, True),
        (locate(f"[the mug on the left]{MUG}"), False, False),
        (locate(f"[the mug in the upper corner]{MUG}"), False, False),
        (locate(f"[the mug in the middle]{MUG}"), False, False),
        (ask("How many mugs are there?", "one"), False, True),
        (ask("Is there a bowl?", "yes"), False, True),
        (ask("What is left of the bowl?", f"[the mug]{MUG}"), False, True),
        (ask("How far is the mug?", "1.2 m"), False, False),
        (ask(f"What colour is [this]{MUG}?", "red"), True, True),
        (ask(f"What colour is [this]{BOWL}?", "red"), False, True),
        (ask(f"Is [this]{MUG} the biggest mug?", "yes"), False, True),
        (Item("caption", parse_markdown(f"[a mug]{MUG} on a table")), False, True),
        (Item("describe", parse_markdown(f"[a red mug]{MUG}")), True, True),
        (Item("describe", parse_markdown(f"[a small red mug]{MUG}")), False, True),
        (Item("text", parse_markdown("A kitchen.")), False, True),
    ],
)
def test_texts_that_a_crop_or_a_border_may_make_untrue_are_left_out(item, after_loss, with_border):
    view = of_boxes(locate(FIRST), item)
    assert len(texts(cropped(*view, LOSSY, 0.5))) == 1 + after_loss
    assert len(texts(cropped(*view, LARGER, 0.5))) == 1 + with_border


@given(SCENES, SEEDS)
def test_crops_that_are_to_lose_nothing_lose_nothing(view, seed):
    whole = Augmentation(mirror=0, crop=1, crop_whole=1, crop_side=0.3, photometry=DARK)
    assert len(augment(*view, np.random.default_rng(seed), whole)[2].items) == len(view[2].items)


def test_a_change_that_would_leave_no_item_is_not_made():
    view = of_boxes(locate(f"[the mug on the left]{MUG}"))
    always = Augmentation(mirror=1, crop=1, photometry=DARK)
    for seed in range(20):
        image, mask, record = augment(*view, np.random.default_rng(seed), always)
        assert record == view[2]
        assert np.array_equal(image, view[0])
        assert mask is None


def test_a_border_has_the_colour_of_the_edge_and_no_mark():
    image, mask, record = scene(np.random.default_rng(3))
    image[mask == 0] = (10, 200, 30)
    shown = cropped(image, mask, record, Crop(-9, -9, 120, 90), 0.5)
    assert shown[0].shape == (90, 120, 3)
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert np.allclose(shown[0][0, 0], edges.mean(axis=0), atol=1)
    assert not shown[1][:9].any()


@given(SCENES, SEEDS)
def test_the_same_seed_is_the_same_and_nothing_given_is_changed(view, seed):
    before = (view[0].copy(), view[1].copy())
    often = Augmentation(photometry=Photometry(1, blur=1, noise=1, jpeg=1))
    first, second = (augment(*view, np.random.default_rng(seed), often) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[2] == second[2]
    assert np.array_equal(before[0], view[0])
    assert np.array_equal(before[1], view[1])


def test_different_seeds_are_different():
    view = scene(np.random.default_rng(0))
    images = {augment(*view, np.random.default_rng(seed))[0].tobytes() for seed in range(10)}
    assert len(images) > 7


BRIGHT = {
    "red": (200, 30, 30),
    "orange": (240, 140, 30),
    "yellow": (235, 220, 40),
    "green": (40, 150, 50),
    "blue": (40, 70, 200),
    "purple": (130, 50, 170),
    "pink": (245, 150, 190),
    "brown": (120, 75, 40),
}
GREYS = {20: (0, 60), 128: (95, 170), 240: (185, 255)}  # black, grey, white: and where they stay


def in_any_light(rgb: tuple[int, int, int]) -> list[tuple[float, float, float]]:
    """Hue in degrees, saturation and value, from a hundred lights."""
    image, strong = np.full((32, 32, 3), rgb, np.uint8), Photometry(1, blur=1, noise=1, jpeg=1)
    lit = (relight(image, np.random.default_rng(seed), strong) for seed in range(100))
    seen = [colorsys.rgb_to_hsv(*image.mean(axis=(0, 1))) for image in lit]
    return [(360 * hue, saturation, value) for hue, saturation, value in seen]


@pytest.mark.parametrize("name", BRIGHT)
def test_colours_keep_their_hue_in_any_light(name):
    [hue, saturation, _] = colorsys.rgb_to_hsv(*BRIGHT[name])
    for seen, strength, _ in in_any_light(BRIGHT[name]):
        assert abs((seen - 360 * hue + 180) % 360 - 180) < 20  # of 30 to 60 between two names
        assert strength > 0.6 * saturation


@pytest.mark.parametrize("level", GREYS)
def test_black_grey_and_white_stay_what_they_are(level):
    darkest, lightest = GREYS[level]
    for _, saturation, value in in_any_light((level, level, level)):
        assert saturation * value < 24
        assert darkest <= value <= lightest


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (480, 640, 3)])
def test_images_of_any_size(shape):
    record = Record("a.png", (locate("[it](0,0,1,1)"),))
    options = replace(Augmentation(crop=1, mirror=1), photometry=Photometry(1, blur=1, noise=1, jpeg=1))
    for seed in range(5):
        image, _, changed = augment(
            np.zeros(shape, np.uint8), None, record, np.random.default_rng(seed), options
        )
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert changed.items

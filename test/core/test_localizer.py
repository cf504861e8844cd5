"""The search finds what trying everything finds, and its scores are probabilities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peer import make_peer, make_processor, save_peer, shape

from kosmos2_core import box_search
from kosmos2_core.answers import Entity
from kosmos2_core.box_scoring import SearchOptions, score_boxes, trim_evidence
from kosmos2_core.box_search import finish
from kosmos2_core.boxes import Box, box_of_cells, cells_of_box, iou
from kosmos2_core.checkpoint import load_model
from kosmos2_core.localizer import Localizer
from kosmos2_core.packing import Prefiller
from kosmos2_core.prompts import Prompt
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_core.zoom import MAX_CROP, MIN_CROP, crop_around, crop_image, replace_best_box, to_whole_image

GRID = 6
ALL = SearchOptions(count=5, coverage=1.0, reach=0, max_corners=GRID * GRID)


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """A tokenizer of few location tokens, so that every pair can be tried, and a model of it."""
    folder = tmp_path_factory.mktemp("coarse")
    make_processor(grid=GRID).tokenizer.save_pretrained(folder)
    tokenizer = Tokenizer.load(folder)
    peer = make_peer(shape(f"{tokenizer.size} 64 3 128 4", "48 96 2 3 56 14", 8), seed=3)
    return tokenizer, load_model(save_peer(peer, folder))


def prompt(control, *words):
    return [control.start, control.grounding, control.phrase, *words, control.phrase_end, control.object]


def make_localizer(model, tokenizer):
    return Localizer(Prefiller(model, tokenizer.control), tokenizer, None, encode=lambda views: [])


@torch.no_grad()
def search(model, tokenizer, prompts, options):
    queries = [Prompt((), ids[1:]) for ids in prompts]  # the localizer adds the start
    return finish(make_localizer(model, tokenizer).search(queries, [options] * len(queries)))


@torch.no_grad()
def every_pair(model, control, opened):
    """Return the probability of every legal pair, computed from whole sequences without a cache."""
    cells = GRID * GRID
    locations = slice(control.location, control.location + cells)
    presence = model(torch.tensor([opened[:-1]]))[0, -1].softmax(-1)[control.object].item()
    first = model(torch.tensor([opened]))[0, -1, locations].softmax(-1)
    pairs = {}
    for corner in range(cells):
        logits = model(torch.tensor([[*opened, control.location + corner]]))[0, -1, locations]
        legal = [cell for cell in range(cells) if box_of_cells(corner, cell, GRID)]
        for cell, share in zip(legal, logits[legal].softmax(-1).tolist(), strict=True):
            pairs[corner, cell] = first[corner].item() * share
    return presence, pairs


def test_the_best_box_is_the_one_that_trying_everything_finds(coarse):
    tokenizer, model = coarse
    control = tokenizer.control
    for words in ([50, 60], [70, 80], [300, 301]):
        [found] = search(model, tokenizer, [prompt(control, *words)], ALL)
        presence, pairs = every_pair(model, control, prompt(control, *words))
        assert sum(pairs.values()) == pytest.approx(1, abs=1e-4)
        assert found.presence == pytest.approx(presence, abs=1e-5)
        likely = sorted(pairs, key=pairs.get, reverse=True)[:64]
        probabilities = {pair: probability_of(pair, pairs) for pair in likely}
        best = found.boxes[0]
        assert best.probability == pytest.approx(max(probabilities.values()), abs=1e-4)
        for box in found.boxes:  # what means an earlier box does not count again
            assert box.probability <= probability_of((box.upper_left, box.lower_right), pairs) + 1e-4
        assert sum(box.probability for box in found.boxes) <= 1 + 1e-4


def probability_of(pair, pairs):
    box = box_of_cells(*pair, GRID)
    return sum(share for other, share in pairs.items() if iou(box, box_of_cells(*other, GRID)) >= 0.5 - 1e-6)


def test_boxes_come_best_first_without_near_duplicates(coarse):
    tokenizer, model = coarse
    control = tokenizer.control
    [found] = search(model, tokenizer, [prompt(control, 50, 60)], ALL)
    probabilities = [box.probability for box in found.boxes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0 <= probability <= 1 + 1e-5 for probability in probabilities)
    boxes = [box_of_cells(box.upper_left, box.lower_right, GRID) for box in found.boxes]
    assert all(iou(a, b) <= ALL.max_overlap for a in boxes for b in boxes if a is not b)


def test_many_phrases_in_one_batch_are_as_alone(coarse, monkeypatch):
    tokenizer, model = coarse
    control = tokenizer.control
    monkeypatch.setattr(box_search, "MAX_STEP", 7)
    prompts = [prompt(control, 50 + number, 60) for number in range(5)]
    options = SearchOptions(count=3, coverage=0.9)
    together = search(model, tokenizer, prompts, options)
    for found, ids in zip(together, prompts, strict=True):
        [alone] = search(model, tokenizer, [ids], options)
        assert found.presence == pytest.approx(alone.presence, abs=1e-5)
        assert [(box.upper_left, box.lower_right) for box in found.boxes] == [
            (box.upper_left, box.lower_right) for box in alone.boxes
        ]


def test_less_searching_never_scores_higher(coarse):
    tokenizer, model = coarse
    control = tokenizer.control
    [thorough] = search(model, tokenizer, [prompt(control, 50, 60)], ALL)
    [quick] = search(
        model, tokenizer, [prompt(control, 50, 60)], SearchOptions(coverage=0.3, reach=0, max_corners=4)
    )
    assert quick.boxes[0].probability <= thorough.boxes[0].probability + 1e-5


def test_scoring_later_at_another_temperature_is_searching_at_it(coarse):
    tokenizer, model = coarse
    control = tokenizer.control
    queries = [Prompt((), prompt(control, *words)[1:]) for words in ([50, 60], [70, 80])]
    wide = SearchOptions(max_corners=8, coverage=1.0)
    for temperature in (0.5, 1.0, 2.0):
        options = SearchOptions(max_corners=5, coverage=0.6, temperature=temperature)
        with torch.no_grad():
            evidence = finish(make_localizer(model, tokenizer).evidence(queries, wide))
            later = [score_boxes(trim_evidence(known, options), GRID, options) for known in evidence]
        for found, expected in zip(
            later,
            search(model, tokenizer, [prompt(control, 50, 60), prompt(control, 70, 80)], options),
            strict=True,
        ):
            assert [box.box for box in found.boxes] == [box.box for box in expected.boxes]
            assert [box.probability for box in found.boxes] == pytest.approx(
                [box.probability for box in expected.boxes]
            )


sides = st.floats(0.001, 0.29)
corners = st.floats(0, 0.7)


@given(corners, corners, sides, sides)
def test_the_cut_shows_the_box_with_room_around(x, y, width, height):
    box = Box(x, y, x + width, y + height)
    part = crop_around(box)
    assert part is not None
    assert part.x1 <= box.x1 + 1e-9
    assert part.y1 <= box.y1 + 1e-9
    assert part.x2 >= box.x2 - 1e-9
    assert part.y2 >= box.y2 - 1e-9
    assert part.x2 - part.x1 == pytest.approx(part.y2 - part.y1)  # the image's proportions
    assert MIN_CROP - 1e-9 <= part.x2 - part.x1 <= MAX_CROP + 1e-9


def test_a_large_box_gains_nothing():
    assert crop_around(Box(0.1, 0.4, 0.9, 0.5)) is None


@given(corners, corners, sides, sides, st.integers(1, 60), st.integers(1, 80))
def test_a_box_of_the_cut_is_where_its_pixels_are(x, y, width, height, rows, columns):
    image = np.arange(rows * columns * 3, dtype=np.uint8).reshape(rows, columns, 3)
    pixels, part = crop_image(image, crop_around(Box(x, y, x + width, y + height)))
    assert pixels.size
    whole = to_whole_image(Box(0, 0, 1, 1, 0.5), part)
    x1, y1, x2, y2 = (round(value) for value in whole.pixels(columns, rows))
    np.testing.assert_array_equal(image[y1:y2, x1:x2], pixels)
    assert whole.score == 0.5


def test_after_zooming_only_the_replaced_box_has_new_cells():
    """The others keep the location tokens that the model gave, also where their corners were refined."""
    best, other = Box(0.11, 0.12, 0.21, 0.22, 0.5), Box(0.613, 0.617, 0.71, 0.72, 0.3)
    first = Entity(
        "the mug", 0, 7, (best, other), 0.9, ((3 * 32 + 3, 6 * 32 + 6), (20 * 32 + 20, 22 * 32 + 22))
    )
    assert cells_of_box(other) != first.cells[1]
    part = Box(0.0, 0.0, 0.5, 0.5)
    second = Entity("the mug", 0, 7, (Box(0.2, 0.2, 0.4, 0.4, 0.8),), 0.95, ((6 * 32 + 6, 12 * 32 + 12),))
    better = replace_best_box(first, second, part, 32)
    assert better.boxes == (Box(0.1, 0.1, 0.2, 0.2, 0.8), other)
    assert better.cells == (cells_of_box(better.boxes[0]), first.cells[1])


def test_a_zoomed_box_with_a_lower_score_changes_nothing():
    first = Entity("the mug", 0, 7, (Box(0.1, 0.1, 0.2, 0.2, 0.5),), 0.9, ((99, 198),))
    second = Entity("the mug", 0, 7, (Box(0.2, 0.2, 0.4, 0.4, 0.5),), 0.95, ((198, 396),))
    assert replace_best_box(first, second, Box(0, 0, 0.5, 0.5), 32) is first


def test_a_zoomed_box_replaces_boxes_of_the_same_object():
    boxes = Box(0.1, 0.1, 0.3, 0.2, 0.5), Box(0.1, 0.1, 0.2, 0.2, 0.4), Box(0.7, 0.7, 0.8, 0.8, 0.3)
    first = Entity("the mug", 0, 7, boxes, 0.9, ((1, 40), (2, 70), (700, 800)))
    second = Entity("the mug", 0, 7, (Box(0.2, 0.2, 0.4, 0.4, 0.8),), 0.95, ((198, 396),))
    better = replace_best_box(first, second, Box(0, 0, 0.5, 0.5), 32)
    assert better.boxes[1:] == boxes[2:]
    assert better.cells[1:] == ((700, 800),)

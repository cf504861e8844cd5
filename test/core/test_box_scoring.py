"""Boxes of what a model says of corners: overlaps are exact, scores honest for boxes of every size, corners
finer than cells."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2_core.box_scoring import (
    Edges,
    Evidence,
    PhraseBoxes,
    SearchOptions,
    certain_probabilities,
    corners_to_try,
    score_boxes,
)
from kosmos2_core.boxes import Box, box_of_cells, cells_of_box, iou

COARSE = 6
CELL = st.integers(0, 1023)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20))
def test_many_pairs_overlap_as_one_by_one(pairs):
    edges = Edges.from_cells(*torch.tensor(pairs).T, 32)
    overlap = edges.column().overlap_by_half(edges)
    decoded = [box_of_cells(*pair) for pair in pairs]
    for row, a in enumerate(decoded):
        for column, b in enumerate(decoded):
            if a is not None and b is not None:
                assert overlap[row, column] == (iou(a, b) >= 0.5 - 1e-6)


REFINE = SearchOptions(refine=True)


def gaussian(x, y, grid=32, width=0.8):
    """Logits of cells for a corner at (x, y), as training with soft targets makes them."""
    centres = (torch.arange(grid) + 0.5) / grid
    off = (centres - y)[:, None] ** 2 + (centres - x)[None, :] ** 2
    return (-off * grid**2 / (2 * width**2)).flatten()


def says(box, grid=32, tried=16):
    """The evidence of a model that knows the box exactly."""
    first = gaussian(box.x1, box.y1, grid)
    tried = first.topk(tried).indices
    return Evidence(1.0, first, tried, gaussian(box.x2, box.y2, grid).repeat(len(tried), 1))


@st.composite
def boxes(draw, least=0.1, margin=2.5 / 32):
    """Boxes away from the image's edges."""
    sides = []
    for _ in range(2):
        size = draw(st.floats(least, 1 - 2 * margin))
        begin = draw(st.floats(margin, 1 - margin - size))
        sides.append((begin, begin + size))
    (x1, x2), (y1, y2) = sides
    return Box(x1, y1, x2, y2)


# Which first corners are tried.


def test_a_certain_model_needs_one_corner_and_an_uncertain_one_more():
    left, right = gaussian(0.2, 0.3), gaussian(0.8, 0.3)
    certain, torn = left, torch.logaddexp(left, right)
    search = SearchOptions()
    assert corners_to_try(certain, search).tolist() == cells_at((0.2, 0.3))
    assert set(corners_to_try(torn, search).tolist()) == {*cells_at((0.2, 0.3), (0.8, 0.3))}
    unsure = corners_to_try(torch.zeros(1024), search).tolist()
    assert len(unsure) == search.max_corners
    assert len(corners_to_try(torch.zeros(1024), replace(search, max_corners=3))) == 3
    for a, b in itertools.combinations(unsure, 2):
        rows, columns = abs(a // 32 - b // 32), abs(a % 32 - b % 32)
        assert max(rows, columns) > search.reach


def cells_at(*points):
    return [int(y * 32) * 32 + int(x * 32) for x, y in points]


def test_without_reach_the_likeliest_corners_are_tried():
    first = gaussian(0.21, 0.33)
    corners = corners_to_try(first, SearchOptions(reach=0))
    assert corners.equal(first.topk(len(corners)).indices)
    assert first.softmax(-1)[corners].sum() >= 0.95 > first.softmax(-1)[corners[:-1]].sum()


LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=36, max_size=36).map(torch.tensor)


@given(LOGITS, st.integers(1, 16), st.floats(0.1, 1), st.integers(0, 2), st.floats(0.5, 2))
def test_a_less_thorough_search_tries_the_first_of_the_same_corners(
    first, most, coverage, reach, temperature
):
    thorough = corners_to_try(first, SearchOptions(coverage=1.0, reach=reach, max_corners=36))
    options = SearchOptions(coverage=coverage, reach=reach, max_corners=most, temperature=temperature)
    fewer = corners_to_try(first, options)
    assert 1 <= len(fewer) <= most
    assert fewer.equal(thorough[: len(fewer)])


@settings(max_examples=40)
@given(boxes())
def test_one_corner_of_a_certain_model_scores_as_all(box):
    [all_tried] = score_boxes(says(box, tried=16), 32, SearchOptions(reach=0)).boxes
    [one_tried] = score_boxes(says(box, tried=1), 32, SearchOptions()).boxes
    [alone] = score_boxes(says(box, tried=1), 32, SearchOptions(reach=0)).boxes
    assert one_tried.probability == pytest.approx(all_tried.probability, abs=1e-5)
    assert alone.probability < all_tried.probability - 0.1


def test_a_tried_corner_says_nothing_about_corners_far_away():
    """Half of the probability is at a corner that was not tried: it counts as having no box."""
    torn = torch.logaddexp(gaussian(0.2, 0.3), gaussian(0.8, 0.3))
    evidence = Evidence(1.0, torn, torch.tensor(cells_at((0.2, 0.3))), gaussian(0.9, 0.9)[None])
    [found] = score_boxes(evidence, 32, SearchOptions()).boxes
    assert 0.4 < found.probability < 0.5


# Boxes.


@settings(max_examples=40)
@given(boxes())
def test_a_gaussian_around_a_corner_says_it_more_finely_than_its_cell(box):
    [found] = score_boxes(says(box), 32, REFINE).boxes
    off = [abs(a - b) * 32 for a, b in zip(found.box.pixels(1, 1), box.pixels(1, 1), strict=True)]
    assert max(off) < 0.1
    assert iou(found.box, box) > 0.93


def test_thin_boxes_gain_most():
    box = Box(0.401, 0.3, 0.43, 0.6)  # less than a cell wide
    [plain] = score_boxes(says(box), 32, SearchOptions()).boxes
    [found] = score_boxes(says(box), 32, REFINE).boxes
    assert iou(found.box, box) > 0.85 > iou(plain.box, box)


@settings(max_examples=40)
@given(boxes(least=0.01, margin=0.0))
def test_at_the_edges_of_the_image_refined_boxes_are_no_worse_than_cells(box):
    [plain] = score_boxes(says(box), 32, SearchOptions()).boxes
    [found] = score_boxes(says(box), 32, REFINE).boxes
    assert (found.upper_left, found.lower_right, found.probability) == (
        plain.upper_left,
        plain.lower_right,
        plain.probability,
    )
    if (plain.lower_right % 32 - plain.upper_left % 32) * (plain.lower_right // 32 - plain.upper_left // 32):
        for a, b, c in zip(found.box.pixels(1, 1), plain.box.pixels(1, 1), box.pixels(1, 1), strict=True):
            assert abs(a - c) * 32 <= max(abs(b - c) * 32, 0.1)


@settings(max_examples=60)
@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0, 8.0, 100.0]), st.sampled_from([0.3, 1.0, 3.0]))
def test_whatever_a_model_says_refined_boxes_are_boxes_near_their_cells(seed, sharpness, temperature):
    rng = torch.Generator().manual_seed(seed)
    first = sharpness * torch.randn(COARSE**2, generator=rng)
    tried = first.topk(4).indices
    second = sharpness * torch.randn(4, COARSE**2, generator=rng)
    found = score_boxes(
        Evidence(0.5, first, tried, second), COARSE, replace(REFINE, temperature=temperature, count=3)
    )
    assert found.boxes
    for scored in found.boxes:  # Box itself refuses what is none
        plain = box_of_cells(scored.upper_left, scored.lower_right, COARSE)
        off = [abs(a - b) * COARSE for a, b in zip(scored.box.pixels(1, 1), plain.pixels(1, 1), strict=True)]
        assert max(off) <= 2.5 + 1e-4


def test_boxes_that_are_given_are_refined_where_their_beginning_was_tried():
    box = Box(0.31, 0.32, 0.71, 0.73)
    evidence = says(box)
    near, far = cells_of_box(box), cells_of_box(Box(0.8, 0.8, 0.9, 0.9))
    refined, coarse = score_boxes(evidence, 32, REFINE, [near, far]).boxes
    assert iou(refined.box, box) > 0.97
    assert coarse.box == box_of_cells(*far)


def centred(left, top, size):
    """A box whose corners are in the middle of cells."""
    return Box(*((cell + 0.5) / 32 for cell in (left, top, left + size, top + size)))


@pytest.mark.parametrize(("size", "probability"), [(2, 0.33), (3, 0.54), (5, 0.86), (16, 1.0)])
def test_a_sure_model_is_sure_of_boxes_of_every_size(size, probability):
    """For a mug three cells wide, half of the Gaussians around its corners means other boxes."""
    evidence = says(centred(8, 8, size), tried=64)
    [plain] = score_boxes(evidence, 32, SearchOptions(coverage=1.0)).boxes
    [found] = score_boxes(evidence, 32, SearchOptions(coverage=1.0, sigma=0.8)).boxes
    assert found.box == plain.box
    assert plain.probability == pytest.approx(probability, abs=0.01)
    assert found.probability == pytest.approx(1.0, abs=0.01)


def test_of_an_unsure_model_the_score_is_how_likely_the_place_is():
    likely, unlikely = centred(4, 4, 4), centred(20, 20, 4)
    first = torch.logaddexp(gaussian(likely.x1, likely.y1) + 1, gaussian(unlikely.x1, unlikely.y1))  # e : 1
    tried = first.topk(64).indices
    ends = [gaussian(box.x2, box.y2) for box in (likely, unlikely)]
    second = torch.stack([ends[0] if cell < 32 * 14 else ends[1] for cell in tried.tolist()])
    search = SearchOptions(count=2, coverage=1.0, sigma=0.8, max_overlap=0.1)
    found = score_boxes(Evidence(1.0, first, tried, second), 32, search).boxes
    assert [scored.probability for scored in found] == pytest.approx([0.731, 0.269], abs=0.01)
    assert iou(found[0].box, likely) > 0.99 < iou(found[1].box, unlikely)


def says_both(a, b, odds):
    """The evidence of a model that knows two boxes exactly, and thinks the first so much likelier."""
    first = torch.logaddexp(gaussian(a.x1, a.y1) + math.log(odds), gaussian(b.x1, b.y1))
    tried = first.topk(64).indices
    near_a = gaussian(a.x1, a.y1)[tried] > gaussian(b.x1, b.y1)[tried]
    second = torch.where(near_a[:, None], gaussian(a.x2, a.y2), gaussian(b.x2, b.y2))
    return Evidence(1.0, first, tried, second)


def test_no_box_is_surer_than_a_better_one():
    """The small box has less mass than the large one, but a larger part of what such a box can have."""
    large, small = centred(2, 2, 10), centred(24, 24, 3)
    found = score_boxes(says_both(large, small, 0.8), 32, SearchOptions(count=8, sigma=0.8)).boxes
    assert [cells_of_box(box.box) for box in found] == [cells_of_box(large), cells_of_box(small)]
    assert found[0].probability == pytest.approx(0.444, abs=0.01)
    assert found[1].probability == found[0].probability


@settings(max_examples=40)
@given(boxes(), boxes(), st.floats(0.05, 20), st.booleans(), st.sampled_from([0.0, 0.8]))
def test_several_boxes_are_several_objects(a, b, odds, refine, spread):
    search = SearchOptions(count=5, refine=refine, sigma=spread)
    found = [box.box for box in score_boxes(says_both(a, b, odds), 32, search).boxes]
    assert all(iou(first, second) <= 0.5 for first, second in itertools.combinations(found, 2))
    if iou(a, b) < 0.1:
        assert all(any(iou(box, other) > 0.5 for other in found) for box in (a, b))


def test_no_probability_counts_for_two_boxes():
    box, moved = centred(8, 8, 9), centred(12, 8, 9)
    assert 0.3 < iou(box, moved) < 0.5  # so boxes between them overlap both by half
    first, second = score_boxes(says_both(box, moved, 3.0), 32, SearchOptions(count=2)).boxes
    assert first.probability + second.probability <= 1 + 1e-5
    [only] = score_boxes(says(box, tried=64), 32, SearchOptions(count=8)).boxes
    assert only.probability > 0.99


def test_an_absent_phrase_has_a_presence_and_no_box():
    nothing = torch.empty(0, dtype=torch.long)
    evidence = Evidence(0.2, torch.zeros(1024), nothing, torch.empty(0, 1024))
    assert score_boxes(evidence, 32, SearchOptions(count=3, refine=True, sigma=0.8)) == PhraseBoxes(0.2, ())


@pytest.mark.parametrize(("width", "height", "bell_width"), [(0, 4, 0.8), (2, 3, 0.8), (5, 5, 1.3)])
def test_certain_probabilities_are_those_of_corners_drawn_from_gaussians(width, height, bell_width):
    rng = torch.Generator().manual_seed(0)
    off = torch.arange(-6, 7)
    bell = (-(off**2) / (2 * bell_width**2)).softmax(0)

    def draw(size):  # the corners along one side: where the second is, there is a box
        first = off[torch.multinomial(bell, 20_000, replacement=True, generator=rng)]
        likely = bell * (off + size >= first[:, None]) + 1e-12
        return first + 8, off[torch.multinomial(likely, 1, generator=rng)[:, 0]] + size + 8

    (left, right), (top, bottom) = draw(width), draw(height)
    said = Edges.from_columns_and_rows(left, top, right, bottom)
    meant = Edges.from_columns_and_rows(*torch.tensor([[8], [8], [8 + width], [8 + height]]))
    share = meant.overlap_by_half(said).float().mean().item()
    assert certain_probabilities(bell_width, 32)[height, width].item() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("sigma", [0.0, 1e-300, 0.05])
def test_without_a_gaussian_or_with_a_very_narrow_one_probabilities_are_those_of_the_pairs(sigma):
    evidence = says(Box(0.3, 0.3, 0.4, 0.4))
    [plain] = score_boxes(evidence, 32, SearchOptions()).boxes
    [found] = score_boxes(evidence, 32, SearchOptions(sigma=sigma)).boxes
    assert found.box == plain.box
    assert found.probability == pytest.approx(plain.probability, abs=1e-6)


@pytest.mark.parametrize("temperature", [1e-5, 1e5])
def test_at_any_temperature_probabilities_are_within_0_and_1(temperature):
    search = SearchOptions(sigma=1.5, temperature=temperature, count=3)
    for scored in score_boxes(says(Box(0.3, 0.3, 0.4, 0.4)), 32, search).boxes:
        assert 0 <= scored.probability <= 1

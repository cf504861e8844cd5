"""Prompts in one sequence: each has the logits it has alone, whatever its company."""

import itertools

import pytest
import torch
from peer import make_peer, save_peer, shape

from kosmos2_core.checkpoint import load_model
from kosmos2_core.errors import InputError
from kosmos2_core.packing import LAST, PADDING, SHARED, Prefiller, image_ids, image_slots, pack, packed_mask
from kosmos2_core.prompts import IMAGE, Prompt

QUERIES = 8


@pytest.fixture(scope="module")
def prefiller(tokenizer, tmp_path_factory):
    peer = make_peer(shape(f"{tokenizer.size} 64 3 128 4", "48 96 2 3 56 14", QUERIES))
    return Prefiller(load_model(save_peer(peer, tmp_path_factory.mktemp("checkpoint"))), tokenizer.control)


@pytest.fixture(scope="module")
def features(prefiller):
    with torch.no_grad():
        pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))
        return tuple(prefiller.model.encode(pixels))


@pytest.fixture(scope="module")
def rows(features, tokenizer):
    """About two views, about none, with prompts that begin alike, are alike, place images, or are blind."""
    phrase = [tokenizer.control.grounding, tokenizer.control.phrase]
    first, second, both = (features[0],), (features[1],), (features[0], features[2])
    return [
        Prompt(first, [*phrase, 50, 60]),
        Prompt(second, [*phrase, 70]),
        Prompt(first, [*phrase, 50, 61, 62, 63]),
        Prompt(first, [*phrase, 50, 60]),
        Prompt((), [*phrase, 80, 81]),
        Prompt(both, [*phrase, 90]),
        Prompt(both, [IMAGE, 90, 91, IMAGE, 92, 93]),
        Prompt(both, [IMAGE, 90, 91, IMAGE, 92, 94, 95]),
        Prompt(both, [90, IMAGE, 96]),
        Prompt(first, [*phrase, 50, 60], blind=True),
        Prompt(first, [*phrase, 50, 64]),
        Prompt(second, [97, 98, 99], blind=True),
    ]


def alone(prefiller, row, *more):
    """The plain path: one sequence, no cache."""
    ids = [*prefiller.expand_prompt(row), *more]
    x, _ = prefiller.embed([ids], [] if row.blind else list(row.images))
    hidden = prefiller.model.decoder(x, torch.arange(len(ids))[None], None, True, None)
    return prefiller.model.decoder.logits(hidden)[0]


@torch.no_grad()
def test_each_branch_has_the_logits_it_has_alone(prefiller, rows):
    [packed] = prefiller.prefill_packed(rows, room=1, at_most=100)
    assert sorted(packed.indices) == list(range(len(rows)))
    for place, hidden in zip(packed.indices, packed.hidden, strict=True):
        logits = prefiller.model.decoder.logits(hidden)
        torch.testing.assert_close(logits, alone(prefiller, rows[place])[-LAST:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_as_many_last_tokens_are_computed_as_are_wanted_of_each_prompt(prefiller, rows):
    wanted = [1 + number % 4 for number in range(len(rows))]
    [packed] = prefiller.prefill_packed(rows, room=1, at_most=100, last=wanted)
    for place, hidden in zip(packed.indices, packed.hidden, strict=True):
        expected = alone(prefiller, rows[place])[-wanted[place] :]
        torch.testing.assert_close(prefiller.model.decoder.logits(hidden), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_blind_prompts_need_no_others(prefiller, features):
    rows = [Prompt((features[0],), [50, 60 + number], blind=True) for number in range(2)]
    [packed] = prefiller.prefill_packed(rows, room=1, at_most=100)
    for row, hidden in zip(rows, packed.hidden, strict=True):
        expected = alone(prefiller, row)[-LAST:]
        torch.testing.assert_close(prefiller.model.decoder.logits(hidden), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_step_on_any_branches_is_one_token_more(prefiller, rows):
    [packed] = prefiller.prefill_packed(rows, room=3, at_most=100)
    seeing = [number for number, place in enumerate(packed.indices) if not rows[place].blind]
    pairs = list(itertools.product(seeing, (200, 201, 202)))[::-1]
    for _ in range(2):  # nothing of a step is kept
        logits = prefiller.model.decoder.logits(packed.step(*torch.tensor(pairs).T))
        for (branch, number), found in zip(pairs, logits, strict=True):
            expected = alone(prefiller, rows[packed.indices[branch]], number)[-1]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_many_prompts_come_in_several_batches(prefiller, features):
    rows = [Prompt((features[number % 2],), [50 + number, 60]) for number in range(100)]
    taken = list(prefiller.prefill_packed(rows, room=1, at_most=10))
    assert len(taken) > 1
    assert sorted(place for packed in taken for place in packed.indices) == list(range(100))


def test_what_is_too_long_or_has_too_few_images_is_said(prefiller, features):
    with pytest.raises(InputError, match="2048"):
        list(prefiller.prefill_packed([Prompt((), [50] * 2047)], room=1, at_most=1))
    with pytest.raises(InputError, match="more places for images"):
        list(prefiller.prefill_packed([Prompt((), [IMAGE, 50])], room=1, at_most=1))


@torch.no_grad()
def test_views_come_in_the_order_given_wherever_they_lie_in_memory(prefiller, features, tokenizer):
    copies = sorted((features[0].clone() for _ in range(6)), key=id, reverse=True)
    rows = [Prompt((copy,), [tokenizer.control.grounding, 50]) for copy in [*copies, *copies]]
    [packed] = prefiller.prefill_packed(rows, room=1, at_most=100)
    assert packed.indices == [place for pair in range(6) for place in (pair, pair + 6)]


def test_packed_prompts_share_a_prefix_and_do_not_attend_to_each_other():
    packed = pack([([1, 2], [[3], [4, 5]]), ([6], [[7]])], pad=0)
    assert packed.ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert packed.positions.tolist() == [[0, 1, 2, 2, 3], [0, 1, 0, 0, 0]]
    assert packed.owners.tolist() == [
        [SHARED, SHARED, 0, 1, 1],
        [SHARED, 2, PADDING, PADDING, PADDING],
    ]
    assert packed.sequences.tolist() == [0, 0, 1]
    assert packed.begins.tolist() == [2, 3, 1]
    assert packed.ends.tolist() == [3, 5, 2]
    assert packed.lengths.tolist() == [3, 4, 2]
    assert packed_mask(packed.owners)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_images_have_slots_between_their_marks(prefiller):
    control = prefiller.control
    ids = torch.tensor([[control.start, *image_ids(control, 3), 50, *image_ids(control, 2), 60]])
    assert image_slots(ids, control).int().tolist() == [[0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0]]

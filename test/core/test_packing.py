"""Prompts in one sequence: each has the logits it has alone, whatever its company."""

import itertools

import pytest
import torch
from peer import make_peer, save_peer, shape

from kosmos2_core.checkpoint import load_model
from kosmos2_core.errors import InputError
from kosmos2_core.packing import LAST, Row, Starter, start_branches
from kosmos2_core.prompts import IMAGE

QUERIES = 8


@pytest.fixture(scope="module")
def starter(tokenizer, tmp_path_factory):
    peer = make_peer(shape(f"{tokenizer.size} 64 3 128 4", "48 96 2 3 56 14", QUERIES))
    return Starter(load_model(save_peer(peer, tmp_path_factory.mktemp("checkpoint"))), tokenizer.control)


@pytest.fixture(scope="module")
def features(starter):
    with torch.no_grad():
        pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))
        return tuple(starter.model.encode(pixels))


@pytest.fixture(scope="module")
def rows(features, tokenizer):
    """About two views, about none, with prompts that begin alike, are alike, and place images themselves."""
    phrase = [tokenizer.control.grounding, tokenizer.control.phrase]
    one, other, both = (features[0],), (features[1],), (features[0], features[2])
    return [
        Row(one, [*phrase, 50, 60]),
        Row(other, [*phrase, 70]),
        Row(one, [*phrase, 50, 61, 62, 63]),
        Row(one, [*phrase, 50, 60]),
        Row((), [*phrase, 80, 81]),
        Row(both, [*phrase, 90]),
        Row(both, [IMAGE, 90, 91, IMAGE, 92, 93]),
        Row(both, [IMAGE, 90, 91, IMAGE, 92, 94, 95]),
        Row(both, [90, IMAGE, 96]),
    ]


def alone(starter, row, *more):
    """The plain path: one sequence, no cache."""
    ids = [*starter.spell_row(row), *more]
    x, _ = starter.embed([ids], list(row.images))
    hidden = starter.model.decoder(x, torch.arange(len(ids))[None], None, True, None)
    return starter.model.decoder.logits(hidden)[0]


@torch.no_grad()
def test_each_branch_has_the_logits_it_has_alone(starter, rows):
    [branches] = start_branches(starter, rows, more=1, at_once=100)
    assert sorted(branches.places) == list(range(len(rows)))
    for place, logits in zip(branches.places, branches.logits, strict=True):
        torch.testing.assert_close(logits, alone(starter, rows[place])[-LAST:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_step_on_any_branches_is_one_token_more(starter, rows):
    [branches] = start_branches(starter, rows, more=3, at_once=100)
    pairs = list(itertools.product(range(len(rows)), (200, 201, 202)))[::-1]
    for _ in range(2):  # nothing of a step is kept
        logits = branches.step(*torch.tensor(pairs).T)
        for (branch, number), found in zip(pairs, logits, strict=True):
            expected = alone(starter, rows[branches.places[branch]], number)[-1]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_many_prompts_come_in_several_batches(starter, features):
    rows = [Row((features[number % 2],), [50 + number, 60]) for number in range(100)]
    taken = list(start_branches(starter, rows, more=1, at_once=10))
    assert len(taken) > 1
    assert sorted(place for branches in taken for place in branches.places) == list(range(100))


def test_what_is_too_long_or_has_too_few_images_is_said(starter, features):
    with pytest.raises(InputError, match="2048"):
        list(start_branches(starter, [Row((), [50] * 2047)], more=1, at_once=1))
    with pytest.raises(InputError, match="more places for images"):
        list(start_branches(starter, [Row((), [IMAGE, 50])], more=1, at_once=1))


@torch.no_grad()
def test_views_come_in_the_order_given_wherever_they_lie_in_memory(starter, features, tokenizer):
    copies = sorted((features[0].clone() for _ in range(6)), key=id, reverse=True)
    rows = [Row((copy,), [tokenizer.control.grounding, 50]) for copy in [*copies, *copies]]
    [branches] = start_branches(starter, rows, more=1, at_once=100)
    assert branches.places == [place for pair in range(6) for place in (pair, pair + 6)]

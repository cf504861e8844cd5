"""What is asked of some tokens is what the whole would give there."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_core.places import Places

COUNT, LENGTH = 4, 6
ROWS = st.integers(0, COUNT - 1)
ASKED = st.lists(st.tuples(ROWS, st.integers(0, LENGTH - 1)), min_size=1, max_size=12)


def places_of(asked):
    rows, tokens = torch.tensor(asked).T
    return Places(rows, tokens, COUNT)


@given(ASKED)
def test_values_come_from_their_places_in_any_order(asked):
    x = torch.arange(COUNT * LENGTH * 2).view(COUNT, LENGTH, 2)
    rows, tokens = torch.tensor(asked).T
    assert places_of(asked).of(x).equal(x[rows, tokens])


@given(ASKED)
def test_spread_values_stand_in_their_rows_and_come_back_as_they_were(asked):
    places, values = places_of(asked), torch.arange(len(asked)) + 100
    spread = places.spread(values, empty=-1)
    assert places.gather(spread).equal(values)
    for row, columns in enumerate(spread.tolist()):
        own = [100 + number for number, (at, _) in enumerate(asked) if at == row]
        assert columns == own + [-1] * (places.width - len(own))


@given(ASKED, st.booleans())
def test_each_sees_what_its_token_sees(asked, shared):
    places = places_of(asked)
    masks = torch.rand(1 if shared else COUNT, 1, LENGTH, LENGTH) > 0.5
    rows, tokens = torch.tensor(asked).T
    whole = masks.expand(COUNT, -1, -1, -1)[rows, 0, tokens]
    assert places.gather(places.seen(masks, LENGTH)[:, 0]).equal(whole)


@given(ASKED)
def test_without_a_mask_each_sees_what_is_up_to_itself(asked):
    places = places_of(asked)
    seen = places.gather(places.seen(None, LENGTH)[:, 0])
    assert (seen.sum(1) - 1).tolist() == [token for _, token in asked]


@given(st.lists(ROWS, min_size=1, max_size=12))
def test_without_tokens_they_are_the_first_ones_of_their_rows(rows):
    places = Places(torch.tensor(rows), None, COUNT)
    assert places.tokens.tolist() == [rows[:at].count(row) for at, row in enumerate(rows)]


def test_the_last_ones():
    places = Places.last(2, COUNT, LENGTH, torch.device("cpu"))
    assert places.of(torch.arange(COUNT * LENGTH).view(COUNT, LENGTH)).view(COUNT, 2).tolist() == [
        [LENGTH * row + LENGTH - 2, LENGTH * row + LENGTH - 1] for row in range(COUNT)
    ]

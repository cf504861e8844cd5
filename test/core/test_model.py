"""The model computes what the peer computes."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peer import SHAPES, make_peer, save_peer

from kosmos2_core.checkpoint import load_model
from kosmos2_core.model import StaticCache, TokenSelection

LOGITS = 1e-4


@pytest.fixture(scope="module", params=SHAPES)
def pair(request, tmp_path_factory):
    """The peer, and our model loaded from the checkpoint it saved."""
    peer = make_peer(request.param)
    return peer, load_model(save_peer(peer, tmp_path_factory.mktemp("checkpoint")))


def prompts(peer, count, length, images):
    """Random ids with places for images, and the images."""
    config, queries = peer.config, peer.config.latent_query_num
    ids = torch.randint(4, config.text_config.vocab_size, (count, length))
    slots = torch.zeros(count, length, dtype=torch.bool)
    for image in range(images):
        start = 2 + image * (queries + 3)
        slots[:, start : start + queries] = True
    size = config.vision_config.image_size
    return ids, slots, torch.randn(count * images, 3, size, size)


@torch.no_grad()
def peer_logits(peer, ids, slots, pixels, real):
    """One image a row goes in as pixels; of several the peer takes only the features."""
    mask = {"image_embeds_position_mask": slots.long(), "attention_mask": real.long()}
    if len(pixels) == len(ids):
        return peer(input_ids=ids, pixel_values=pixels, **mask).logits
    features = [
        peer(input_ids=ids[:1], pixel_values=image[None], **first_row(mask)).image_embeds for image in pixels
    ]
    return peer(input_ids=ids, image_embeds=torch.cat(features), **mask).logits


def first_row(mask):
    """Of a mask for several images a row, what one image takes."""
    slots = mask["image_embeds_position_mask"][:1].clone()
    second = slots.cumsum(1) > slots.sum() // 2
    return {"image_embeds_position_mask": slots * ~second, "attention_mask": mask["attention_mask"][:1]}


@pytest.mark.parametrize("images", [1, 2])
@torch.no_grad()
def test_logits_of_prompts_with_images(pair, images):
    peer, model = pair
    length = 12 + images * (peer.config.latent_query_num + 3)
    ids, slots, pixels = prompts(peer, 3, length, images)
    real = torch.ones_like(ids, dtype=torch.bool)
    ours = model(ids, model.encode(pixels), slots)
    torch.testing.assert_close(ours, peer_logits(peer, ids, slots, pixels, real), atol=LOGITS, rtol=0)


@torch.no_grad()
def test_logits_of_a_left_padded_batch(pair):
    peer, model = pair
    length = 16 + peer.config.latent_query_num
    ids, slots, pixels = prompts(peer, 3, length, 1)
    real = torch.ones_like(ids, dtype=torch.bool)
    for row, padding in enumerate((0, 3, 7)):
        ids[row] = ids[row].roll(padding)
        slots[row] = slots[row].roll(padding)
        real[row, :padding] = False
        ids[row, :padding] = peer.config.text_config.pad_token_id
    ours = model(ids, model.encode(pixels), slots, real)
    theirs = peer_logits(peer, ids, slots, pixels, real)
    torch.testing.assert_close(ours[real], theirs[real], atol=LOGITS, rtol=0)
    alone = model(ids[2:, 7:], model.encode(pixels[2:]), slots[2:, 7:])
    torch.testing.assert_close(ours[2:, 7:], alone, atol=LOGITS, rtol=0)


@torch.no_grad()
def test_text_alone_needs_no_image(pair):
    peer, model = pair
    ids = torch.randint(4, peer.config.text_config.vocab_size, (2, 20))
    theirs = peer.text_model(input_ids=ids).logits
    torch.testing.assert_close(model(ids), theirs, atol=LOGITS, rtol=0)


@torch.no_grad()
def test_bfloat16_decides_as_the_peer_where_float32_is_sure(pair, tmp_path):
    peer, model = pair
    ids, slots, pixels = prompts(peer, 4, 60 + peer.config.latent_query_num, 1)
    sure = model(ids, model.encode(pixels), slots)
    top = sure.topk(2).values
    margin = top[..., 0] - top[..., 1] > 0.1
    half = load_model(save_peer(peer, tmp_path), dtype=torch.bfloat16)
    ours = half(ids, half.encode(pixels), slots)
    assert ours.dtype == torch.bfloat16
    agree = ours.argmax(-1) == sure.argmax(-1)
    assert agree[margin].float().mean() == 1.0


@torch.no_grad()
def test_states_at_places_are_those_of_the_whole(pair):
    """In any order, any of them twice, and in a row none."""
    peer, model = pair
    ids, _, _ = prompts(peer, 3, 12, 0)
    x, positions = model.embed(ids), torch.arange(12).expand(3, -1)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()[None, None]
    whole = model.decoder(x, positions, mask, False, None)
    rows, places = torch.tensor([2, 0, 2, 0, 2]), torch.tensor([3, 11, 3, 0, 7])
    there = model.decoder(x, positions, mask, False, None, TokenSelection(rows, places, 3))
    torch.testing.assert_close(there, whole[rows, places], atol=1e-5, rtol=1e-5)


COUNT, LENGTH = 4, 6
ROWS = st.integers(0, COUNT - 1)
ASKED = st.lists(st.tuples(ROWS, st.integers(0, LENGTH - 1)), min_size=1, max_size=12)


def select(asked):
    rows, tokens = torch.tensor(asked).T
    return TokenSelection(rows, tokens, COUNT)


@given(ASKED)
def test_values_come_from_their_selection_in_any_order(asked):
    x = torch.arange(COUNT * LENGTH * 2).view(COUNT, LENGTH, 2)
    rows, tokens = torch.tensor(asked).T
    assert select(asked).select(x).equal(x[rows, tokens])


@given(ASKED)
def test_laid_out_values_stand_in_their_rows_and_come_back_as_they_were(asked):
    selection, values = select(asked), torch.arange(len(asked)) + 100
    laid_out = selection.lay_out(values, empty=-1)
    assert selection.collect(laid_out).equal(values)
    for row, columns in enumerate(laid_out.tolist()):
        expected = [100 + number for number, (sequence, _) in enumerate(asked) if sequence == row]
        assert columns == expected + [-1] * (selection.width - len(expected))


@given(ASKED, st.booleans())
def test_each_sees_what_its_token_sees(asked, shared):
    selection = select(asked)
    masks = torch.rand(1 if shared else COUNT, 1, LENGTH, LENGTH) > 0.5
    rows, tokens = torch.tensor(asked).T
    whole = masks.expand(COUNT, -1, -1, -1)[rows, 0, tokens]
    assert selection.collect(selection.mask(masks, LENGTH)[:, 0]).equal(whole)


@given(ASKED)
def test_without_a_mask_each_sees_what_is_up_to_itself(asked):
    selection = select(asked)
    seen = selection.collect(selection.mask(None, LENGTH)[:, 0])
    assert (seen.sum(1) - 1).tolist() == [token for _, token in asked]


@given(st.lists(ROWS, min_size=1, max_size=12))
def test_without_tokens_they_are_the_first_ones_of_their_rows(rows):
    selection = TokenSelection(torch.tensor(rows), None, COUNT)
    assert selection.indices.tolist() == [rows[:index].count(row) for index, row in enumerate(rows)]


def test_the_last_ones():
    selection = TokenSelection.last(2, COUNT, LENGTH)
    assert selection.select(torch.arange(COUNT * LENGTH).view(COUNT, LENGTH)).view(COUNT, 2).tolist() == [
        [LENGTH * row + LENGTH - 2, LENGTH * row + LENGTH - 1] for row in range(COUNT)
    ]


class CacheModel:
    """A cache beside the lists of numbers, one list per sequence, that it should hold."""

    def __init__(self, prompts, capacity) -> None:
        self.text = SimpleNamespace(layers=2, attention_heads=1, embed_dim=1)
        self.sequences, self.next = [[] for _ in range(prompts)], 1
        self.cache = StaticCache(self.text, prompts, 2, torch.device("cpu"), torch.float32)
        self.append(2)
        self.select(list(range(prompts)), capacity)

    def append(self, count) -> None:
        for _ in range(count):
            numbers = [self.next + row for row in range(len(self.sequences))]
            self.next += len(numbers)
            self.cache.reserve(1)
            new = torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1)
            for layer in range(2):
                self.cache.update(layer, new + layer / 2, -new)
            self.cache.advance(1)
            for sequence, number in zip(self.sequences, numbers, strict=True):
                sequence.append(number)

    def select(self, rows, capacity) -> None:
        self.cache = self.cache.select(rows, 30, batch=capacity)
        self.sequences = [list(self.sequences[row]) for row in rows]

    def reorder(self, rows) -> None:
        self.cache.reorder(rows)
        self.sequences = [list(self.sequences[row]) for row in rows]

    def check(self) -> None:
        cache = self.cache
        for layer in range(2):
            keys, values = (
                held[layer, : cache.batch, 0, : cache.filled, 0] for held in (cache.keys, cache.values)
            )
            assert (keys - layer / 2).tolist() == self.sequences
            assert (-values).tolist() == self.sequences


@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_reordered_sequences_hold_what_those_held_that_they_continue(data, prompts, beams):
    """In any order, more or fewer than before, also from another prompt's."""
    capacity = prompts * beams
    model = CacheModel(prompts, capacity)
    for _ in range(data.draw(st.integers(1, 6))):
        source = st.integers(0, len(model.sequences) - 1)
        model.reorder(data.draw(st.lists(source, min_size=1, max_size=capacity)))
        model.check()
        model.append(data.draw(st.integers(0, 2)))
        model.check()

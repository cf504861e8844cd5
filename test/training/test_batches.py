"""Items share one sequence with their image, and each counts as if it were alone with it."""

import numpy as np
import pytest
import torch

from kosmos2_core.config import Config, TextConfig, VisionConfig
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.record_source import RecordSource
from kosmos2_training.batches import BatchShape, collate, make_sample
from kosmos2_training.from_scratch import start_model
from kosmos2_training.patch_targets import ObjectClasses

SHAPE = BatchShape(image_size=56, patches=4, queries=16, tokens=200)


@pytest.fixture(scope="module")
def tokenizer(data):
    return Tokenizer.load(data / "tokenizer")


@pytest.fixture(scope="module")
def model(tokenizer):
    vision = VisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=56
    )
    text = TextConfig(vocab_size=tokenizer.size, embed_dim=32, ffn_dim=64, layers=3, attention_heads=2)
    return start_model(Config(vision, text, 16), tokenizer.control, seed=0).eval()


def samples(data, tokenizer, shape=SHAPE, count=3):
    source = RecordSource(data / "data")
    names = ObjectClasses.from_records(source[number] for number in range(len(source)))
    return [
        make_sample(
            *(source.image(source[n]), source.mask(source[n]), source[n], tokenizer, shape, names),
            np.random.default_rng(n),
        )
        for n in range(count)
    ]


@torch.no_grad()
def test_a_branch_has_the_probabilities_of_a_separate_sequence(data, tokenizer, model):
    made = samples(data, tokenizer)
    batch = collate(made, tokenizer, SHAPE)
    tokens = model.encode(batch.pixels)
    x = model.embed(batch.ids, tokens, batch.slots)
    hidden = model.decoder(x, batch.positions, batch.mask, False, None)
    together = model.decoder.logits(hidden[batch.rows, batch.indices]).log_softmax(-1)
    together = together.gather(1, batch.targets[:, None])[:, 0].tolist()

    control = tokenizer.control
    alone = []
    for row, sample in enumerate(made):
        assert len(sample.examples) > 1
        for example in sample.examples:
            ids = [control.start, control.image, *range(4, 20), control.image_end, *example.ids]
            slots = torch.zeros(1, len(ids), dtype=torch.bool)
            slots[:, 2:18] = True
            logits = model(torch.tensor([ids]), tokens[row : row + 1], slots).log_softmax(-1)[0]
            places = range(len(ids) - example.answer_length, len(ids))
            alone += [float(logits[place - 1, ids[place]]) for place in places]
    assert together == pytest.approx(alone, abs=1e-4)


def test_a_sample_has_as_many_examples_as_there_is_room_for(data, tokenizer):
    few = samples(data, tokenizer, BatchShape(56, 4, 16, tokens=45))
    many = samples(data, tokenizer, BatchShape(56, 4, 16, tokens=200))
    for less, more in zip(few, many, strict=True):
        assert 1 <= len(less.examples) < len(more.examples)
        assert sum(len(example.ids) for example in less.examples) + 19 <= 45


def test_prompts_are_not_learnt(data, tokenizer):
    batch = collate(samples(data, tokenizer), tokenizer, SHAPE)
    learnt = set(batch.targets.tolist())
    assert tokenizer.control.phrase not in learnt
    assert tokenizer.control.image_end not in learnt
    assert not learnt.intersection(tokenizer.encode("How many"))


def test_location_tokens_alone_have_a_true_corner(data, tokenizer):
    batch = collate(samples(data, tokenizer), tokenizer, SHAPE)
    located = [number in tokenizer.control.locations for number in batch.targets.tolist()]
    assert (~batch.corners[:, 0].isnan()).tolist() == located
    assert any(located)

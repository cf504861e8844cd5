"""A small model of random weights, and data of which the truth is known."""

import numpy as np
import pytest
from peer import make_peer, make_processor, save_peer, shape
from small_data import scene

from kosmos2_core.engine import Engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    size, queries = 28, 4
    processor = make_processor(size=size, queries=queries)
    folder = tmp_path_factory.mktemp("checkpoint")
    decoder = f"{len(processor.tokenizer)} 32 2 64 4"
    save_peer(make_peer(shape(decoder, f"32 64 2 4 {size} 14", queries), seed=5), folder)
    processor.save_pretrained(folder)
    return Engine.load(folder, device="cpu")


@pytest.fixture(scope="session")
def samples():
    made = (scene(np.random.default_rng(number), str(number)) for number in range(3))
    return [(image, record) for image, _, record in made]

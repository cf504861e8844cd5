"""A small checkpoint as a user has it, with the peer's processor beside it, and images."""

import numpy as np
import pytest
from peer import make_peer, make_processor, save_peer, shape
from PIL import Image

from kosmos2_cli.main import main


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    size, queries = 56, 8
    processor = make_processor(size=size, queries=queries)
    folder = tmp_path_factory.mktemp("checkpoint")
    save_peer(
        make_peer(shape(f"{len(processor.tokenizer)} 64 2 128 4", f"48 96 2 3 {size} 14", queries)), folder
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def kosmos2(checkpoint, capsys):
    """The command, in this process: exit code, standard output, standard error."""

    def run(name, *arguments):
        given = name in ("download", "quantize") or "--model" in arguments
        model = [] if given else ["--model", checkpoint, "--device", "cpu"]
        code = main([name, *map(str, (*arguments, *model))])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run

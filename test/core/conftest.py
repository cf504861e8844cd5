"""The peer's processor with a small vocabulary, and our tokenizer of the same file."""

import pytest
from peer import make_processor

from kosmos2_core.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def processor():
    return make_processor()


@pytest.fixture(scope="session")
def tokenizer_folder(processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    processor.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder):
    return Tokenizer.load(tokenizer_folder)

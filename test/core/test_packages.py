"""A package that is not installed: the sentence names the extra of setup.py that has it."""

import re
import sys
from pathlib import Path

import pytest

from kosmos2_core.errors import InputError
from kosmos2_core.packages import missing_package, require

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from setup import EXTRAS, REQUIRES  # noqa: E402

MODULES = {"opencv-python": "cv2", "pillow": "PIL", "pyyaml": "yaml", "huggingface-hub": "huggingface_hub"}
USED = ("train", "eval", "sim", "captions", "spacy")  # by commands


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0]


@pytest.mark.parametrize("extra", USED)
def test_the_named_extra_has_the_package(extra):
    for package in map(name_of, EXTRAS[extra]):
        sentence = str(missing_package(package))
        named = re.fullmatch(rf"{package} is not installed: run `pip install 'kosmos2\[(\w+)\]'`\.", sentence)
        assert named, sentence
        assert package in map(name_of, EXTRAS[named[1]])
        assert named[1] in USED


def test_what_every_command_needs_comes_with_the_project():
    for package in map(name_of, REQUIRES):
        sentence = str(missing_package(MODULES.get(package, package)))
        assert sentence == f"{package} is not installed: run `pip install kosmos2`."


def test_a_part_of_a_package_and_an_unknown_one():
    assert "run `pip install 'kosmos2[train]'`" in str(missing_package("tensorboard.compat.tensorflow_stub"))
    assert str(missing_package("six")) == "six is not installed: run `pip install six`."


def test_what_is_needed_later_is_asked_for_early():
    require("numpy", "torch")
    with pytest.raises(InputError, match="no-such-package is not installed"):
        require("numpy", "no_such_package")

"""A checkpoint with random weights, which all contenders of `core.py` load.

python test/bench/checkpoint.py FOLDER [--layers N]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from contenders import QUANTIZED
from peer import make_processor

from kosmos2_core.checkpoint import quantize_checkpoint

VOCABULARY = 64001  # pieces of the public checkpoint's vocabulary: its control tokens get the same ids


def make_checkpoint(folder: Path, layers: int | None) -> None:
    """Write the full-size model with random weights, in bfloat16, and a processor.

    Args:
        folder: The folder.
        layers: Number of blocks of the decoder and of the vision tower; None: all.
    """
    shape = {} if layers is None else {"text_config": {"layers": layers}}
    shape |= {} if layers is None else {"vision_config": {"num_hidden_layers": layers}}
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = Kosmos2ForConditionalGeneration(Kosmos2Config(**shape))
    model.save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    make_processor(vocabulary_size=VOCABULARY).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder to write")
    parser.add_argument("--layers", type=int, help="number of blocks of each tower")
    parser.add_argument("--quantize", action="store_true", help="write its weights in int8 to a folder in it")
    arguments = parser.parse_args()
    if arguments.quantize:
        quantize_checkpoint(arguments.folder, arguments.folder / QUANTIZED)
    else:
        make_checkpoint(arguments.folder, arguments.layers)

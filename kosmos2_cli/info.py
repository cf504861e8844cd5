"""Examples:

  kosmos2 info models/tabletop-tiny
  kosmos2 info microsoft/kosmos-2-patch14-224 --json

Reads the headers of the weights, and not the weights.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from typing import Any

from safetensors import safe_open

from kosmos2_cli.options import add_model
from kosmos2_core.calibration import Calibration, read_calibration
from kosmos2_core.checkpoint import REDUNDANT_TENSORS, checkpoint_folder, tensor_files
from kosmos2_core.config import read_config
from kosmos2_core.tokenizer import Tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="MODEL", help="instead of --model")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    about = describe(arguments.name or arguments.model, arguments.revision, arguments.offline)
    if arguments.json:
        print(json.dumps(about))
        return
    wide = max(map(len, about))
    for name, value in about.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        print(f"{name.replace('_', ' '):<{wide}}  {shown}")


def describe(name: str, revision: str | None, offline: bool) -> dict[str, Any]:
    """What a checkpoint is, from its headers; no weight is read."""
    folder = checkpoint_folder(name, revision, offline)
    config, tokenizer = read_config(folder / "config.json"), Tokenizer.load(folder)
    sizes: Counter[str] = Counter()
    files = tensor_files(folder)
    for tensor, file in files.items():
        with safe_open(file, framework="pt") as opened:
            part = opened.get_slice(tensor)
            sizes[part.get_dtype()] += (
                0 if REDUNDANT_TENSORS.fullmatch(tensor) else math.prod(part.get_shape())
            )
    vision, text, calibration = config.vision_config, config.text_config, read_calibration(folder)
    return {
        "folder": str(folder),
        "parameters": sum(sizes.values()),
        "precision": ", ".join(sorted(sizes)),
        "bytes": sum(file.stat().st_size for file in set(files.values())),
        "image": f"{vision.image_size} x {vision.image_size}, patches of {vision.patch_size}",
        "image_tokens": config.latent_query_num,
        "vision": f"{vision.num_hidden_layers} layers of {vision.hidden_size}",
        "decoder": f"{text.layers} layers of {text.embed_dim}",
        "context": text.max_position_embeddings,
        "vocabulary": tokenizer.size,
        "locations": f"{tokenizer.control.grid} x {tokenizer.control.grid}",
        "calibration": _calibration(calibration),
    }


def _calibration(calibration: Calibration | None) -> str:
    if calibration is None:
        return "none"
    return (
        f"temperature {calibration.temperature:.3g}, slope {calibration.slope:.3g}, spread"
        f" {calibration.spread:g}, refine {str(calibration.refine).lower()}, min_presence"
        f" {calibration.min_presence:.3g}"
    )

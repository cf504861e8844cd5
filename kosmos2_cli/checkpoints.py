"""Commands about a checkpoint: download, info, quantize."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import PUBLIC_MODEL, add_model

if TYPE_CHECKING:  # importing NumPy and the hub client takes time that `--help` does not need
    from kosmos2_core.calibration import Calibration

DOWNLOAD_EXAMPLES = """
Examples:

  kosmos2 download
  kosmos2 download microsoft/kosmos-2-patch14-224 --revision main

Asks the hub for the newest commit of the revision, downloads what is missing, checks the hash of every file
and prints the folder. All other commands use downloaded files without asking the hub again. To use a mirror,
set HF_ENDPOINT; to store the files elsewhere, set HF_HOME.
"""

INFO_EXAMPLES = """
Examples:

  kosmos2 info models/tabletop-tiny
  kosmos2 info microsoft/kosmos-2-patch14-224 --json

Reads only the headers of the weight files, so it is fast for checkpoints of any size.
"""

QUANTIZE_EXAMPLES = """
Examples:

  kosmos2 quantize microsoft/kosmos-2-patch14-224 --out models/kosmos-2-int8
  kosmos2 locate "the red mug" photo.jpg --model models/kosmos-2-int8

Weights become integers of eight bits: a quarter of a float32 checkpoint's size, loaded in seconds. The new
folder is for this package; training and `transformers` need the original. On a GPU, and on CPUs without fast
integer kernels, its weights are converted back to floating point.
"""


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        default=PUBLIC_MODEL,
        metavar="NAME",
        help="name of the checkpoint on the hub (default: %(default)s)",
    )
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")


def _run_download(arguments: argparse.Namespace) -> None:
    from kosmos2_core.checkpoint import download

    print(download(arguments.name, arguments.revision))


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="MODEL", help="checkpoint: a folder or a name on the hub, like --model"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_model(parser)


def _run_info(arguments: argparse.Namespace) -> None:
    properties = describe_checkpoint(arguments.name or arguments.model, arguments.revision, arguments.offline)
    if arguments.json:
        print(json.dumps(properties))
        return
    column = max(map(len, properties))
    for name, value in properties.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        print(f"{name.replace('_', ' '):<{column}}  {shown}")


def describe_checkpoint(name: str, revision: str | None, offline: bool) -> dict[str, Any]:
    """Return the properties of a checkpoint, read from its headers; no weights are loaded.

    Args:
        name: a folder or a name on the hub.
        revision: branch, tag or commit on the hub.
        offline: do not use the network.
    """
    from safetensors import safe_open

    from kosmos2_core.calibration import read_calibration
    from kosmos2_core.checkpoint import REDUNDANT_TENSORS, SCALES, checkpoint_folder, tensor_files
    from kosmos2_core.config import read_config
    from kosmos2_core.engine import choose_device, choose_quantization
    from kosmos2_core.tokenizer import Tokenizer

    folder = checkpoint_folder(name, revision, offline)
    config, tokenizer = read_config(folder / "config.json"), Tokenizer.load(folder)
    sizes: Counter[str] = Counter()  # parameters by data type
    files = tensor_files(folder)
    for tensor, file in files.items():
        with safe_open(file, framework="pt") as opened:
            header = opened.get_slice(tensor)
            if not REDUNDANT_TENSORS.fullmatch(tensor) and not tensor.endswith(SCALES):
                sizes[header.get_dtype()] += math.prod(header.get_shape())
    vision, text = config.vision_config, config.text_config
    kernel = choose_quantization("auto", choose_device("cpu"), "auto", folder)
    return {
        "folder": str(folder),
        "parameters": sum(sizes.values()),
        "precision": ", ".join(sorted(sizes)),
        "on_this_cpu": f"int8 ({kernel.name})" if kernel else "floating point",
        "bytes": sum(file.stat().st_size for file in set(files.values())),
        "image": f"{vision.image_size} x {vision.image_size}, patches of {vision.patch_size}",
        "image_tokens": config.latent_query_num,
        "vision": f"{vision.num_hidden_layers} layers of {vision.hidden_size}",
        "decoder": f"{text.layers} layers of {text.embed_dim}",
        "context": text.max_position_embeddings,
        "vocabulary": tokenizer.size,
        "locations": f"{tokenizer.control.grid} x {tokenizer.control.grid}",
        "calibration": _format_calibration(read_calibration(folder)),
    }


def _format_calibration(calibration: Calibration | None) -> str:
    if calibration is None:
        return "none"
    weights = calibration.presence
    presence = f", presence from {', '.join(weights.weights)}" if weights else ""
    return (
        f"temperature {calibration.temperature:.3g}, slope {calibration.slope:.3g}, spread"
        f" {calibration.spread:g}, refine {str(calibration.refine).lower()}, min_presence"
        f" {calibration.min_presence:.3g}{presence}"
    )


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="MODEL", help="checkpoint: a folder or a name on the hub")
    parser.add_argument("--to", default="int8", choices=("int8",), help="precision (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--revision", help="branch, tag or commit of a checkpoint on the hub (default: main)")
    parser.add_argument(
        "--offline", action="store_true", help="use only files that are already downloaded, no network"
    )


def _run_quantize(arguments: argparse.Namespace) -> None:
    from kosmos2_core.checkpoint import checkpoint_folder, quantize_checkpoint

    quantize_checkpoint(
        checkpoint_folder(arguments.name, arguments.revision, arguments.offline), arguments.out
    )
    print(arguments.out)


DOWNLOAD = CliCommand(_add_download, _run_download, DOWNLOAD_EXAMPLES)
INFO = CliCommand(_add_info, _run_info, INFO_EXAMPLES)
QUANTIZE = CliCommand(_add_quantize, _run_quantize, QUANTIZE_EXAMPLES)

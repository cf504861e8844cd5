"""Options that several commands share, and what they make."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.errors import InputError

if TYPE_CHECKING:  # torch takes seconds to import: only when a model is loaded
    from kosmos2_core.decoding import Decoding
    from kosmos2_core.engine import Engine

PUBLIC = "microsoft/kosmos-2-patch14-224"


def add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        default=os.environ.get("KOSMOS2_MODEL", PUBLIC),
        help="a checkpoint's folder, or its name on the hub ($KOSMOS2_MODEL, else %(default)s)",
    )
    group.add_argument("--revision", help="a branch, tag or commit of a checkpoint of the hub")
    group.add_argument("--offline", action="store_true", help="use what is downloaded, ask no network")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    group.add_argument(
        "--dtype", default="auto", help="auto, float32, bfloat16, float16 (default: %(default)s)"
    )


def check_min_presence(value: float | None) -> None:
    """Whether the presence threshold that was given is a probability."""
    if value is not None and not 0 <= value <= 1:  # NaN fails too
        raise InputError(f"--min-presence {value:g} is no probability: it is from 0 to 1.")


def labels_of(labels: str | None) -> tuple[str | None, Path | None]:
    """The topic, or the file, that `--labels` names."""
    if labels is None:
        return None, None
    if Path(labels).is_file():
        return None, Path(labels)
    if not labels.startswith("/"):
        raise InputError(f"--labels {labels} is neither a file nor a topic, which begins with /.")
    return labels, None


def load_engine(arguments: argparse.Namespace) -> Engine:
    from kosmos2_core.engine import Engine

    return Engine.load(
        arguments.model, arguments.device, arguments.dtype, arguments.revision, arguments.offline
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a file (PNG, JPEG, WebP), a folder, a pattern in quotes, a video, or a camera's number",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of a video or camera, each Nth frame"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each image")
    parser.add_argument(
        "--save", metavar="PATH", help="the image with its boxes; for many images a folder of them"
    )


def add_decoding(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the answer")
    group.add_argument("--max-tokens", type=int, default=128, metavar="N", help="at most (default: 128)")
    group.add_argument(
        "--beams", type=int, default=1, metavar="N", help="answers followed at once (default: 1)"
    )
    group.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0, the default: always the likeliest"
    )
    group.add_argument("--seed", type=int, metavar="S", help="the same answer each time above temperature 0")
    group.add_argument("--released", action="store_true", help="decode exactly as the public release does")


def decoding_of(arguments: argparse.Namespace) -> Decoding:
    """How to choose the answer; where the command has no such options, as nothing is generated, anyhow."""
    from kosmos2_core.decoding import Decoding

    if "max_tokens" not in arguments:
        return Decoding()
    return Decoding(
        max_new_tokens=arguments.max_tokens,
        beams=getattr(arguments, "beams", 1),
        temperature=arguments.temperature,
        seed=arguments.seed,
        released=arguments.released,
    )


def add_region(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--region",
        required=required,
        metavar="X1,Y1,X2,Y2",
        help="a box: in pixels, or from 0 to 1 over the image where no number is above 1",
    )


def region_of(text: str, width: int, height: int) -> Box:
    """The box that was given for an image of this size."""
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError:
        raise InputError(f"--region {text} is not four numbers, as in 0.1,0.2,0.5,0.6.") from None
    if max(x1, y1, x2, y2) <= 1:
        return Box(x1, y1, x2, y2)
    return box_of_pixels(x1, y1, x2, y2, width, height)


def check_region(text: str | None) -> None:
    """Whether it is a box of any image at all."""
    if text is not None:
        region_of(text, 1 << 20, 1 << 20)

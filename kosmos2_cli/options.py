"""Options that several commands share, and the objects that they describe."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_core.boxes import Box, box_of_numbers
from kosmos2_core.errors import InputError
from kosmos2_serve.wire import is_server

if TYPE_CHECKING:  # importing torch takes seconds, so commands do it only when they load a model
    from kosmos2_core.decoding import Decoding
    from kosmos2_core.engine import Engine
    from kosmos2_core.images import Pixels
    from kosmos2_serve.client import RemoteEngine

PUBLIC_MODEL = "microsoft/kosmos-2-patch14-224"
DTYPES = ("auto", "float32", "bfloat16", "float16")
LARGEST_SIDE_PX = 1 << 20  # an image that contains any region a user can mean


def add_model(parser: argparse.ArgumentParser, quantize: str = "auto", several: bool = False) -> None:
    """Add the options that choose a checkpoint and where it runs.

    Args:
        quantize: default of the quantisation; commands that evaluate a checkpoint do not quantise it.
        several: the option `--model` can be repeated; its values are a list, or None.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        action="append" if several else "store",
        default=None if several else default_model(),
        help="checkpoint: a folder, a name on the Hugging Face hub, or for locate, caption, describe, ask and"
        " chat the address of a server such as http://box:8000 (default: $KOSMOS2_MODEL, or"
        f" {PUBLIC_MODEL} if it is not set)" + ("; repeat the option for several" if several else ""),
    )
    group.add_argument("--revision", help="branch, tag or commit of a checkpoint on the hub (default: main)")
    group.add_argument(
        "--offline", action="store_true", help="use only files that are already downloaded, no network"
    )
    add_device(group)
    group.add_argument(
        "--dtype", default="auto", choices=DTYPES, help="precision of the model (default: %(default)s)"
    )
    group.add_argument(
        "--quantize",
        default=quantize,
        metavar="BITS",
        help="weights on a CPU: none (as --dtype says), int8 (faster for large models) or auto, which chooses"
        " (default: %(default)s)",
    )


def default_model() -> str:
    """Return the checkpoint of commands that name none."""
    return os.environ.get("KOSMOS2_MODEL", PUBLIC_MODEL)


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add the option that chooses where a model runs."""
    parser.add_argument(
        "--device",
        default="auto",
        help="where the model runs: auto, cpu, cuda or cuda:1; auto is a GPU if there is one (default: auto)",
    )


def load_engine(arguments: argparse.Namespace, model: str | Path | None = None) -> Engine:
    """Load the checkpoint that the command line names, and say so on a terminal meanwhile.

    Args:
        model: another checkpoint, to be loaded with the same options.
    """
    name = arguments.model if model is None else model
    if is_server(str(name)):
        raise InputError(f"this command needs a model on this machine: {name} is a server.")
    with status_line(f"loading {name} ..."):
        from kosmos2_core.engine import Engine

        options = vars(arguments)
        return Engine.load(
            name,
            arguments.device,
            options.get("dtype", "auto"),
            options.get("revision"),
            options.get("offline", False),
            options.get("quantize", "auto"),
        )


def load_model(arguments: argparse.Namespace) -> Engine | RemoteEngine:
    """Load the checkpoint that the command line names, or connect to the server that it names."""
    if not is_server(arguments.model):
        return load_engine(arguments)
    with status_line(f"connecting to {arguments.model} ..."):
        from kosmos2_serve.client import RemoteEngine

        return RemoteEngine(arguments.model)


@contextmanager
def status_line(text: str) -> Iterator[None]:
    """Show a text on standard error while something runs, then clear it; only on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    print(text, end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(f"\r{' ' * len(text)}\r", end="", file=sys.stderr, flush=True)


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the images, and the options of commands that answer about each of them."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image file (PNG, JPEG, WebP), http(s) address, folder, pattern in quotes such as"
        " 'frames/*.jpg', video file, or number of a camera of this machine",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use every Nth frame of a video or camera"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON per image")
    parser.add_argument(
        "--save",
        metavar="PATH",
        help="write the image with its boxes to this file; with several images, to this folder",
    )


def add_picture_file(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the picture to write."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("sheet.png"),
        metavar="FILE",
        help="picture to write (default: %(default)s)",
    )


def save_picture(picture: Pixels, file: Path) -> None:
    """Write a picture to the file that `--out` names, and print the file's name."""
    from kosmos2_core.images import save_image

    save_image(picture, file)
    print(file)


def add_decoding(parser: argparse.ArgumentParser, beams: bool = True) -> None:
    """Add the options that control how a text is generated."""
    group = parser.add_argument_group("generated text")
    group.add_argument(
        "--max-tokens", type=int, default=128, metavar="N", help="longest answer, in tokens (default: 128)"
    )
    if beams:
        group.add_argument(
            "--beams", type=int, default=1, metavar="N", help="width of the beam search (default: 1, greedy)"
        )
    group.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="sampling temperature; 0 always takes the most likely token (default: 0)",
    )
    group.add_argument(
        "--seed",
        type=int,
        metavar="S",
        help="seed of the sampling, to repeat an answer",
    )
    group.add_argument(
        "--released", action="store_true", help="decode exactly as transformers does, without our constraints"
    )


def make_decoding(arguments: argparse.Namespace) -> Decoding:
    """Return the decoding that the options describe, or the default for commands without these options."""
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
    """Add the option that names a box in the image."""
    parser.add_argument(
        "--region",
        required=required,
        metavar="X1,Y1,X2,Y2",
        help="box in the image: upper-left and lower-right corner, in pixels, or as fractions of the width"
        " and height if no number is above 1",
    )


def parse_region(text: str, width: int, height: int) -> Box:
    """Return the box that `--region` describes in an image of this size in pixels.

    Raises:
        InputError: the text is not four numbers, or they are not a box of such an image.
    """
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError:
        raise InputError(f"--region {text} is not four numbers, such as 0.1,0.2,0.5,0.6.") from None
    return box_of_numbers(x1, y1, x2, y2, width, height)


def check_region(text: str | None) -> None:
    """Raise InputError if `--region` cannot be a box of any image; called before a model is loaded."""
    if text is not None:
        parse_region(text, LARGEST_SIDE_PX, LARGEST_SIDE_PX)


def check_at_least(name: str, value: int | None, least: int) -> None:
    """Raise InputError if an option has a value below the least allowed one."""
    if value is not None and value < least:
        raise InputError(f"--{name} is {value}: it must be at least {least}.")


def check_min_presence(value: float | None) -> None:
    """Raise InputError if the presence threshold is not a probability."""
    if value is not None and not 0 <= value <= 1:  # NaN fails too
        raise InputError(f"--min-presence is {value:g}: it must be a probability, from 0 to 1.")


def parse_labels(labels: str | None) -> tuple[str | None, Path | None]:
    """Return the topic or the file that `--labels` names; the other one is None."""
    if labels is None:
        return None, None
    if Path(labels).is_file():
        return None, Path(labels)
    if not labels.startswith("/"):
        raise InputError(
            f"--labels {labels} is neither a file nor a topic: the name of a topic begins with /."
        )
    return labels, None


def add_bags(parser: argparse.ArgumentParser) -> None:
    """Add the bags of one recording."""
    parser.add_argument(
        "bags",
        nargs="+",
        type=Path,
        metavar="BAG",
        help="bag folder or file; several are read as parts of one recording",
    )


def add_image_topics(parser: argparse._ActionsContainer) -> None:
    """Add the option that chooses the cameras of a recording."""
    parser.add_argument(
        *("--image", "--camera"),
        action="append",
        default=[],
        metavar="TOPIC",
        help="image topic; repeat the option for several cameras, or give `all` (default: the only camera)",
    )


def add_labels(parser: argparse._ActionsContainer) -> None:
    """Add the option that names the correct answers of a recording."""
    parser.add_argument(
        "--labels",
        metavar="TOPIC|FILE",
        help="correct answers: a topic of type kosmos2/GroundedFrame or vision_msgs/Detection2DArray, or a"
        " file with one `STAMP grounded Markdown` per line",
    )


def add_bag_part(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose a part of a recording."""
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use every Nth image (default: 1)")
    parser.add_argument(
        "--from",
        type=float,
        default=0.0,
        dest="from_s",
        metavar="S",
        help="start this many seconds after the beginning of the recording (default: 0)",
    )
    parser.add_argument(
        "--to",
        type=float,
        dest="to_s",
        metavar="S",
        help="stop this many seconds after the beginning of the recording (default: its end)",
    )

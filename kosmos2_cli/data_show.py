"""Examples:

  kosmos2 data show data/train
  kosmos2 data show my_robot/records.jsonl --count 36 --seed 1 --out my_robot.png

Each tile is an image, drawn at random, and one thing that is said of it: look whether you would say so too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from kosmos2_core.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="PATH", help="a folder with records.jsonl, or such a file")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="of images (default: 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which ones (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"), help="the picture to write")


def run(arguments: argparse.Namespace) -> None:
    for name in ("count", "seed"):
        least = int(name == "count")
        if getattr(arguments, name) < least:
            raise InputError(f"--{name} is {getattr(arguments, name)}: it is at least {least}.")
    from kosmos2_data.record_source import RecordSource
    from kosmos2_data.show import sheet

    picture = sheet(RecordSource(arguments.data), arguments.count, arguments.seed)
    try:
        Image.fromarray(picture).save(arguments.out)
    except (OSError, ValueError) as error:  # ValueError: an unknown ending
        raise InputError(f"--out {arguments.out} cannot be written: {error}.") from None
    print(arguments.out)

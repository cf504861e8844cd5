"""Images of the simulated tabletop, and sentences about them. Examples:

  kosmos2 sim dataset data/train --count 20000 --split train --workers 2
  kosmos2 sim dataset data/hard --count 500 --split cluttered --items 8
  kosmos2 sim dataset data/hammers --count 50 --only cube,ball,hammer --must hammer

Begun before and broken off, it goes on where it stopped. A seed is an image: the same seeds of the same
split are the same images, and two splits never share one.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="OUT", help="the folder to write, or to continue")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="how many images")
    parser.add_argument(
        "--split", default="train", help="train, standard, cluttered, occluded or far (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first image (default: 0)")
    parser.add_argument(
        "--items", type=int, default=16, metavar="N", help="things said of each image (default: 16)"
    )
    parser.add_argument(
        "--probes",
        type=int,
        default=0,
        metavar="N",
        help="add N present and N absent phrases of each kind for each image, so that a model learns what"
        " is not there (default: 0)",
    )
    parser.add_argument(
        "--size", type=int, default=224, metavar="PX", help="of the square images (default: 224)"
    )
    parser.add_argument(
        "--only", metavar="SHAPES", help="the shapes that may appear, as in cube,ball (default: the usual)"
    )
    parser.add_argument("--must", metavar="SHAPE", help="a shape that every image has")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--shards", type=int, metavar="N", help="write the files into N tar files, for large data"
    )


def run(arguments: argparse.Namespace) -> None:
    from kosmos2_sim.dataset import make_dataset  # loads MuJoCo
    from kosmos2_sim.shapes import SHAPES

    only = arguments.only
    records = make_dataset(
        arguments.folder,
        arguments.count,
        arguments.split,
        arguments.seed,
        arguments.items,
        arguments.size,
        arguments.workers,
        arguments.shards,
        SHAPES if only is None else tuple(filter(None, map(str.strip, only.split(",")))),
        arguments.must,
        arguments.probes,
    )
    print(records)

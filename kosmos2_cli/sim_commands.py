"""Commands of `kosmos2 sim`: contact sheets, data sets and recordings of the simulated tabletop."""

from __future__ import annotations

import argparse
from pathlib import Path

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import add_picture_file, check_at_least, save_picture

SHOW_EXAMPLES = """
Examples:

  kosmos2 sim show
  kosmos2 sim show --split occluded --seed 100 --count 8 --truth --out occluded.png

Writes one picture with all scenes. With --truth each scene has three parts: boxes with names, the mask, and
the depth.
"""

DATASET_EXAMPLES = """
Examples:

  kosmos2 sim dataset data/train --count 20000 --split train --workers 2
  kosmos2 sim dataset data/hard --count 500 --split cluttered --items 8
  kosmos2 sim dataset data/hammers --count 50 --only cube,ball,hammer --must hammer

If the command is interrupted, run it again to resume. Each image has its own seed: the same seed of the same
split gives the same image, and two splits never share an image.
"""

BAG_EXAMPLES = """
Examples:

  kosmos2 sim bag runs/first
  kosmos2 sim bag runs/hard --seconds 30 --seed 7 --split cluttered --compressed
  ros2 bag play runs/first

The bag has camera images, depth, transforms and commands, and the correct answers on topics under /truth.
The same options give the same bytes. `ros2 bag play` needs ROS; the bag itself is written without ROS.
"""

SPLIT_HELP = (
    "kind of scenes: train, standard, cluttered, occluded, far, worlds (a wide training split), rooms or"
    " outdoors (default: %(default)s)"
)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", default="standard", help=SPLIT_HELP)
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the first scene (default: 0)"
    )
    parser.add_argument("--count", type=int, default=24, metavar="N", help="number of scenes (default: 24)")
    add_picture_file(parser)
    parser.add_argument("--truth", action="store_true", help="show boxes with names, mask and depth")


def _run_show(arguments: argparse.Namespace) -> None:
    check_at_least("count", arguments.count, 1)
    from kosmos2_sim.show import contact_sheet
    from kosmos2_sim.tabletop import Tabletop

    with Tabletop() as tabletop:
        seeds = range(arguments.seed, arguments.seed + arguments.count)
        shots = [tabletop.shoot(seed, arguments.split) for seed in seeds]
    save_picture(contact_sheet(shots, arguments.truth), arguments.out)


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="OUT", help="folder to write, or to resume")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="number of images")
    parser.add_argument("--split", default="train", help=SPLIT_HELP)
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the first image (default: 0)"
    )
    parser.add_argument(
        "--items",
        type=int,
        default=16,
        metavar="N",
        help="number of sentences per image: expressions, commands, captions, questions (default: 16)",
    )
    parser.add_argument(
        "--item-kinds",
        metavar="KIND,KIND",
        help="only these kinds of sentences, and a brief caption: attribute, size, position, relation,"
        " ordinal, absent, command, detailed (a caption), describe (a region), or questions of the kinds"
        " colour, shape, count, exists, compare, region, where (default: all)",
    )
    parser.add_argument(
        "--probes",
        type=int,
        default=0,
        metavar="N",
        help="add N present and N absent phrases of each kind per image, so that a model learns which objects"
        " are not there (default: 0)",
    )
    parser.add_argument(
        "--probe-kinds",
        metavar="KIND,KIND",
        help="only these kinds of such phrases: name, attribute, size, position, ordinal, relation, command,"
        " set (default: all)",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=224,
        metavar="PX",
        help="side of the square images in pixels (default: 224)",
    )
    parser.add_argument(
        "--only",
        metavar="SHAPES",
        help="shapes that may appear, separated by commas, such as cube,ball (default: all standard shapes)",
    )
    parser.add_argument("--must", metavar="SHAPE", help="shape that every image contains")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="number of processes that render (default: 1)"
    )
    parser.add_argument(
        "--shards", type=int, metavar="N", help="pack the images into N tar files, for large data sets"
    )


def _run_dataset(arguments: argparse.Namespace) -> None:
    from kosmos2_sim.dataset import make_dataset  # loads MuJoCo
    from kosmos2_sim.shapes import SHAPES

    records = make_dataset(
        arguments.folder,
        arguments.count,
        arguments.split,
        arguments.seed,
        arguments.items,
        arguments.size,
        arguments.workers,
        arguments.shards,
        SHAPES if arguments.only is None else _comma_separated(arguments.only),
        arguments.must,
        arguments.probes,
        _comma_separated(arguments.probe_kinds or ""),
        _comma_separated(arguments.item_kinds or ""),
    )
    print(records)


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def _add_bag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="OUT", help="folder of the new bag; it must not exist")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="length of the run (default: 10)"
    )
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="HZ", help="images per second (default: 10)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the scene (default: 0)")
    parser.add_argument("--split", default="standard", help=SPLIT_HELP)
    parser.add_argument(
        "--width", type=int, default=640, metavar="PX", help="width of the images in pixels (default: 640)"
    )
    parser.add_argument(
        "--height", type=int, default=480, metavar="PX", help="height of the images in pixels (default: 480)"
    )
    parser.add_argument(
        "--compressed", action="store_true", help="write JPEG images, on the topic image/compressed"
    )
    parser.add_argument(
        "--depth",
        default="32FC1",
        metavar="ENCODING",
        help="encoding of the depth: 32FC1 in metres or 16UC1 in millimetres (default: %(default)s)",
    )
    parser.add_argument("--still", action="store_true", help="keep the camera still")
    parser.add_argument(
        "--storage", default="mcap", help="format of the bag: mcap or sqlite3 (default: %(default)s)"
    )


def _run_bag(arguments: argparse.Namespace) -> None:
    from kosmos2_sim.bag import BagPlan, make_bag  # loads MuJoCo

    plan = BagPlan(
        seconds=arguments.seconds,
        rate_hz=arguments.rate,
        seed=arguments.seed,
        split=arguments.split,
        width=arguments.width,
        height=arguments.height,
        compressed=arguments.compressed,
        depth=arguments.depth,
        still=arguments.still,
    )
    print(make_bag(arguments.folder, plan, arguments.storage))


SHOW = CliCommand(_add_show, _run_show, SHOW_EXAMPLES)
DATASET = CliCommand(_add_dataset, _run_dataset, DATASET_EXAMPLES)
BAG = CliCommand(_add_bag, _run_bag, BAG_EXAMPLES)

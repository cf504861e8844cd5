"""A recorded run over one simulated scene: camera, depth, transforms, commands, and the right answers to
them under /truth. Examples:

  kosmos2 sim bag runs/first
  kosmos2 sim bag runs/hard --seconds 30 --seed 7 --split cluttered --compressed
  ros2 bag play runs/first

The same options give the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="OUT", help="the bag's folder, which is not there yet")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="its length (default: 10)")
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="HZ", help="images a second (default: 10)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the scene (default: 0)")
    parser.add_argument(
        "--split",
        default="standard",
        help="train, standard, cluttered, occluded or far (default: %(default)s)",
    )
    parser.add_argument("--width", type=int, default=640, metavar="PX", help="of the images (default: 640)")
    parser.add_argument("--height", type=int, default=480, metavar="PX", help="of the images (default: 480)")
    parser.add_argument("--compressed", action="store_true", help="images as JPEG, on image/compressed")
    parser.add_argument(
        "--depth", default="32FC1", help="32FC1 for metres, 16UC1 for millimetres (default: %(default)s)"
    )
    parser.add_argument("--still", action="store_true", help="the camera does not move")
    parser.add_argument("--storage", default="mcap", help="mcap or sqlite3 (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
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

"""Examples:

  kosmos2 sim show
  kosmos2 sim show --split occluded --seed 100 --count 8 --truth --out occluded.png

With --truth each scene has three pictures: boxes with names, the mask, the depth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from kosmos2_core.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", default="standard", help="train, standard, cluttered, occluded or far")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene")
    parser.add_argument("--count", type=int, default=24, help="of scenes")
    parser.add_argument("--out", default="sheet.png", help="the picture to write")
    parser.add_argument("--truth", action="store_true", help="show boxes with names, mask and depth")


def run(arguments: argparse.Namespace) -> None:
    if arguments.count < 1:
        raise InputError(f"--count {arguments.count} shows nothing: it is at least 1.")
    from kosmos2_sim.show import contact_sheet
    from kosmos2_sim.tabletop import Tabletop

    out = Path(arguments.out)
    with Tabletop() as tabletop:
        seeds = range(arguments.seed, arguments.seed + arguments.count)
        shots = [tabletop.shoot(seed, arguments.split) for seed in seeds]
    try:
        Image.fromarray(contact_sheet(shots, arguments.truth)).save(out)
    except (OSError, ValueError) as error:  # ValueError: an unknown ending
        raise InputError(f"--out {out} cannot be written: {error}.") from None
    print(out)

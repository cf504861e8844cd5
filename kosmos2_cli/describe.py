"""Examples:

  kosmos2 describe desk.png --region 0.1,0.2,0.5,0.6
  kosmos2 describe desk.png --region 64,96,320,288 --wording "What is [this]? This is"

For the whole image: `kosmos2 caption`.
"""

from __future__ import annotations

import argparse

from kosmos2_cli.answers import answer_images
from kosmos2_cli.options import add_decoding, add_images, add_model, add_region, check_region, region_of
from kosmos2_core.requests import WORDINGS, Describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_region(parser, required=True)
    parser.add_argument(
        "--wording",
        default=WORDINGS[0],
        help=f"the beginning of the sentence, the region marked; trained on: {'; '.join(WORDINGS)}",
    )
    add_decoding(parser)
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    check_region(arguments.region)  # before the model is loaded
    answer_images(
        arguments,
        lambda width, height: Describe(region_of(arguments.region, width, height), arguments.wording),
    )

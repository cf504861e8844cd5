"""Examples:

  kosmos2 ask "What is left of the bowl?" desk.png
  kosmos2 ask "What colour is it?" desk.png --region 0.1,0.2,0.5,0.6
  kosmos2 ask "Where is the mug?" 'frames/*.jpg' --ground --save out/

The region belongs to the words marked in the question, `what is [this] made of?`, else to its first `it`,
`this` or `that`.
"""

from __future__ import annotations

import argparse

from kosmos2_cli.answers import answer_images
from kosmos2_cli.options import add_decoding, add_images, add_model, add_region, check_region, region_of
from kosmos2_core.requests import Ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", metavar="QUESTION")
    add_images(parser)
    add_region(parser, required=False)
    parser.add_argument("--ground", action="store_true", help="an answer with boxes")
    add_decoding(parser)
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    def request_of(width: int, height: int) -> Ask:
        region = region_of(arguments.region, width, height) if arguments.region else None
        return Ask(arguments.question, region, arguments.ground)

    check_region(arguments.region)  # before the model is loaded
    answer_images(arguments, request_of)

"""Examples:

  kosmos2 caption desk.png --save annotated.png
  kosmos2 caption --detailed 'frames/*.jpg' --json

The text, then a line for each phrase that has a box, with its score, in pixels.
"""

from __future__ import annotations

import argparse

from kosmos2_cli.answers import answer_images
from kosmos2_cli.options import add_decoding, add_images, add_model
from kosmos2_core.requests import Caption


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    parser.add_argument("--detailed", action="store_true", help="a paragraph instead of a sentence")
    parser.add_argument("--no-boxes", action="store_true", help="text alone")
    add_decoding(parser)
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    request = Caption(arguments.detailed, ground=not arguments.no_boxes)
    answer_images(arguments, lambda width, height: request)

"""Commands that answer one request about each image: locate, caption, describe, ask."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import (
    add_decoding,
    add_images,
    add_model,
    add_region,
    check_region,
    parse_region,
)
from kosmos2_core.command_parser import SpacySplitter, Splitter, split_command
from kosmos2_core.errors import InputError
from kosmos2_core.requests import DESCRIBE_PROMPTS, Ask, Caption, Describe, Locate

if TYPE_CHECKING:
    from kosmos2_cli.image_answers import RequestMaker

LOCATE_EXAMPLES = """
Examples:

  kosmos2 locate "the red mug" desk.png --save annotated.png
  kosmos2 locate "pick up the red mug and put it into the bowl" desk.png
  kosmos2 locate "put [the red mug] into [the bowl]" 'frames/*.jpg' --json

Marks such as `[the red mug]` say what to look for. Without marks, a command is split into the objects that it
names, several phrases can be separated by `;`, and any other text is one phrase.

Each box has a score: the probability that it is correct. Each phrase has a presence: the probability that the
object is in the image. A phrase whose presence is below the checkpoint's threshold, or below --min-presence,
is "not found" and gets no box.
"""

CAPTION_EXAMPLES = """
Examples:

  kosmos2 caption desk.png --save annotated.png
  kosmos2 caption --detailed 'frames/*.jpg' --json

Prints the caption, then one line per phrase that has a box: the score of the box and its edges in pixels.
"""

DESCRIBE_EXAMPLES = """
Examples:

  kosmos2 describe desk.png --region 0.1,0.2,0.5,0.6
  kosmos2 describe desk.png --region 64,96,320,288 --wording "What is [this]? This is"

To describe the whole image, use `kosmos2 caption`.
"""

ASK_EXAMPLES = """
Examples:

  kosmos2 ask "What is left of the bowl?" desk.png
  kosmos2 ask "What colour is it?" desk.png --region 0.1,0.2,0.5,0.6
  kosmos2 ask "Where is the mug?" 'frames/*.jpg' --ground --save out/

With --region the question must refer to the region: by marked words, as in `what is [this] made of?`, or
else by its first `it`, `this` or `that`.
"""


def _add_locate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text",
        metavar="TEXT",
        help="what to locate: a phrase, several phrases separated by `;`, or a command to a robot",
    )
    add_images(parser)
    parser.add_argument(
        "--max-boxes",
        type=int,
        default=1,
        metavar="N",
        help="locate up to N different objects per phrase (default: 1)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        metavar="P",
        help="leave out boxes with a score below P, from 0 to 1 (default: 0)",
    )
    parser.add_argument(
        "--min-presence",
        type=float,
        metavar="P",
        help="report phrases with a presence below P, from 0 to 1, as not found (default: the checkpoint's"
        " threshold, or 0.5 if it has none); 0 shows the best box of every phrase",
    )
    parser.add_argument(
        "--zoom",
        action="store_true",
        help="look again at a cut-out around each first box: slower, better for small objects",
    )
    parser.add_argument(
        "--spacy", metavar="PIPELINE", help="split commands with this spaCy pipeline, such as en_core_web_sm"
    )
    add_model(parser)


def _run_locate(arguments: argparse.Namespace) -> None:
    request = Locate(
        arguments.text,
        max_boxes=arguments.max_boxes,
        min_score=arguments.min_score,
        min_presence=arguments.min_presence,
        zoom=arguments.zoom,
        splitter=load_splitter(arguments.spacy),
    )
    request.grounded()  # reports a text that names nothing before the model is loaded
    _answer_images(arguments, lambda width, height: request, show_missing=True)


def load_splitter(pipeline: str | None) -> Splitter:
    """Return the function that splits commands: a spaCy pipeline, or the built-in rules for None."""
    if pipeline is None:
        return split_command
    import spacy

    try:
        return SpacySplitter(spacy.load(pipeline))
    except OSError:
        raise InputError(
            f"there is no spaCy pipeline {pipeline}: install it with `python -m spacy download {pipeline}`."
        ) from None


def _add_caption(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    parser.add_argument("--detailed", action="store_true", help="write a paragraph instead of a sentence")
    parser.add_argument("--no-boxes", action="store_true", help="write the text without boxes")
    add_decoding(parser)
    add_model(parser)


def _run_caption(arguments: argparse.Namespace) -> None:
    request = Caption(arguments.detailed, ground=not arguments.no_boxes)
    _answer_images(arguments, lambda width, height: request)


def _add_describe(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_region(parser, required=True)
    parser.add_argument(
        "--wording",
        default=DESCRIBE_PROMPTS[0],
        help="beginning of the sentence that the model completes, with the word for the region in brackets"
        f" (default: {DESCRIBE_PROMPTS[0]!r}). The model was trained on: {'; '.join(DESCRIBE_PROMPTS)}",
    )
    add_decoding(parser)
    add_model(parser)


def _run_describe(arguments: argparse.Namespace) -> None:
    check_region(arguments.region)

    def make_request(width: int, height: int) -> Describe:
        return Describe(parse_region(arguments.region, width, height), arguments.wording)

    _answer_images(arguments, make_request)


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", metavar="QUESTION", help="question about each image")
    add_images(parser)
    add_region(parser, required=False)
    parser.add_argument("--ground", action="store_true", help="give boxes for the phrases of the answer")
    add_decoding(parser)
    add_model(parser)


def _run_ask(arguments: argparse.Namespace) -> None:
    check_region(arguments.region)

    def make_request(width: int, height: int) -> Ask:
        region = parse_region(arguments.region, width, height) if arguments.region else None
        return Ask(arguments.question, region, arguments.ground)

    _answer_images(arguments, make_request)


def _answer_images(
    arguments: argparse.Namespace, make_request: RequestMaker, show_missing: bool = False
) -> None:
    from kosmos2_cli.image_answers import answer_images  # imports OpenCV, which `--help` does not need

    answer_images(arguments, make_request, show_missing)


LOCATE = CliCommand(_add_locate, _run_locate, LOCATE_EXAMPLES)
CAPTION = CliCommand(_add_caption, _run_caption, CAPTION_EXAMPLES)
DESCRIBE = CliCommand(_add_describe, _run_describe, DESCRIBE_EXAMPLES)
ASK = CliCommand(_add_ask, _run_ask, ASK_EXAMPLES)

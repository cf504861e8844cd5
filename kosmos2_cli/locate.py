"""Examples:

  kosmos2 locate "the red mug" desk.png --save annotated.png
  kosmos2 locate "pick up the red mug and put it into the bowl" desk.png
  kosmos2 locate "put [the red mug] into [the bowl]" 'frames/*.jpg' --json

Marks, `[the red mug]`, say what to look for; without them a command is split into the things it names,
expressions may be separated by `;`, and any other text is one expression. A score is the probability that
the box is right; presence is the probability that the object is in the image at all. A phrase whose presence
is below the threshold of the checkpoint, or below --min-presence, is "not found" and gets no box.
"""

from __future__ import annotations

import argparse

from kosmos2_cli.answers import answer_images
from kosmos2_cli.options import add_images, add_model
from kosmos2_core.command_parser import Splitter, spacy_splitter, split_command
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", help="an expression, several separated by `;`, or a command")
    add_images(parser)
    parser.add_argument(
        "--max-boxes",
        type=int,
        default=1,
        metavar="N",
        help="most boxes of each phrase, each of another object (default: 1)",
    )
    parser.add_argument(
        "--min-score", type=float, default=0.0, metavar="P", help="leave out boxes with a lower score"
    )
    parser.add_argument(
        "--min-presence",
        type=float,
        metavar="P",
        help="a phrase whose presence is lower is not found (default: the checkpoint's threshold, else 0.5);"
        " 0: show the best box of each phrase",
    )
    parser.add_argument(
        "--zoom", action="store_true", help="look again, closer, at what was found: small things"
    )
    parser.add_argument("--spacy", metavar="PIPELINE", help="split commands by this spaCy pipeline")
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    request = Locate(
        arguments.text,
        max_boxes=arguments.max_boxes,
        min_score=arguments.min_score,
        min_presence=arguments.min_presence,
        zoom=arguments.zoom,
        splitter=load_splitter(arguments.spacy),
    )
    request.grounded()  # bad text is said before the model is loaded
    answer_images(arguments, lambda width, height: request, missing=True)


def load_splitter(pipeline: str | None) -> Splitter:
    if pipeline is None:
        return split_command
    try:
        import spacy

        return spacy_splitter(spacy.load(pipeline))
    except ImportError:
        raise InputError("--spacy needs spaCy: `pip install spacy`, or leave the option out.") from None
    except OSError:
        raise InputError(
            f"there is no spaCy pipeline {pipeline}: `python -m spacy download {pipeline}`."
        ) from None

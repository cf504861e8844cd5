"""Examples:

  kosmos2 chat desk.png
  printf 'What is red?\\nAnd what is left of it?\\n' | kosmos2 chat desk.png --ground

Each line is a question; the answer appears as it is said. Ctrl-C stops an answer, Ctrl-D ends. What was
said longest ago is forgotten when the model's memory is full.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kosmos2_cli.images import each_frame
from kosmos2_cli.options import add_model, decoding_of, load_engine
from kosmos2_core.answers import Answer
from kosmos2_core.errors import InputError, TooLongError
from kosmos2_core.requests import Chat

if TYPE_CHECKING:  # torch takes seconds to import
    from kosmos2_core.decoding import Decoding
    from kosmos2_core.engine import View


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="what to talk about, in one look")
    parser.add_argument("--ground", action="store_true", help="answers with boxes")
    parser.add_argument(
        "--max-tokens", type=int, default=128, metavar="N", help="of an answer (default: 128)"
    )
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0: always the likeliest")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--released", action="store_true", help="decode exactly as the public release does")
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    decoding = decoding_of(arguments)
    images = [pixels for _, pixels in each_frame(arguments.images)] if arguments.images else []
    view = load_engine(arguments).look(*images)
    turns: tuple[tuple[str, str], ...] = ()
    for question in questions():
        try:
            answer, turns = reply(view, Chat(question, turns, arguments.ground), decoding)
        except InputError as error:
            print(f"kosmos2: {error}", file=sys.stderr)
            continue
        turns = (*turns, (question, answer.markdown if arguments.ground else answer.text))


def questions() -> Iterator[str]:
    """Lines that say something, until the input ends."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def reply(view: View, ask: Chat, decoding: Decoding) -> tuple[Answer, tuple[tuple[str, str], ...]]:
    """The answer, written as it is said, and the turns that were still remembered."""
    while True:
        try:
            return say(view, ask, decoding), ask.turns
        except TooLongError:
            if not ask.turns:
                raise
            ask = Chat(ask.question, ask.turns[1:], ask.ground)


def say(view: View, ask: Chat, decoding: Decoding) -> Answer:
    answer, written = Answer(""), 0
    try:
        for answer in view.engine.stream(view, ask, decoding):
            said = answer.text.rstrip()  # a space at the end may go again, before a full stop
            print(said[written:], end="", flush=True)
            written = max(written, len(said))
    except KeyboardInterrupt:
        print(" ...", end="")
    print()
    for one in answer.phrases:
        for box in one.boxes:
            print(f"  {one.phrase}  {box.x1:.3f},{box.y1:.3f},{box.x2:.3f},{box.y2:.3f}")
    return answer

"""The command `kosmos2 chat`: a dialogue in the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import add_decoding, add_model, load_model, make_decoding
from kosmos2_core.answers import Answer
from kosmos2_core.errors import InputError, TooLongError
from kosmos2_core.files import write_atomically
from kosmos2_core.requests import Chat

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_core.decoding import Decoding
    from kosmos2_core.engine import View
    from kosmos2_serve.client import RemoteView

EXAMPLES = """
Examples:

  kosmos2 chat desk.png
  printf 'What is red?\\nAnd what is left of it?\\n' | kosmos2 chat desk.png --ground

Each line of input is a question; its answer is printed as it is generated. On a terminal, the arrow keys edit
the line and recall earlier ones, Ctrl-C stops an answer and Ctrl-D ends the dialogue. Lines that begin with /
are commands: /help, /quit, /save FILE. When the dialogue is longer than the model's context, the oldest turns
are forgotten.
"""
HELP = """\
Type a question and press Enter. Commands:
  /help       show this text
  /save FILE  write the dialogue to a Markdown file
  /quit       end the dialogue (also Ctrl-D)
Ctrl-C stops an answer. The arrow keys edit the line and recall earlier ones."""
PROMPT = "> "

Turn = tuple[str, str]  # question, answer


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="images to talk about, all seen at once: files, http(s) addresses, folders or patterns",
    )
    parser.add_argument("--ground", action="store_true", help="give boxes for the phrases of the answers")
    add_decoding(parser, beams=False)
    add_model(parser)


def _run(arguments: argparse.Namespace) -> None:
    decoding = make_decoding(arguments)
    images = []
    if arguments.images:
        from kosmos2_cli.image_sources import read_images

        images = [pixels for _, pixels in read_images(arguments.images)]
    view = load_model(arguments).look(*images)
    Dialogue(view, decoding, arguments.ground).run(read_lines())


class Dialogue:
    """A dialogue about images.

    Args:
        view: the images, already encoded.
        decoding: how answers are generated.
        ground: answers have boxes.
    """

    def __init__(self, view: View | RemoteView, decoding: Decoding, ground: bool) -> None:
        self.view, self.decoding, self.ground = view, decoding, ground
        self.turns: list[Turn] = []  # of the whole dialogue
        self.remembered = 0  # number of the last turns that the model still sees
        self.saved: set[Path] = set()

    def run(self, lines: Iterator[str]) -> None:
        """Answer each line, or execute it if it is a command, until the lines or the dialogue end."""
        for line in lines:
            if line == "/quit":
                return
            try:
                if line.startswith("/"):
                    self._execute(line)
                else:
                    self._answer(line)
            except InputError as error:
                print(f"kosmos2: {error}", file=sys.stderr)

    def _execute(self, line: str) -> None:
        command, _, argument = line.partition(" ")
        if command == "/help":
            print(HELP)
        elif command == "/save":
            self.save(argument.strip())
        else:
            raise InputError(f"there is no command {command}: /help lists the commands.")

    def save(self, name: str) -> None:
        """Write the dialogue to a Markdown file; a file that this dialogue did not write is not replaced."""
        if not name:
            raise InputError("/save needs the name of a file, as in `/save dialogue.md`.")
        file = Path(name)
        if file.exists() and file.resolve() not in self.saved:
            raise InputError(f"{file} exists: choose another name.")
        write_atomically(file, format_dialogue(self.turns))
        self.saved.add(file.resolve())
        print(file)

    def _answer(self, question: str) -> None:
        """Answer a question; forget the oldest turns if the dialogue is too long for the model."""
        while True:
            turns = tuple(self.turns[len(self.turns) - self.remembered :])
            try:
                answer = self._generate(Chat(question, turns, self.ground))
            except TooLongError:
                if not self.remembered:
                    raise
                self.remembered -= 1
                continue
            self.turns.append((question, answer.markdown if self.ground else answer.text))
            self.remembered += 1
            return

    def _generate(self, request: Chat) -> Answer:
        """Print the answer while it is generated, then its boxes."""
        answer, printed = Answer(""), 0
        try:
            for answer in self.view.stream(request, self.decoding):
                text = answer.text.rstrip()  # a space at the end may be removed again, before a full stop
                print(text[printed:], end="", flush=True)
                printed = max(printed, len(text))
        except KeyboardInterrupt:
            print(" ...", end="")
        print()
        for entity in answer.phrases:
            for box in entity.boxes:
                print(f"  {entity.phrase}  {box.x1:.3f},{box.y1:.3f},{box.x2:.3f},{box.y2:.3f}")
        return answer


def format_dialogue(turns: Sequence[Turn]) -> str:
    """Return a dialogue as Markdown: questions are quotations, answers are paragraphs."""
    return "\n".join(f"> {question}\n\n{answer}\n" for question, answer in turns)


def read_lines() -> Iterator[str]:
    """Yield the lines of standard input that are not empty; on a terminal with line editing and history."""
    terminal = sys.stdin.isatty()
    if terminal:
        _enable_line_editing()
        print("Ask a question, or type /help. Ctrl-D ends the dialogue.")
    while True:
        try:
            line = input(PROMPT) if terminal else sys.stdin.readline()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()  # the terminal's own prompt begins a new line
            raise
        if not terminal and not line:
            return
        if line.strip():
            yield line.strip()


def _enable_line_editing() -> None:
    """Let `input` edit its line and recall earlier ones; not every system has the module."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)


CHAT = CliCommand(_add_arguments, _run, EXAMPLES)

"""The command line's one door: finds the subcommand, runs it, turns an error into one sentence."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from kosmos2_core import __version__
from kosmos2_core.errors import Kosmos2Error

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Subcommand:
    """A line of `kosmos2 --help`, and the module that does it.

    The module has `add_arguments(parser)` and `run(arguments)`, which returns an exit code, or None for
    done; its docstring, with an example, ends the
    command's help. It is imported only when called, so that one command's dependencies neither slow down
    nor break the others.
    """

    summary: str
    module: str


SUBCOMMANDS: dict[str, Subcommand] = {
    "locate": Subcommand("where things are, by expression, command or marked sentence", "kosmos2_cli.locate"),
    "caption": Subcommand("what is in an image, with boxes", "kosmos2_cli.caption"),
    "describe": Subcommand("what is in a region of an image", "kosmos2_cli.describe"),
    "ask": Subcommand("a question about an image", "kosmos2_cli.ask"),
    "chat": Subcommand("a dialogue about images, or about none", "kosmos2_cli.chat"),
    "download": Subcommand("fetch a checkpoint of the hub, and check it", "kosmos2_cli.download"),
    "info": Subcommand("what a checkpoint is", "kosmos2_cli.info"),
    "verify": Subcommand(
        "prove on your images that this is what transformers computes", "kosmos2_cli.verify"
    ),
    "node": Subcommand("the ROS 2 node: camera and command in, boxes out", "kosmos2_cli.node"),
    "sim": Subcommand("a simulated tabletop: scenes to look at, data sets", "kosmos2_cli.sim"),
    "data": Subcommand("data to train with: checked, shown", "kosmos2_cli.data"),
    "train": Subcommand("learn from data: a model from scratch, or a checkpoint on", "kosmos2_cli.train"),
    "eval": Subcommand("how good a model is, and how honest", "kosmos2_cli.eval"),
    "calibrate": Subcommand("make a model's scores fit held-out data", "kosmos2_cli.calibrate"),
}


def main(argv: Sequence[str] | None = None, subcommands: Mapping[str, Subcommand] = SUBCOMMANDS) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed (unexpected), 2 bad input."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return run(list(argv), subcommands)
    except Kosmos2Error as error:
        print(f"kosmos2: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # `kosmos2 ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("KOSMOS2_DEBUG"):
            traceback.print_exc()
        print(
            f"kosmos2: failed unexpectedly, {type(error).__name__}: {error}."
            " Please report it with what KOSMOS2_DEBUG=1 shows.",
            file=sys.stderr,
        )
        return FAILED


def run(argv: list[str], subcommands: Mapping[str, Subcommand]) -> int:
    parser = make_parser(subcommands)
    name = parser.parse_args(argv[:1]).command
    if name is None:
        parser.print_help()
        return BAD_INPUT
    if name not in subcommands:
        near = difflib.get_close_matches(name, subcommands, n=1)
        parser.error(f"there is no command {name}" + (f", did you mean {near[0]}?" if near else ""))
    return run_one(name, subcommands[name], argv[1:])


def run_one(name: str, subcommand: Subcommand, argv: list[str]) -> int:
    """Import a subcommand and run it with its own options."""
    module = importlib.import_module(subcommand.module)
    own = Parser(prog=f"kosmos2 {name}", description=subcommand.summary, epilog=module.__doc__)
    module.add_arguments(own)
    code: int | None = module.run(own.parse_args(argv))
    return code or DONE


def make_parser(subcommands: Mapping[str, Subcommand]) -> Parser:
    lines = [f"  {name:<12}{subcommand.summary}" for name, subcommand in subcommands.items()]
    parser = Parser(
        prog="kosmos2",
        description="Ask a robot's camera in words, get boxes a planner can use.",
        epilog="\n".join(["commands:", *lines, "", "kosmos2 COMMAND --help says more."]) if lines else None,
    )
    parser.add_argument("--version", action="version", version=f"kosmos2 {__version__}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="what to do, with its own options")
    return parser


class Parser(argparse.ArgumentParser):
    """Says bad usage in one sentence, as any other bad input."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        raise Kosmos2Error(f"{message}; `{self.prog} --help` shows how.")

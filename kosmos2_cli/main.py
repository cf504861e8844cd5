"""Entry point of the command `kosmos2`: the table of commands, dispatch, error messages and exit codes."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kosmos2_core import __version__
from kosmos2_core.errors import DiskError, Kosmos2Error
from kosmos2_core.files import DISK_ERRORS, write_error
from kosmos2_core.packages import missing_package

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
COMPLETION_VARIABLE = "_ARGCOMPLETE"  # set by the shell while it completes a command line


@dataclass(frozen=True)
class CliCommand:
    """Implementation of one command.

    Args:
        add_arguments: declares the command's options and arguments.
        run: executes it. Returns an exit code, or None for success; raises Kosmos2Error for bad input.
        examples: the end of the command's help: examples, then what a user must know.
    """

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    examples: str


@dataclass(frozen=True)
class Subcommand:
    """One line of `kosmos2 --help`, and where to find the implementation.

    Args:
        summary: what the command does, in a few words.
        location: `module:NAME` of a `CliCommand`. The module is imported only when the command is used, so
            that the dependencies of one command neither slow down nor break the others.
        subcommands: the commands of a group, such as `kosmos2 data`; a group has no location.
        examples: the end of a group's help.
    """

    summary: str
    location: str = ""
    subcommands: Mapping[str, Subcommand] = field(default_factory=dict)
    examples: str = ""

    def load(self) -> CliCommand:
        """Import the implementation."""
        module, _, name = self.location.partition(":")
        command: CliCommand = getattr(importlib.import_module(module), name)
        return command


BENCHMARK = "kosmos2_cli.eval_benchmark:BENCHMARK"

EVAL = {
    "scenes": Subcommand(
        "evaluate a model on simulated scenes or on your own data", "kosmos2_cli.eval_commands:SCENES"
    ),
    "bag": Subcommand("evaluate a model on a recording, or recorded answers", "kosmos2_cli.eval_bag:BAG"),
    "diff": Subcommand("compare two evaluations", "kosmos2_cli.eval_commands:DIFF"),
    "refcoco": Subcommand("RefCOCO: locate the object that an expression describes", BENCHMARK),
    "refcoco+": Subcommand("RefCOCO+: the same, without words of position", BENCHMARK),
    "refcocog": Subcommand("RefCOCOg: the same, with longer expressions", BENCHMARK),
    "flickr30k": Subcommand("Flickr30k Entities: locate each phrase of a caption", BENCHMARK),
    "reg": Subcommand("RefCOCOg: describe the object in a box", BENCHMARK),
    "caption": Subcommand("Flickr30k: caption an image", BENCHMARK),
    "vqav2": Subcommand("VQAv2: answer questions about images", BENCHMARK),
    "seed-bench": Subcommand("SEED-Bench: choose the most likely of four answers", BENCHMARK),
    "scienceqa": Subcommand("ScienceQA: answer questions with lettered options", BENCHMARK),
    "ocrbench": Subcommand("OCRBench: read text in images", BENCHMARK),
    "language": Subcommand("eight language tasks: choose the most likely answer, without images", BENCHMARK),
}
DATA = {
    "from-bag": Subcommand(
        "convert a labelled recording to training data", "kosmos2_cli.data_commands:FROM_BAG"
    ),
    "check": Subcommand("list the unusable records and count the others", "kosmos2_cli.data_commands:CHECK"),
    "show": Subcommand("draw a contact sheet of images, boxes and texts", "kosmos2_cli.data_commands:SHOW"),
}
SIM = {
    "show": Subcommand("draw a contact sheet of simulated scenes", "kosmos2_cli.sim_commands:SHOW"),
    "dataset": Subcommand("render images with masks and sentences", "kosmos2_cli.sim_commands:DATASET"),
    "bag": Subcommand("record a run over a scene, with the correct answers", "kosmos2_cli.sim_commands:BAG"),
}

COMMANDS: dict[str, Subcommand] = {
    "locate": Subcommand("locate objects by phrase or command", "kosmos2_cli.image_commands:LOCATE"),
    "caption": Subcommand("describe an image, with boxes", "kosmos2_cli.image_commands:CAPTION"),
    "describe": Subcommand("describe a region of an image", "kosmos2_cli.image_commands:DESCRIBE"),
    "ask": Subcommand("answer a question about an image", "kosmos2_cli.image_commands:ASK"),
    "chat": Subcommand("hold a dialogue, with or without images", "kosmos2_cli.chat:CHAT"),
    "serve": Subcommand("serve models over HTTP, with a web page", "kosmos2_cli.serve:SERVE"),
    "node": Subcommand(
        "run the ROS 2 node: images and commands in, boxes out", "kosmos2_cli.ros_commands:NODE"
    ),
    "watch": Subcommand("show what a running node detects", "kosmos2_cli.ros_commands:WATCH"),
    "say": Subcommand("send a command to a running node", "kosmos2_cli.ros_commands:SAY"),
    "download": Subcommand("download a checkpoint and check its files", "kosmos2_cli.checkpoints:DOWNLOAD"),
    "quantize": Subcommand(
        "write a checkpoint with weights of eight bits, for CPUs", "kosmos2_cli.checkpoints:QUANTIZE"
    ),
    "info": Subcommand("show a checkpoint's size, precision and calibration", "kosmos2_cli.checkpoints:INFO"),
    "verify": Subcommand("compare a checkpoint's outputs with transformers", "kosmos2_cli.verify:VERIFY"),
    "sim": Subcommand(
        "render a simulated tabletop: pictures, data sets, recordings",
        subcommands=SIM,
        examples="Example:\n\n  kosmos2 sim show --split cluttered --truth",
    ),
    "data": Subcommand(
        "convert, check and show training data",
        subcommands=DATA,
        examples="Example:\n\n  kosmos2 data check data/train",
    ),
    "train": Subcommand("train a model from scratch or fine-tune one", "kosmos2_cli.training:TRAIN"),
    "eval": Subcommand(
        "measure a model's accuracy and the calibration of its scores",
        subcommands=EVAL,
        examples="Example:\n\n  kosmos2 eval scenes --model models/mine --split all --out report\n\n"
        "The benchmarks of the Kosmos-2 paper, from refcoco to language, read the official files;\n"
        "docs/paper-benchmarks.md says where to get them.",
    ),
    "calibrate": Subcommand("fit a model's scores to held-out data", "kosmos2_cli.training:CALIBRATE"),
}


class UsageParser(argparse.ArgumentParser):
    """Argument parser that reports bad usage in one sentence, like any other bad input."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        raise Kosmos2Error(f"{message}; run `{self.prog} --help` for usage.")


@dataclass(frozen=True)
class Selection:
    """Parser of a whole command line, and the command that the line selects.

    Args:
        parser: parses the whole line.
        selected: parser of the selected command or group.
        command: the selected command; None if the line names none.
    """

    parser: UsageParser
    selected: UsageParser
    command: CliCommand | None


def main(argv: Sequence[str] | None = None, commands: Mapping[str, Subcommand] = COMMANDS) -> int:
    """Run the command line and return its exit code: 0 success, 1 a failure, 2 bad input."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if COMPLETION_VARIABLE in os.environ:
            answer_completion(commands)
        status = run(list(argv), commands)
        sys.stdout.flush()  # so that a full disk is noticed while it can be told
        return status
    except BrokenPipeError:  # `kosmos2 ... | head`
        _discard_output()
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return report_error(error)


def report_error(error: Exception) -> int:
    """Print one sentence about the error that ended a command, and return the exit code."""
    match error:
        case OSError(errno=number) if number in DISK_ERRORS:
            if error.filename is None:  # the output of `kosmos2 ... > file`
                _discard_output()
            error = write_error(error.filename or "the output", error)
        case ModuleNotFoundError(name=str(module)) if not module.startswith("kosmos2"):
            error = missing_package(module)
    if isinstance(error, Kosmos2Error):
        print(f"kosmos2: {error}", file=sys.stderr)
        return FAILED if isinstance(error, DiskError) else BAD_INPUT
    if os.environ.get("KOSMOS2_DEBUG"):
        traceback.print_exception(error)
    print(
        f"kosmos2: failed unexpectedly, {type(error).__name__}: {error}."
        " Please report it with the output of the same command under KOSMOS2_DEBUG=1.",
        file=sys.stderr,
    )
    return FAILED


def _discard_output() -> None:
    """Discard the rest of the output, which Python would write again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(argv: list[str], commands: Mapping[str, Subcommand]) -> int:
    """Parse the command line and run the command that it names."""
    selection = select(argv, commands)
    arguments, unknown = selection.parser.parse_known_args(argv)
    if unknown:
        selection.selected.error(f"unrecognized arguments: {' '.join(unknown)}")
    if selection.command is None:
        selection.parser.print_help()
        return BAD_INPUT
    return selection.command.run(arguments) or DONE


def select(words: Sequence[str], commands: Mapping[str, Subcommand]) -> Selection:
    """Make a parser that knows all commands, and the options of the one that the words begin with."""
    parser = UsageParser(
        prog="kosmos2",
        description="Ask a robot's camera in words, get boxes a planner can use.",
        epilog=list_commands(commands) + "\n\n`kosmos2 COMMAND --help` explains a command and its options.",
    )
    parser.add_argument("--version", action="version", version=f"kosmos2 {__version__}")
    selected, command = _add_commands(parser, words, commands, required=False)
    return Selection(parser, selected, command)


def _add_commands(
    parser: UsageParser, words: Sequence[str], commands: Mapping[str, Subcommand], required: bool
) -> tuple[UsageParser, CliCommand | None]:
    """Add the commands to the parser; return the selected command and its parser."""
    chosen = words[0] if words else ""
    if chosen and not chosen.startswith("-") and chosen not in commands:
        similar = difflib.get_close_matches(chosen, commands, n=1)
        parser.error(f"there is no command {chosen}" + (f", did you mean {similar[0]}?" if similar else ""))
    choices = parser.add_subparsers(
        metavar="COMMAND", prog=parser.prog, required=required, help="command to run, followed by its options"
    )
    selected, command = parser, None
    for name, subcommand in commands.items():
        if name == chosen:
            selected, command = _add_selected(choices, name, subcommand, words[1:])
        else:
            choices.add_parser(name)
    return selected, command


def _add_selected(
    choices: Any, name: str, subcommand: Subcommand, words: Sequence[str]
) -> tuple[UsageParser, CliCommand | None]:
    summary = subcommand.summary
    description = f"{summary[0].upper()}{summary[1:]}."
    if subcommand.subcommands:
        epilog = list_commands(subcommand.subcommands) + "\n\n" + subcommand.examples
        parser: UsageParser = choices.add_parser(name, description=description, epilog=epilog)
        return _add_commands(parser, words, subcommand.subcommands, required=True)
    command = subcommand.load()
    parser = choices.add_parser(name, description=description, epilog=command.examples.strip())
    command.add_arguments(parser)
    return parser, command


def list_commands(commands: Mapping[str, Subcommand]) -> str:
    """Return the commands with their summaries, one per line."""
    lines = [f"  {name:<12}{command.summary}" for name, command in commands.items()]
    return "\n".join(["commands:", *lines])


def answer_completion(commands: Mapping[str, Subcommand]) -> None:
    """Answer a shell that completes a command line with the Tab key, and exit."""
    import argcomplete

    *words, _ = os.environ["COMP_LINE"].split(" ")  # the last one, which may be empty, is unfinished
    try:
        parser = select([word for word in words[1:] if word], commands).parser
    except Kosmos2Error:  # no such command
        parser = UsageParser(prog="kosmos2")
    argcomplete.autocomplete(parser)

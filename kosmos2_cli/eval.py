"""Commands:

  scenes  on simulated scenes that no training has seen, or on data of your own

kosmos2 eval COMMAND --help says more. Example:

  kosmos2 eval scenes --model models/mine --split all --out report
"""

from __future__ import annotations

import argparse

from kosmos2_cli.main import Subcommand, run_one

SUBCOMMANDS: dict[str, Subcommand] = {
    "scenes": Subcommand("a model on simulated scenes, or on data of your own", "kosmos2_cli.eval_scenes"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=SUBCOMMANDS, metavar="COMMAND", help=", ".join(SUBCOMMANDS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its own options")


def run(arguments: argparse.Namespace) -> int:
    name = arguments.command
    return run_one(f"eval {name}", SUBCOMMANDS[name], arguments.rest)

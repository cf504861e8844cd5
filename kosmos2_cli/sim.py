"""Commands:

  show     a contact sheet of scenes, with what is true of them
  dataset  images, masks and sentences, to train and evaluate with
  bag      a recorded run with commands and the right answers, for `ros2 bag play`

kosmos2 sim COMMAND --help says more. Example:

  kosmos2 sim show --split cluttered --truth
"""

from __future__ import annotations

import argparse

from kosmos2_cli.main import Subcommand, run_one

SUBCOMMANDS: dict[str, Subcommand] = {
    "show": Subcommand("a contact sheet of simulated scenes", "kosmos2_cli.sim_show"),
    "dataset": Subcommand("images, masks and sentences of simulated scenes", "kosmos2_cli.sim_dataset"),
    "bag": Subcommand("a recorded run over a simulated scene, with its truth", "kosmos2_cli.sim_bag"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=SUBCOMMANDS, metavar="COMMAND", help=", ".join(SUBCOMMANDS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its own options")


def run(arguments: argparse.Namespace) -> int:
    name = arguments.command
    return run_one(f"sim {name}", SUBCOMMANDS[name], arguments.rest)

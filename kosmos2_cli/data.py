"""Commands:

  from-bag  a recording of a robot, with labels, as data
  check     what is wrong with data, line by line, and what is in it
  show      a contact sheet of data, with boxes and texts

kosmos2 data COMMAND --help says more. Example:

  kosmos2 data check data/train
"""

from __future__ import annotations

import argparse

from kosmos2_cli.main import Subcommand, run_one

SUBCOMMANDS: dict[str, Subcommand] = {
    "from-bag": Subcommand("a recording, with labels, as data to train with", "kosmos2_cli.data_from_bag"),
    "check": Subcommand("what is wrong with data, and what is in it", "kosmos2_cli.data_check"),
    "show": Subcommand("a contact sheet of data, with boxes and texts", "kosmos2_cli.data_show"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=SUBCOMMANDS, metavar="COMMAND", help=", ".join(SUBCOMMANDS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its own options")


def run(arguments: argparse.Namespace) -> int:
    name = arguments.command
    return run_one(f"data {name}", SUBCOMMANDS[name], arguments.rest)

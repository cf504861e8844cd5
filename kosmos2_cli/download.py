"""Examples:

  kosmos2 download
  kosmos2 download microsoft/kosmos-2-patch14-224 --revision main

Asks the hub for the newest of this revision and checks every file's hash. Everything else uses what is
downloaded without asking again. A mirror: HF_ENDPOINT; another place for the files: HF_HOME.
"""

from __future__ import annotations

import argparse

from kosmos2_cli.options import PUBLIC
from kosmos2_core.checkpoint import download


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", default=PUBLIC, metavar="NAME", help="on the hub (default: %(default)s)"
    )
    parser.add_argument("--revision", help="a branch, tag or commit (default: main)")


def run(arguments: argparse.Namespace) -> None:
    print(download(arguments.name, arguments.revision))

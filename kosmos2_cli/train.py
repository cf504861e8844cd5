"""Examples:

  kosmos2 train training/configs/tabletop-tiny.yaml
  kosmos2 train mine.yaml --device cuda

The settings' paths are relative to where the command is run. All that the training writes is in the folder
`run`; the same command goes on where a training was stopped or cut off. docs/training.md explains the
settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="a YAML file of settings")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda or cuda:1 (default: a GPU if there is one)"
    )


def run(arguments: argparse.Namespace) -> None:
    from kosmos2_training.config import read_training

    training = read_training(arguments.config)  # a mistake in it is said before torch is loaded
    from kosmos2_training.session import run_training

    print(run_training(training, Path.cwd(), arguments.device))

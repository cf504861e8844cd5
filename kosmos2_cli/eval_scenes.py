"""Examples:

  kosmos2 eval scenes --model models/mine
  kosmos2 eval scenes --model models/mine --split all --count 2000 --out report
  kosmos2 eval scenes --model models/mine --data my_robot --json

Scenes are rendered as they are asked for, of splits that no training draws from; the same seed gives the same
scenes and the same figures. docs/evaluation.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kosmos2_cli.options import add_model, load_engine
from kosmos2_cli.samples import SPLITS, add_samples, check_samples, samples_of
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.image import Pixels
from kosmos2_eval.case_sheet import small
from kosmos2_eval.scene_report import table, writable, write_pictures, write_results
from kosmos2_eval.scenes import Sample, evaluate

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_samples(parser, (*SPLITS, ALL), count=1000, seed=0)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a folder for results.json, and pictures of cases and scores"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    check_samples(arguments)
    if arguments.out:
        writable(arguments.out)  # before the work
    engine = load_engine(arguments)
    if arguments.data:
        names = [arguments.data.name]
    else:
        names = list(SPLITS) if arguments.split == ALL else [arguments.split]
    results = {name: figures_of(arguments, engine, name) for name in names}
    figures = {"model": str(arguments.model), "seed": arguments.seed, "splits": results}
    if arguments.out:
        write_results(arguments.out, figures)
    print(json.dumps(figures, indent=2) if arguments.json else table(results))


def figures_of(arguments: argparse.Namespace, engine: Engine, name: str) -> dict[str, Any]:
    """Of one split, or of the data; its pictures are written on the way."""
    images: list[Pixels] = []
    samples = samples_of(arguments, name)
    evaluation = evaluate(engine, kept(samples, images) if arguments.out else samples)
    if not (evaluation.cases or evaluation.sayings):
        raise InputError(
            f"{name} has nothing to evaluate: it needs items to locate, caption, describe or ask."
        )
    if arguments.out and evaluation.cases:
        write_pictures(arguments.out, name, evaluation.cases, images)
    return evaluation.summary()


def kept(samples: Iterable[Sample], images: list[Pixels]) -> Iterator[Sample]:
    """The same samples; their images are put aside, as small as they are shown."""
    for pixels, record in samples:
        images.append(small(pixels))
        yield pixels, record

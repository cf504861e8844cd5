"""Examples:

  kosmos2 eval scenes --model models/mine
  kosmos2 eval scenes --model models/mine --split all --count 2000 --out report
  kosmos2 eval scenes --model models/mine --probes 500
  kosmos2 eval scenes --model models/mine --data my_robot --json

Scenes are rendered as they are asked for, of splits that no training draws from; the same seed gives the same
scenes and the same figures. Below the figures of boxes, a second table shows by kind of phrase how often an
absent phrase was found and a present one was not. docs/evaluation.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kosmos2_cli.options import add_model, check_min_presence, load_engine
from kosmos2_cli.samples import SPLITS, add_samples, check_samples, probe_samples, samples_of
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_eval.contact_sheet import thumbnail
from kosmos2_eval.result_files import prepare_folder, write_results
from kosmos2_eval.scene_report import presence_tables, table, write_pictures
from kosmos2_eval.scenes import Sample, evaluate_scenes

ALL = "all"
PROBES = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_samples(parser, (*SPLITS, ALL), count=1000, seed=0)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a folder for results.json, and pictures of cases and scores"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add_presence(parser)
    add_model(parser)


def _add_presence(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("presence")
    group.add_argument(
        "--probes",
        type=int,
        metavar="N",
        help="phrases that are in the image, and as many that are not, of each kind, for the rates of false"
        f" alarms and misses (default: {PROBES}); 0, and with --data: the phrases of --count instead",
    )
    group.add_argument(
        "--min-presence",
        type=float,
        metavar="P",
        help="a phrase is found from this presence on (default: the checkpoint's threshold)",
    )


def check_presence(arguments: argparse.Namespace) -> None:
    """Before anything is loaded."""
    if arguments.probes is not None and arguments.data:
        raise InputError("--probes is for rendered scenes: --data has its own phrases.")
    if arguments.probes is not None and arguments.probes < 0:
        raise InputError(f"--probes {arguments.probes} is negative: it is 0 or more.")
    check_min_presence(arguments.min_presence)


def run(arguments: argparse.Namespace) -> None:
    check_samples(arguments)
    check_presence(arguments)
    if arguments.out:
        prepare_folder(arguments.out)  # before the work
    engine = load_engine(arguments)
    if arguments.data:
        names = [arguments.data.name]
    else:
        names = list(SPLITS) if arguments.split == ALL else [arguments.split]
    results = {name: figures_of(arguments, engine, name) for name in names}
    figures = {"model": str(arguments.model), "seed": arguments.seed, "splits": results}
    if arguments.out:
        write_results(arguments.out, figures)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n\n".join(filter(None, (table(results), presence_tables(results)))))


def figures_of(arguments: argparse.Namespace, engine: Engine, name: str) -> dict[str, Any]:
    """Of one split, or of the data; its pictures are written on the way."""
    images: list[Pixels] = []
    samples = samples_of(arguments, name)
    wanted = 0 if arguments.data else PROBES if arguments.probes is None else arguments.probes
    evaluation = evaluate_scenes(
        engine,
        kept(samples, images) if arguments.out else samples,
        min_presence=arguments.min_presence,
        probes=probe_samples(name, arguments.seed, wanted) if wanted else (),
    )
    if not (evaluation.examples or evaluation.text_answers):
        raise InputError(
            f"{name} has nothing to evaluate: it needs items to locate, caption, describe or ask."
        )
    if arguments.out and evaluation.examples:
        write_pictures(arguments.out, name, evaluation.examples, images)
    return evaluation.summary(wanted or None)


def kept(samples: Iterable[Sample], images: list[Pixels]) -> Iterator[Sample]:
    """The same samples; their images are put aside, as small as they are shown."""
    for pixels, record in samples:
        images.append(thumbnail(pixels))
        yield pixels, record

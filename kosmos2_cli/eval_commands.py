"""Commands `kosmos2 eval scenes` and `kosmos2 eval diff`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import add_model, check_at_least, check_min_presence, load_engine
from kosmos2_core.errors import InputError

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_core.engine import Engine
    from kosmos2_core.images import Pixels
    from kosmos2_eval.scenes import Sample

SCENES_EXAMPLES = """
Examples:

  kosmos2 eval scenes --model models/mine
  kosmos2 eval scenes --model models/mine --split all --count 2000 --out report
  kosmos2 eval scenes --model models/mine --probes 500
  kosmos2 eval scenes --model models/mine --data my_robot --json

The scenes are rendered while the command runs, from splits that no training uses; the same seed gives the
same scenes and the same figures. The first table is about boxes. The second table shows, by kind of phrase,
how often an absent object was found and how often a present one was not. docs/evaluation.md explains each
figure.
"""

DIFF_EXAMPLES = """
Examples:

  kosmos2 eval diff report-old report-new
  kosmos2 eval diff report-old/results.json report-new/results.json --json

Prints the figures of both evaluations and their differences. For two evaluations of a bag it also lists the
queries that became right or wrong, and tests whether the difference is larger than chance
(docs/bag-evaluation.md).
"""

PROBES = 200


def _add_scenes(parser: argparse.ArgumentParser) -> None:
    from kosmos2_cli.samples import ALL_SPLITS, SPLITS, add_samples

    add_samples(parser, (*SPLITS, ALL_SPLITS), count=1000, seed=0)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for results.json and for pictures of examples and of the scores",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add_presence(parser)
    add_model(parser, quantize="none")


def _add_presence(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("presence")
    group.add_argument(
        "--probes",
        type=int,
        metavar="N",
        help="measure false alarms and misses on N present and N absent phrases of each kind (default:"
        f" {PROBES}); with 0, and with --data, they are measured on the phrases of --count",
    )
    group.add_argument(
        "--min-presence",
        type=float,
        metavar="P",
        help="count a phrase as found if its presence is at least P (default: the checkpoint's threshold)",
    )


def _check_scenes(arguments: argparse.Namespace) -> None:
    """Raise InputError for options that make no sense, before a model is loaded."""
    from kosmos2_cli.samples import check_samples

    check_samples(arguments)
    if arguments.probes is not None and arguments.data:
        raise InputError("--probes is for rendered scenes: omit it with --data, which has its own phrases.")
    check_at_least("probes", arguments.probes, 0)
    check_min_presence(arguments.min_presence)


def _run_scenes(arguments: argparse.Namespace) -> None:
    _check_scenes(arguments)
    from kosmos2_cli.samples import ALL_SPLITS, SPLITS
    from kosmos2_eval.result_files import prepare_folder, write_results
    from kosmos2_eval.scene_report import presence_tables, table

    if arguments.out:
        prepare_folder(arguments.out)  # reports a folder that cannot be written before the work starts
    engine = load_engine(arguments)
    if arguments.data:
        names = [arguments.data.name]
    else:
        names = list(SPLITS) if arguments.split == ALL_SPLITS else [arguments.split]
    results = {name: evaluate_split(arguments, engine, name) for name in names}
    figures = {"model": str(arguments.model), "seed": arguments.seed, "splits": results}
    if arguments.out:
        write_results(arguments.out, figures)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n\n".join(filter(None, (table(results), presence_tables(results)))))


def evaluate_split(arguments: argparse.Namespace, engine: Engine, name: str) -> dict[str, Any]:
    """Return the figures of one split, or of `--data`, and write its pictures into `--out`."""
    from kosmos2_cli.samples import probe_samples, read_samples
    from kosmos2_eval.scene_report import write_pictures
    from kosmos2_eval.scenes import evaluate_scenes

    images: list[Pixels] = []
    samples = read_samples(arguments, name)
    probes = 0 if arguments.data else PROBES if arguments.probes is None else arguments.probes
    evaluation = evaluate_scenes(
        engine,
        _with_thumbnails(samples, images) if arguments.out else samples,
        min_presence=arguments.min_presence,
        probes=probe_samples(name, arguments.seed, probes) if probes else (),
    )
    if not (evaluation.examples or evaluation.text_answers):
        raise InputError(
            f"{name} has nothing to evaluate: it needs items of the tasks locate, caption, describe or ask."
        )
    if arguments.out and evaluation.examples:
        write_pictures(arguments.out, name, evaluation.examples, images)
    return evaluation.summary(probes or None)


def _with_thumbnails(samples: Iterable[Sample], images: list[Pixels]) -> Iterator[Sample]:
    """Yield the same samples, and append their images to the list, as small as reports show them."""
    from kosmos2_eval.contact_sheet import thumbnail

    for pixels, record in samples:
        images.append(thumbnail(pixels))
        yield pixels, record


def _add_diff(parser: argparse.ArgumentParser) -> None:
    for name in ("before", "after"):
        parser.add_argument(
            name, type=Path, metavar=name.upper(), help="folder that --out named, or its results.json"
        )
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")


def _run_diff(arguments: argparse.Namespace) -> None:
    from kosmos2_eval.diff import diff_json, diff_text, read_evaluation

    before, after = read_evaluation(arguments.before), read_evaluation(arguments.after)
    if arguments.json:
        print(json.dumps(diff_json(before, after), indent=2, ensure_ascii=False))
    else:
        print(diff_text(before, after))


SCENES = CliCommand(_add_scenes, _run_scenes, SCENES_EXAMPLES)
DIFF = CliCommand(_add_diff, _run_diff, DIFF_EXAMPLES)

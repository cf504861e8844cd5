"""The commands `kosmos2 eval refcoco` to `kosmos2 eval language`: the benchmarks of the Kosmos-2 paper."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import add_model, check_at_least, load_engine
from kosmos2_core.errors import InputError
from kosmos2_core.files import write_atomically

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_core.engine import Engine
    from kosmos2_eval.benchmarks.benchmark import BenchmarkPart
    from kosmos2_eval.benchmarks.runner import Shard

EXAMPLES = """
Examples:

  kosmos2 eval refcoco --data benchmarks --split testA --out results/refcoco-testA
  kosmos2 eval reg --data benchmarks --few-shot 4
  kosmos2 eval language piqa --data benchmarks --limit 100 --json
  accelerate launch --num_processes 8 -m kosmos2_cli eval vqav2 --data benchmarks --out results/vqav2

The data are the official files, in one folder for all benchmarks or in one folder each; a message says which
file is missing and where to get it. With --out, run the same command again to resume an interrupted
evaluation, or start it in several processes that share the work. docs/paper-benchmarks.md lists the files,
the protocol and the published figures of each benchmark.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from kosmos2_eval.benchmarks.catalogue import BENCHMARKS

    name = parser.prog.split()[-1]  # `kosmos2 eval refcoco`: one implementation for all benchmarks
    entry = BENCHMARKS[name]
    if name == "language":
        parser.add_argument(
            "split",
            choices=entry.splits,
            metavar="TASK",
            help=f"language task: {', '.join(entry.splits)}",
        )
    else:
        parser.add_argument(
            "--split",
            choices=entry.splits,
            default=entry.splits[0],
            help="part of the data set (default: %(default)s)",
        )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with the official files"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for results.json and for the answers, to resume"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N questions")
    parser.add_argument(
        "--batch", type=int, default=32, metavar="N", help="about N questions per batch (default: 32)"
    )
    if len(entry.shots) > 1:
        parser.add_argument(
            "--few-shot",
            type=int,
            choices=entry.shots,
            default=0,
            help="number of worked examples before each question (default: 0)",
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=0,
            metavar="S",
            help="seed of the random choice of these examples (default: 0)",
        )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_model(parser, quantize="none")
    parser.set_defaults(benchmark=name, few_shot=0, seed=0)


def _run(arguments: argparse.Namespace) -> None:
    from kosmos2_eval.benchmarks.answers import AnswerStore
    from kosmos2_eval.benchmarks.benchmark import BenchmarkPart
    from kosmos2_eval.benchmarks.catalogue import BENCHMARKS
    from kosmos2_eval.benchmarks.comparison import answered_questions, check_complete, results_of
    from kosmos2_eval.benchmarks.runner import RELEASED, answer_all, missing_images, this_shard

    _check(arguments)
    entry = BENCHMARKS[arguments.benchmark]
    benchmark = entry.load()
    part = BenchmarkPart(arguments.split, arguments.few_shot, arguments.seed)
    questions = benchmark.read(arguments.data, part)[: arguments.limit]
    if not questions:
        raise InputError(f"{entry.title} {part.split} has no questions in {arguments.data}.")
    missing = missing_images(questions)
    missing_set = set(missing)
    complete = [question for question in questions if missing_set.isdisjoint(question.images)]
    inputs, shard = _inputs_of(arguments, part), this_shard()
    with _answer_folder(arguments.out, shard) as out:
        store = AnswerStore.read(out, inputs)
        load = partial(_load_on_gpu_of, shard, arguments)
        answer_all(complete, store, shard, load, benchmark.decoding, arguments.batch)
        if shard.rank == 0:
            store = AnswerStore.read(out, inputs)
            store.merge(questions)
            check_complete(complete, store)
            if benchmark.submission:
                write_atomically(
                    out / "submission.json",
                    benchmark.submission(*answered_questions(complete, store, RELEASED)),
                )
            _report(arguments, entry.title, results_of(benchmark, part, questions, store, missing))


def _check(arguments: argparse.Namespace) -> None:
    """Raise InputError for options that make no sense, before anything is read."""
    from kosmos2_eval.benchmarks.runner import world_size

    for name, least in (("limit", 1), ("batch", 1), ("seed", 0)):
        check_at_least(name, getattr(arguments, name), least)
    if world_size() > 1 and not arguments.out:
        raise InputError(
            "several processes exchange answers in a folder: name one that all can see with --out."
        )
    if arguments.split.startswith("test") and arguments.benchmark == "vqav2" and not arguments.out:
        raise InputError(
            f"the answers of {arguments.split} are not public: name a folder with --out for the file that the"
            " evaluation server takes."
        )


def _inputs_of(arguments: argparse.Namespace, part: BenchmarkPart) -> dict[str, Any]:
    """Return everything that the answers depend on: an evaluation is resumed only if it is unchanged."""
    return {
        "benchmark": arguments.benchmark,
        "split": part.split,
        "few_shot": part.few_shot,
        "seed": part.seed,
        "model": str(arguments.model),
        "revision": arguments.revision,
        "dtype": arguments.dtype,
    }


@contextmanager
def _answer_folder(out: Path | None, shard: Shard) -> Iterator[Path]:
    """Make the folder for answers: the one that `--out` names, or a temporary one."""
    from kosmos2_eval.result_files import prepare_folder

    if out is None:
        with tempfile.TemporaryDirectory(prefix="kosmos2-") as name:
            yield Path(name)
    else:
        if shard.rank == 0:
            prepare_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        yield out


def _load_on_gpu_of(shard: Shard, arguments: argparse.Namespace) -> Engine:
    """Load the model; with several processes, each on its own GPU."""
    import torch

    if arguments.device == "auto" and shard.world > 1 and torch.cuda.is_available():
        arguments.device = f"cuda:{shard.local_rank % torch.cuda.device_count()}"
    return load_engine(arguments)


def _report(arguments: argparse.Namespace, title: str, results: dict[str, Any]) -> None:
    from kosmos2_eval.benchmarks.comparison import table
    from kosmos2_eval.result_files import write_results

    if arguments.out:
        write_results(arguments.out, results)
    for remark in results["remarks"]:
        print(f"kosmos2: {remark}", file=sys.stderr)
    print(json.dumps(results, indent=2) if arguments.json else table(f"{title} {arguments.split}", results))


BENCHMARK = CliCommand(_add_arguments, _run, EXAMPLES)

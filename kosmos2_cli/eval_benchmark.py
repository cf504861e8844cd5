"""Examples:

  kosmos2 eval refcoco --data benchmarks --split testA --out results/refcoco-testA
  kosmos2 eval reg --data benchmarks --few-shot 4
  kosmos2 eval language piqa --data benchmarks --limit 100 --json
  accelerate launch --num_processes 8 -m kosmos2_cli eval vqav2 --data benchmarks --out results/vqav2

Data are the official files, in one folder for all benchmarks or in one for each; what is not there is said,
with where to get it. With --out the same command goes on where it was stopped, and several processes share
the work. docs/paper-benchmarks.md has each benchmark's files, protocol and published figures.
"""

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

from kosmos2_cli.options import add_model, load_engine
from kosmos2_core.errors import InputError

if TYPE_CHECKING:
    from kosmos2_core.engine import Engine
    from kosmos2_eval.benchmarks.benchmark import Benchmark, Choice
    from kosmos2_eval.benchmarks.shards import Shard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from kosmos2_eval.benchmarks.catalogue import BENCHMARKS

    name = parser.prog.split()[-1]  # one module for the commands of all benchmarks
    benchmark = BENCHMARKS[name]
    if name == "language":
        parser.add_argument(
            "split", choices=benchmark.splits, metavar="TASK", help=", ".join(benchmark.splits)
        )
    else:
        parser.add_argument(
            "--split", choices=benchmark.splits, default=benchmark.splits[0], help="(default: %(default)s)"
        )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="where the official files are"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a folder for answers as they come, and results.json"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first questions")
    parser.add_argument(
        "--batch", type=int, default=32, metavar="N", help="about so many questions at once (default: 32)"
    )
    if len(benchmark.shots) > 1:
        parser.add_argument(
            "--few-shot", type=int, choices=benchmark.shots, default=0, help="examples before each question"
        )
        parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the choice of examples")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_model(parser)
    parser.set_defaults(benchmark=name, few_shot=0, seed=0)


def run(arguments: argparse.Namespace) -> None:
    from kosmos2_eval.benchmarks.answer_files import Answers
    from kosmos2_eval.benchmarks.asking import RELEASED, answer_all, missing_images
    from kosmos2_eval.benchmarks.benchmark import Choice
    from kosmos2_eval.benchmarks.catalogue import BENCHMARKS
    from kosmos2_eval.benchmarks.comparison import answered, check_complete, results_of
    from kosmos2_eval.benchmarks.shards import this_shard

    check(arguments)
    benchmark = BENCHMARKS[arguments.benchmark]
    choice = Choice(arguments.split, arguments.few_shot, arguments.seed)
    questions = benchmark.read(arguments.data, choice)[: arguments.limit]
    if not questions:
        raise InputError(f"{benchmark.title} {choice.split} has no questions in {arguments.data}.")
    missing = missing_images(questions)
    gone = set(missing)
    there = [one for one in questions if gone.isdisjoint(one.images)]
    about, shard = about_of(arguments, choice), this_shard()
    with folder(arguments.out, shard) as out:
        answers = Answers.read(out, about)
        load = partial(engine_of, arguments, shard)
        answer_all(there, answers, shard, load, benchmark.decoding, arguments.batch)
        if shard.rank == 0:
            answers = Answers.read(out, about)
            answers.merge(questions)
            check_complete(there, answers)
            if benchmark.submission:
                (out / "submission.json").write_text(
                    benchmark.submission(*answered(there, answers, RELEASED))
                )
            report(arguments, benchmark, results_of(benchmark, choice, questions, answers, missing))


def check(arguments: argparse.Namespace) -> None:
    """Before anything is read."""
    from kosmos2_eval.benchmarks.shards import world_size

    for name in ("limit", "batch"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value} asks for nothing: it is at least 1.")
    if world_size() > 1 and not arguments.out:
        raise InputError("several processes meet in a folder: name one with --out that all of them have.")
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed} is negative: it is 0 or more.")
    if arguments.split.startswith("test") and arguments.benchmark == "vqav2" and not arguments.out:
        raise InputError(
            f"the answers of {arguments.split} are not public: name a folder with --out, where the file for"
            " the evaluation server goes."
        )


def about_of(arguments: argparse.Namespace, choice: Choice) -> dict[str, Any]:
    """What answers depend on."""
    return {
        "benchmark": arguments.benchmark,
        "split": choice.split,
        "few_shot": choice.few_shot,
        "seed": choice.seed,
        "model": str(arguments.model),
        "revision": arguments.revision,
        "dtype": arguments.dtype,
    }


@contextmanager
def folder(out: Path | None, shard: Shard) -> Iterator[Path]:
    """Where answers are kept: for good, or while this runs."""
    from kosmos2_eval.result_files import prepare_folder

    if out is None:
        with tempfile.TemporaryDirectory(prefix="kosmos2-") as name:
            yield Path(name)
    else:
        if shard.rank == 0:
            prepare_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        yield out


def engine_of(arguments: argparse.Namespace, shard: Shard) -> Engine:
    """On the GPU that is this process's own."""
    import torch

    if arguments.device == "auto" and shard.world > 1 and torch.cuda.is_available():
        arguments.device = f"cuda:{shard.local_rank % torch.cuda.device_count()}"
    return load_engine(arguments)


def report(arguments: argparse.Namespace, benchmark: Benchmark, results: dict[str, Any]) -> None:
    from kosmos2_eval.benchmarks.comparison import table
    from kosmos2_eval.result_files import write_results

    if arguments.out:
        write_results(arguments.out, results)
    for remark in results["remarks"]:
        print(f"kosmos2: {remark}", file=sys.stderr)
    title = f"{benchmark.title} {arguments.split}"
    print(json.dumps(results, indent=2) if arguments.json else table(title, results))

"""The command `kosmos2 eval bag`: a model, or recorded answers, measured on a recording."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import (
    add_bag_part,
    add_bags,
    add_image_topics,
    add_labels,
    add_model,
    check_min_presence,
    load_engine,
    parse_labels,
)

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_eval.bag.evaluation import BagEvaluation
    from kosmos2_eval.bag.predictors import Predictor
    from kosmos2_eval.bag.recording import BagOptions, Recording
    from kosmos2_eval.result_files import JsonLinesLog

EXAMPLES = """
Examples:

  kosmos2 eval bag runs/first --model models/mine --out report
  kosmos2 eval bag lab.mcap --model models/mine --phrase "the red mug" --phrase "the bowl" --out report
  kosmos2 eval bag lab.mcap --model models/new --compare models/old --labels labels.txt --out report
  kosmos2 eval bag lab.mcap --answers lab.mcap --labels /labels --out report

Writes report.html for a browser; results.json, queries.csv and timings.json for programs; and overlay.mcap,
which Foxglove shows beside the bag. If the command is interrupted, run it again to resume.
docs/bag-evaluation.md explains each figure.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bags(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    add_model(parser, quantize="none")
    _add_predictors(parser)
    _add_queries(parser)
    add_bag_part(parser.add_argument_group("part of the recording"))


def _add_predictors(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("answers")
    group.add_argument(
        "--zoom",
        action="store_true",
        help="look again at a cut-out around each first box, like the node's parameter `zoom`",
    )
    group.add_argument(
        "--min-presence",
        type=float,
        metavar="P",
        help="report phrases with a presence below P as not found (default: the checkpoint's threshold)",
    )
    group.add_argument("--compare", metavar="MODEL", help="evaluate this checkpoint on the same queries too")
    group.add_argument(
        "--answers",
        type=Path,
        metavar="BAG",
        help="evaluate the node's answers recorded in this bag, instead of --model",
    )
    group.add_argument(
        "--answers-topic", metavar="TOPIC", help="topic of the recorded answers, if --answers has several"
    )


def _add_queries(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("queries and correct answers")
    add_image_topics(group)
    group.add_argument(
        "--commands",
        metavar="TOPIC",
        help="topic of type std_msgs/String with commands; each applies until the next one",
    )
    group.add_argument(
        "--phrase",
        action="append",
        default=[],
        metavar="TEXT",
        help="phrase to locate in every image; repeat the option for several",
    )
    group.add_argument(
        "--phrases", type=Path, metavar="FILE", help="file with one phrase per line, to locate in every image"
    )
    group.add_argument("--as-labelled", action="store_true", help="locate the phrases that the labels name")
    add_labels(group)
    group.add_argument(
        "--labels-3d",
        metavar="TOPIC",
        help="topic of type vision_msgs/Detection3DArray with the correct 3D boxes",
    )
    group.add_argument("--depth", metavar="TOPIC", help="depth image topic of the camera, for 3D boxes")


def _run(arguments: argparse.Namespace) -> None:
    from kosmos2_eval.bag.recording import open_recording
    from kosmos2_eval.bag.report import check_report_packages
    from kosmos2_eval.bag.results import write_files
    from kosmos2_eval.result_files import prepare_folder
    from kosmos2_io.bag_reader import BagReader

    options = _bag_options(arguments)
    check_min_presence(arguments.min_presence)
    check_report_packages()  # a missing package is reported before the work starts
    with ExitStack() as opened:
        bag = opened.enter_context(BagReader(arguments.bags))
        answers = opened.enter_context(BagReader([arguments.answers])) if arguments.answers else None
        recording = open_recording(bag, options, answers, arguments.answers_topic)
        prepare_folder(arguments.out)  # reports a folder that cannot be written before the work starts
        predictors, load_s = _load_predictors(arguments, recording)
        evaluation, log = _evaluate(arguments, recording, predictors)
        title = ", ".join(path.resolve().name for path in arguments.bags)
        shown = _shown_options(arguments)
        results = write_files(arguments.out, title, recording, predictors, evaluation, load_s, shown)
        log.remove()
        for sentence in bag.missing:
            print(f"kosmos2: {sentence}", file=sys.stderr)
    _print_results(arguments, results)


def _bag_options(arguments: argparse.Namespace) -> BagOptions:
    from kosmos2_data.bag_frames import ImageSelection
    from kosmos2_data.bag_topics import RequestedTopics
    from kosmos2_eval.bag.recording import BagOptions

    labels, label_file = parse_labels(arguments.labels)
    return BagOptions(
        RequestedTopics(
            images=tuple(arguments.image),
            commands=arguments.commands,
            labels=labels,
            labels_3d=arguments.labels_3d,
            depth=arguments.depth,
        ),
        phrases=tuple(arguments.phrase),
        phrase_file=arguments.phrases,
        label_file=label_file,
        as_labelled=arguments.as_labelled,
        selection=ImageSelection(arguments.from_s, arguments.to_s, arguments.every),
    )


def _load_predictors(
    arguments: argparse.Namespace, recording: Recording
) -> tuple[list[Predictor], list[float]]:
    """Return what is evaluated, with distinct names, and the seconds that loading each took."""
    from kosmos2_eval.bag.predictors import ModelPredictor, RecordedAnswers

    predictors: list[Predictor] = []
    load_s = []
    if isinstance(recording.commands, RecordedAnswers):
        predictors.append(recording.commands)
        load_s.append(0.0)
    models = [] if predictors else [arguments.model]
    for path in [*models, *([arguments.compare] if arguments.compare else [])]:
        start_s = time.perf_counter()
        engine = load_engine(arguments, path)
        load_s.append(time.perf_counter() - start_s)
        name = Path(path).name
        taken = name in (predictor.name for predictor in predictors)
        title = f"{name} (compared)" if taken else name
        predictors.append(ModelPredictor(title, engine, arguments.zoom, arguments.min_presence))
    return predictors, load_s


def _evaluate(
    arguments: argparse.Namespace, recording: Recording, predictors: Sequence[Predictor]
) -> tuple[BagEvaluation, JsonLinesLog]:
    from tqdm import tqdm

    from kosmos2_eval.bag.evaluation import BATCH, evaluate_bag, open_log

    log = open_log(arguments.out, _inputs_of(arguments))
    part = arguments.from_s or arguments.to_s is not None
    total = None if part else -(-recording.image_count // arguments.every)
    with tqdm(total=total, initial=log.count * BATCH, unit="image", disable=None) as bar:
        return evaluate_bag(recording, predictors, log, bar.update), log


def _shown_options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the options that were set, for the report, which others read: paths without their folders."""

    def text(value: Any) -> str:
        return value.resolve().name if isinstance(value, Path) else str(value)

    names = {"bags": "bag", "from_s": "--from", "to_s": "--to"}
    options = {}
    for name, value in vars(arguments).items():
        if name in ("out", "json") or value is None or value is False or value == []:  # 0 is a value
            continue
        shown = ", ".join(map(text, value)) if isinstance(value, list) else text(value)
        options[names.get(name, f"--{name.replace('_', '-')}")] = shown
    return options


def _inputs_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return everything that the results depend on: an evaluation is resumed only if it is unchanged."""
    _, label_file = parse_labels(arguments.labels)
    paths = [*arguments.bags, *filter(None, (arguments.answers, arguments.phrases, label_file))]
    paths += [
        Path(name) for name in (arguments.model, arguments.compare or "") if name and Path(name).is_dir()
    ]
    options = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "json")}
    return {"options": options, "files": [_state_of(path) for path in paths]}


def _state_of(path: Path) -> list[Any]:
    """Return name, size and time of a file, or of all files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _print_results(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    from kosmos2_eval.bag.summary import text_table
    from kosmos2_eval.result_files import json_text

    if arguments.json:
        print(json_text(results), end="")
    else:
        print(text_table(results))
        print(arguments.out / "report.html")


BAG = CliCommand(_add_arguments, _run, EXAMPLES)

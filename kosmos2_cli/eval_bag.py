"""Examples:

  kosmos2 eval bag runs/first --model models/mine --out report
  kosmos2 eval bag lab.mcap --model models/mine --phrase "the red mug" --phrase "the bowl" --out report
  kosmos2 eval bag lab.mcap --model models/new --compare models/old --labels labels.txt --out report
  kosmos2 eval bag lab.mcap --answers lab.mcap --labels /labels --out report

Writes report.html, to be looked at in a browser; results.json, queries.csv and timings.json; overlay.mcap,
to be opened in Foxglove beside the bag. Broken off, the same command goes on where it was.
docs/bag-evaluation.md says what each figure means.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kosmos2_cli.options import add_model, check_min_presence, labels_of

if TYPE_CHECKING:  # torch takes seconds to import: only when something is asked
    from kosmos2_eval.bag.evaluation import BagEvaluation
    from kosmos2_eval.bag.predictors import Predictor
    from kosmos2_eval.bag.recording import BagOptions, Recording
    from kosmos2_eval.result_files import JsonLinesLog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="folders or files: one recording")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder for the results")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    add_model(parser)
    _add_comparison(parser)
    _add_topics(parser)
    _add_part(parser)


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who answers")
    group.add_argument("--zoom", action="store_true", help="look a second time, closer, as the node can")
    group.add_argument(
        "--min-presence",
        type=float,
        metavar="P",
        help="a phrase whose presence is lower gets no box (default: the checkpoint's threshold)",
    )
    group.add_argument("--compare", metavar="MODEL", help="another checkpoint, asked the same")
    group.add_argument(
        "--answers", type=Path, metavar="BAG", help="instead of --model: what the node answered, as recorded"
    )
    group.add_argument("--answers-topic", metavar="TOPIC", help="of those, where there are several")


def _add_topics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is asked, and what is true")
    group.add_argument(
        *("--image", "--camera"),
        action="append",
        default=[],
        metavar="TOPIC",
        help="images; again for another camera, `all` for every one",
    )
    group.add_argument("--commands", metavar="TOPIC", help="std_msgs/String: each stands until the next")
    group.add_argument("--phrase", action="append", default=[], metavar="TEXT", help="asked of every image")
    group.add_argument("--phrases", type=Path, metavar="FILE", help="of them, one a line")
    group.add_argument("--as-labelled", action="store_true", help="ask what the labels name")
    group.add_argument(
        "--labels",
        metavar="TOPIC|FILE",
        help="GroundedFrame or Detection2DArray, or a file: `STAMP grounded Markdown` a line",
    )
    group.add_argument("--labels-3d", metavar="TOPIC", help="vision_msgs/Detection3DArray")
    group.add_argument("--depth", metavar="TOPIC", help="the camera's depth")


def _add_part(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how much of the bag")
    group.add_argument("--every", type=int, default=1, metavar="N", help="each Nth image (default: 1)")
    group.add_argument("--from", type=float, default=0.0, dest="from_s", metavar="S", help="from its start")
    group.add_argument("--to", type=float, dest="to_s", metavar="S", help="from its start")


def run(arguments: argparse.Namespace) -> None:
    from kosmos2_eval.bag.recording import open_recording
    from kosmos2_eval.bag.results import write_files
    from kosmos2_eval.result_files import prepare_folder
    from kosmos2_io.bag_reader import BagReader

    options = options_of(arguments)
    check_min_presence(arguments.min_presence)
    with ExitStack() as opened:
        bag = opened.enter_context(BagReader(arguments.bags))
        answers = opened.enter_context(BagReader([arguments.answers])) if arguments.answers else None
        recording = open_recording(bag, options, answers, arguments.answers_topic)
        prepare_folder(arguments.out)  # before the work
        predictors, load_s = predictors_of(arguments, recording)
        evaluation, log = evaluated(arguments, recording, predictors)
        title = ", ".join(path.resolve().name for path in arguments.bags)
        results = write_files(
            arguments.out, title, recording, predictors, evaluation, load_s, shown_options(arguments)
        )
        log.remove()
        for sentence in bag.missing:
            print(f"kosmos2: {sentence}", file=sys.stderr)
    show(arguments, results)


def options_of(arguments: argparse.Namespace) -> BagOptions:
    from kosmos2_data.bag_topics import RequestedTopics
    from kosmos2_eval.bag.recording import BagOptions

    labels, label_file = labels_of(arguments.labels)
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
        from_s=arguments.from_s,
        to_s=arguments.to_s,
        every=arguments.every,
    )


def predictors_of(arguments: argparse.Namespace, recording: Recording) -> tuple[list[Predictor], list[float]]:
    """The first's name and the second's are not the same; and how long each took to load."""
    from kosmos2_core.engine import Engine
    from kosmos2_eval.bag.predictors import ModelPredictor, RecordedAnswers

    predictors: list[Predictor] = []
    load_s = []
    if isinstance(recording.asking, RecordedAnswers):
        predictors.append(recording.asking)
        load_s.append(0.0)
    models = [] if predictors else [arguments.model]
    for name in [*models, *([arguments.compare] if arguments.compare else [])]:
        start = time.perf_counter()
        engine = Engine.load(name, arguments.device, arguments.dtype, arguments.revision, arguments.offline)
        load_s.append(time.perf_counter() - start)
        called = Path(name).name
        taken = called in (one.name for one in predictors)
        title = f"{called} (compared)" if taken else called
        predictors.append(ModelPredictor(title, engine, arguments.zoom, arguments.min_presence))
    return predictors, load_s


def evaluated(
    arguments: argparse.Namespace, recording: Recording, predictors: Sequence[Predictor]
) -> tuple[BagEvaluation, JsonLinesLog]:
    from tqdm import tqdm

    from kosmos2_eval.bag.evaluation import BATCH, evaluate_bag, open_log

    log = open_log(arguments.out, about(arguments))
    part = arguments.from_s or arguments.to_s is not None
    total = None if part else -(-recording.image_count // arguments.every)
    with tqdm(total=total, initial=log.count * BATCH, unit="image", disable=None) as bar:
        return evaluate_bag(recording, predictors, log, bar.update), log


def shown_options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the options that were set, for the report."""
    names = {"bags": "bag", "from_s": "--from", "to_s": "--to"}
    options = {}
    for name, value in vars(arguments).items():
        if name in ("out", "json") or value in (None, False, []):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        options[names.get(name, f"--{name.replace('_', '-')}")] = text
    return options


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the evaluation depends on."""
    _, label_file = labels_of(arguments.labels)
    places = [*arguments.bags, *filter(None, (arguments.answers, arguments.phrases, label_file))]
    places += [
        Path(name) for name in (arguments.model, arguments.compare or "") if name and Path(name).is_dir()
    ]
    options = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "json")}
    return {"options": options, "files": [state_of(place) for place in places]}


def state_of(place: Path) -> list[Any]:
    """What changes when a file or a folder's files do."""
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def show(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    from kosmos2_eval.bag.summary import text_table
    from kosmos2_eval.result_files import json_text

    if arguments.json:
        print(json_text(results), end="")
    else:
        print(text_table(results))
        print(arguments.out / "report.html")

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
    from kosmos2_eval.bag.answerers import Answerer
    from kosmos2_eval.bag.evaluation import Evaluation
    from kosmos2_eval.bag.recording import Question, Recording


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
    from kosmos2_eval.scene_report import writable
    from kosmos2_io.bag_reader import BagReader

    question = question_of(arguments)
    check_min_presence(arguments.min_presence)
    with ExitStack() as opened:
        bag = opened.enter_context(BagReader(arguments.bags))
        answers = opened.enter_context(BagReader([arguments.answers])) if arguments.answers else None
        recording = open_recording(bag, question, answers, arguments.answers_topic)
        writable(arguments.out)  # before the work
        answerers, load_s = answerers_of(arguments, recording)
        evaluation, journal = evaluated(arguments, recording, answerers)
        title = ", ".join(path.resolve().name for path in arguments.bags)
        results = write_files(arguments.out, title, recording, answerers, evaluation, load_s)
        journal.close(finished=True)
        for sentence in bag.missing:
            print(f"kosmos2: {sentence}", file=sys.stderr)
    show(arguments, results)


def question_of(arguments: argparse.Namespace) -> Question:
    from kosmos2_data.bag_topics import RequestedTopics
    from kosmos2_eval.bag.recording import Question

    labels, label_file = labels_of(arguments.labels)
    return Question(
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


def answerers_of(arguments: argparse.Namespace, recording: Recording) -> tuple[list[Answerer], list[float]]:
    """The first's name and the second's are not the same; and how long each took to load."""
    from kosmos2_core.engine import Engine
    from kosmos2_eval.bag.answerers import Model, Node

    answerers: list[Answerer] = []
    load_s = []
    if isinstance(recording.asking, Node):
        answerers.append(recording.asking)
        load_s.append(0.0)
    models = [] if answerers else [arguments.model]
    for name in [*models, *([arguments.compare] if arguments.compare else [])]:
        start = time.perf_counter()
        engine = Engine.load(name, arguments.device, arguments.dtype, arguments.revision, arguments.offline)
        load_s.append(time.perf_counter() - start)
        called = Path(name).name
        taken = called in (one.name for one in answerers)
        title = f"{called} (compared)" if taken else called
        answerers.append(Model(title, engine, arguments.zoom, arguments.min_presence))
    return answerers, load_s


def evaluated(
    arguments: argparse.Namespace, recording: Recording, answerers: Sequence[Answerer]
) -> tuple[Evaluation, Any]:
    from tqdm import tqdm

    from kosmos2_eval.bag.evaluation import AT_ONCE, evaluate
    from kosmos2_eval.bag.journal import Journal

    journal = Journal(arguments.out, about(arguments))
    part = arguments.from_s or arguments.to_s is not None
    total = None if part else -(-recording.images // arguments.every)
    with tqdm(total=total, initial=journal.done * AT_ONCE, unit="image", disable=None) as bar:
        return evaluate(recording, answerers, journal, bar.update), journal


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
    from kosmos2_eval.bag.results import json_text
    from kosmos2_eval.bag.summary import text_table

    if arguments.json:
        print(json_text(results), end="")
    else:
        print(text_table(results))
        print(arguments.out / "report.html")

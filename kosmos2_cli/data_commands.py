"""Commands of `kosmos2 data`: convert recordings to training data, check data, show data."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_cli.main import BAD_INPUT, CliCommand
from kosmos2_cli.options import (
    add_bag_part,
    add_bags,
    add_image_topics,
    add_labels,
    add_picture_file,
    check_at_least,
    parse_labels,
    save_picture,
)
from kosmos2_core.errors import InputError

if TYPE_CHECKING:  # imports OpenCV
    from kosmos2_data.check import DataSurvey
    from kosmos2_data.from_bag import BagDataSummary, LabelledImages

FROM_BAG_EXAMPLES = """
Examples:

  kosmos2 data from-bag runs/first data/first
  kosmos2 data from-bag lab_0.mcap lab_1.mcap data/lab --image /wrist/image_raw --labels labels.txt --every 5
  kosmos2 data from-bag lab data/lab --labels /detector/detections --command /grounding/command

Each image whose time stamp has a label becomes one record of the format in docs/data.md. Topics need not be
named where the recording has only one that fits. docs/recording.md explains how to record and to label.
"""

CHECK_EXAMPLES = """
Examples:

  kosmos2 data check data/train
  kosmos2 data check my_robot/records.jsonl --json

Lists each record that cannot be used, with its line number and the reason, and counts what the others
contain. Exit code 0: all records are good. Exit code 2: some are bad; training leaves them out.
"""

SHOW_EXAMPLES = """
Examples:

  kosmos2 data show data/train
  kosmos2 data show my_robot/records.jsonl --count 36 --seed 1 --out my_robot.png

Each tile shows a randomly chosen image with one of its items: check that the boxes and the text are correct.
"""

BAR_WIDTH = 30  # characters of the longest bar in a table
RECORDS_HELP = "folder with records.jsonl, or such a file"


def _add_from_bag(parser: argparse.ArgumentParser) -> None:
    add_bags(parser)
    parser.add_argument("folder", type=Path, metavar="OUT", help="folder of the new data; it must not exist")
    add_image_topics(parser)
    add_labels(parser)
    parser.add_argument(
        *("--command", "--commands"),
        metavar="TOPIC",
        help="topic of type std_msgs/String with the commands of the run; they become the sentences of labels"
        " that are only names",
    )
    add_bag_part(parser)
    parser.add_argument(
        "--jpeg",
        type=int,
        metavar="Q",
        help="store raw images as JPEG of this quality, 1 to 100 (default: lossless PNG)",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def _run_from_bag(arguments: argparse.Namespace) -> None:
    if arguments.jpeg is not None and not 1 <= arguments.jpeg <= 100:
        raise InputError(f"--jpeg is {arguments.jpeg}: the quality must be from 1 to 100, such as 95.")
    from tqdm import tqdm

    from kosmos2_data.from_bag import make_data
    from kosmos2_io.bag_reader import BagReader

    request = _make_request(arguments)
    with BagReader(arguments.bags) as bag:
        with tqdm(unit="image", disable=None, leave=False) as bar:
            summary = make_data(arguments.folder, bag, request, arguments.jpeg, bar.update)
        for sentence in bag.missing:
            print(f"kosmos2: {sentence}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(summary.as_json()))
    else:
        print("\n".join(_conversion_lines(summary, arguments.folder)))


def _make_request(arguments: argparse.Namespace) -> LabelledImages:
    from kosmos2_data.bag_frames import ImageSelection
    from kosmos2_data.bag_topics import RequestedTopics
    from kosmos2_data.from_bag import LabelledImages

    labels, label_file = parse_labels(arguments.labels)
    topics = RequestedTopics(tuple(arguments.image), arguments.command, labels)
    selection = ImageSelection(arguments.from_s, arguments.to_s, arguments.every)
    return LabelledImages(topics, label_file, selection)


def _conversion_lines(summary: BagDataSummary, folder: Path) -> Iterator[str]:
    """Yield the lines that say what became of the images of a recording."""
    yield f"{folder / 'records.jsonl'}"
    yield f"{summary.images:>9,} images on {', '.join(summary.topics)}, over {summary.seconds:.1f} s"
    yield f"{summary.records:>9,} used, labelled by {summary.labels}"
    yield f"{summary.phrases:>9,} phrases, {summary.absent:,} of them absent"
    for reason, count in summary.left_out.most_common():
        yield f"{count:>9,} images left out: {reason}"
    if summary.labels_left_out:
        yield f"{summary.labels_left_out:>9,} labels left out: no image has their stamp"


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="PATH", help=RECORDS_HELP)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def _run_check(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from kosmos2_data.check import survey
    from kosmos2_data.record_source import RecordSource

    source = RecordSource(arguments.data)
    found = survey(source, tqdm(range(len(source)), unit="record", disable=None, leave=False))
    print(json.dumps(found.as_json()) if arguments.json else "\n".join(_survey_lines(found)))
    return BAD_INPUT if found.bad else 0


def _survey_lines(found: DataSurvey) -> Iterator[str]:
    """Yield the lines that list bad records and count the contents of the others."""
    yield from (f"line {bad.line}: {bad.reason}" for bad in found.bad)
    if found.bad:
        yield ""
    yield f"{found.lines:,} lines: {found.good:,} good, {len(found.bad):,} bad, {found.empty:,} empty"
    if found.located:
        share = found.absent / found.located
        yield f"{found.located:,} phrases to locate, {found.absent:,} of them absent ({share:.0%})"
    yield from _count_table("task", found.tasks)
    yield from _count_table("kind", found.kinds)
    yield from _count_table("side of the box, pixels of 224", found.as_json()["box_sides_px"])
    yield from (f"warning: {warning}" for warning in found.warnings())


def _count_table(title: str, counts: dict[str, int]) -> Iterator[str]:
    """Yield a table of counts with bars; nothing if all are 0."""
    if not any(counts.values()):
        return
    column, largest = max(map(len, [title, *counts])), max(counts.values())
    yield ""
    yield f"{title:<{column}}  {'count':>9}"
    for name, count in counts.items():
        yield f"{name:<{column}}  {count:>9,}  {'#' * -(-BAR_WIDTH * count // largest)}".rstrip()


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="PATH", help=RECORDS_HELP)
    parser.add_argument("--count", type=int, default=16, metavar="N", help="number of images (default: 16)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the random choice of images (default: 0)"
    )
    add_picture_file(parser)


def _run_show(arguments: argparse.Namespace) -> None:
    check_at_least("count", arguments.count, 1)
    check_at_least("seed", arguments.seed, 0)
    from kosmos2_data.record_source import RecordSource
    from kosmos2_data.show import record_sheet

    save_picture(record_sheet(RecordSource(arguments.data), arguments.count, arguments.seed), arguments.out)


FROM_BAG = CliCommand(_add_from_bag, _run_from_bag, FROM_BAG_EXAMPLES)
CHECK = CliCommand(_add_check, _run_check, CHECK_EXAMPLES)
SHOW = CliCommand(_add_show, _run_show, SHOW_EXAMPLES)

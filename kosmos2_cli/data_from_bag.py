"""Examples:

  kosmos2 data from-bag runs/first data/first
  kosmos2 data from-bag lab_0.mcap lab_1.mcap data/lab --image /wrist/image_raw --labels labels.txt --every 5
  kosmos2 data from-bag lab data/lab --labels /detector/detections --command /grounding/command

Each image whose stamp a label has becomes a record of docs/data.md. Labels are a topic of
kosmos2/GroundedFrame or vision_msgs/Detection2DArray, or a file: a stamp and grounded Markdown a line.
RecordingTopics are found where one choice is sensible. docs/recording.md shows how to record and to label.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from kosmos2_cli.options import labels_of
from kosmos2_core.errors import InputError

if TYPE_CHECKING:  # loads OpenCV
    from kosmos2_data.from_bag import BagDataSummary, LabelledImages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="folders or files: one recording")
    parser.add_argument("folder", type=Path, metavar="OUT", help="the data's folder, which is not there yet")
    parser.add_argument(
        *("--image", "--camera"),
        action="append",
        default=[],
        metavar="TOPIC",
        help="images; again for another camera, `all` for every one",
    )
    parser.add_argument(
        "--labels",
        metavar="TOPIC|FILE",
        help="GroundedFrame or Detection2DArray, or a file: `STAMP grounded Markdown` a line",
    )
    parser.add_argument(
        *("--command", "--commands"),
        metavar="TOPIC",
        help="std_msgs/String: sentences for labels that are names only",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth image (default: 1)")
    parser.add_argument("--from", type=float, default=0.0, dest="from_s", metavar="S", help="from its start")
    parser.add_argument("--to", type=float, dest="to_s", metavar="S", help="from its start")
    parser.add_argument(
        "--jpeg", type=int, metavar="Q", help="raw images as JPEG of this quality (default: as they are, PNG)"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")


def run(arguments: argparse.Namespace) -> None:
    if arguments.jpeg is not None and not 1 <= arguments.jpeg <= 100:
        raise InputError(f"--jpeg {arguments.jpeg}: a quality is from 1 to 100, as 95.")
    from kosmos2_data.from_bag import make_data
    from kosmos2_io.bag_reader import BagReader

    request = request_of(arguments)
    with BagReader(arguments.bags) as bag:
        with tqdm(unit="image", disable=None, leave=False) as bar:
            summary = make_data(arguments.folder, bag, request, arguments.jpeg, bar.update)
        for sentence in bag.missing:
            print(f"kosmos2: {sentence}", file=sys.stderr)
    print(json.dumps(summary.as_json()) if arguments.json else "\n".join(lines(summary, arguments.folder)))


def request_of(arguments: argparse.Namespace) -> LabelledImages:
    from kosmos2_data.bag_frames import ImageSelection
    from kosmos2_data.bag_topics import RequestedTopics
    from kosmos2_data.from_bag import LabelledImages

    labels, label_file = labels_of(arguments.labels)
    topics = RequestedTopics(tuple(arguments.image), arguments.command, labels)
    selection = ImageSelection(arguments.from_s, arguments.to_s, arguments.every)
    return LabelledImages(topics, label_file, selection)


def lines(summary: BagDataSummary, folder: Path) -> Iterator[str]:
    yield f"{folder / 'records.jsonl'}"
    yield f"{summary.images:>9,} images on {', '.join(summary.topics)}, of {summary.seconds:.1f} s"
    yield f"{summary.records:>9,} used, labelled by {summary.labels}"
    yield f"{summary.phrases:>9,} phrases, {summary.absent:,} of them absent"
    for reason, count in summary.left_out.most_common():
        yield f"{count:>9,} images left out: {reason}"
    if summary.labels_left_out:
        yield f"{summary.labels_left_out:>9,} labels left out: no image has their stamp"

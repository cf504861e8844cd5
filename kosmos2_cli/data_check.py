"""Examples:

  kosmos2 data check data/train
  kosmos2 data check my_robot/records.jsonl --json

Names each record that cannot be used, with its line and what is wrong, and counts what is in the others.
Exit code 0: all are good; 2: some are not, and training would leave them out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:  # loads OpenCV
    from kosmos2_data.check import Survey

BAD_INPUT = 2
BAR = 30  # letters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="PATH", help="a folder with records.jsonl, or such a file")
    parser.add_argument("--json", action="store_true", help="one line of JSON")


def run(arguments: argparse.Namespace) -> int:
    from kosmos2_data.check import survey
    from kosmos2_data.record_source import RecordSource

    source = RecordSource(arguments.data)
    found = survey(source, tqdm(range(len(source)), unit="record", disable=None, leave=False))
    print(json.dumps(found.as_json()) if arguments.json else "\n".join(lines(found)))
    return BAD_INPUT if found.bad else 0


def lines(found: Survey) -> Iterator[str]:
    yield from (f"line {bad.line}: {bad.reason}" for bad in found.bad)
    if found.bad:
        yield ""
    yield f"{found.lines:,} lines: {found.good:,} good, {len(found.bad):,} bad, {found.empty:,} empty"
    if found.located:
        share = found.absent / found.located
        yield f"{found.located:,} phrases to locate, {found.absent:,} of them absent ({share:.0%})"
    yield from _table("task", found.tasks)
    yield from _table("kind", found.kinds)
    sides = found.as_json()["box_sides_px"]
    yield from _table("box's side, px of 224", sides)
    yield from (f"warning: {warning}" for warning in found.warnings())


def _table(title: str, counts: dict[str, int]) -> Iterator[str]:
    if not any(counts.values()):
        return
    wide, most = max(map(len, [title, *counts])), max(counts.values())
    yield ""
    yield f"{title:<{wide}}  {'count':>9}"
    for name, count in counts.items():
        yield f"{name:<{wide}}  {count:>9,}  {'#' * -(-BAR * count // most)}".rstrip()

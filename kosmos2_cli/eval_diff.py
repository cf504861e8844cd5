"""Examples:

  kosmos2 eval diff report-old report-new
  kosmos2 eval diff report-old/results.json report-new/results.json --json

Figures of both, with what changed. Where both are of a bag, also the queries that changed sides, and whether
chance would do as much (docs/bag-evaluation.md).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("before", "after"):
        parser.add_argument(
            name, type=Path, metavar=name.upper(), help="a folder of results, or results.json"
        )
    parser.add_argument("--json", action="store_true", help="all of it as JSON")


def run(arguments: argparse.Namespace) -> None:
    from kosmos2_eval.diff import diff_json, diff_text, read_evaluation

    before, after = read_evaluation(arguments.before), read_evaluation(arguments.after)
    if arguments.json:
        print(json.dumps(diff_json(before, after), indent=2, ensure_ascii=False))
    else:
        print(diff_text(before, after))

"""What happened at each step, as CSV and for TensorBoard; a training that goes on leaves the log of one that
was never cut off.

    log.csv     a line a step       scores.csv   a line an evaluation       tensorboard/
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kosmos2_training.train import Outcome

LOG, SCORES = "log.csv", "scores.csv"
STEP_FIELDS = ("step", "answers", "auxiliary", "gradient", "rate")

Scores = dict[str, Any]


class Log:
    """What stands after `step` was written by a training that was cut off later: it comes again."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        for name in (LOG, SCORES):
            lines = read_lines(run / name)
            _write(run / name, [line for line in lines if int(line["step"]) <= step])
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def learnt(self, step: int, outcome: Outcome) -> None:
        values = {name: getattr(outcome, name) for name in STEP_FIELDS[1:]}
        _append(self.run / LOG, {"step": step} | {name: repr(value) for name, value in values.items()})
        for name, value in values.items():
            self.board.add_scalar(f"training/{name}", value, step)

    def scored(self, step: int, scores: Scores) -> None:
        plain = {name: value for name, value in scores.items() if isinstance(value, int | float)}
        _append(self.run / SCORES, {"step": step} | plain)
        for name, value in plain.items():
            self.board.add_scalar(f"held out/{name}", value, step)
        self.board.flush()

    def last_scores(self) -> Scores:
        lines = read_lines(self.run / SCORES)
        return {name: float(value) for name, value in lines[-1].items()} if lines else {}


def read_lines(file: Path) -> list[dict[str, str]]:
    """A log's whole lines; one that was cut off is left out."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            whole = [line for line in stream if line.endswith("\n")]
    except FileNotFoundError:
        return []
    lines = csv.DictReader(whole)
    return [line for line in lines if None not in line and None not in line.values()]


def _append(file: Path, values: dict[str, Any]) -> None:
    new = not file.exists() or not file.stat().st_size
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(values), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(values)


def _write(file: Path, lines: Iterable[dict[str, str]]) -> None:
    lines = list(lines)
    part = file.with_name(f".{file.name}.new")
    with part.open("w", newline="", encoding="utf-8") as stream:
        if lines:
            writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    os.replace(part, file)

"""The files in the folder of a training run: checkpoints, and the log of every step and evaluation.

    step-0001000/   a checkpoint: the model in the format of `transformers`, and state/ to resume from
    log.csv         one line per step
    scores.csv      one line per evaluation
    tensorboard/    both of them for TensorBoard

A checkpoint is written completely or not at all. The log of a resumed training is the same as that of
one that was never interrupted.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from kosmos2_core.errors import InputError
from kosmos2_core.files import read_json, write_atomically

STEP = re.compile(r"step-(\d{7})")
STATE = "state"
LOG, SCORES = "log.csv", "scores.csv"

Scores = dict[str, Any]


@dataclass(frozen=True)
class StepMetrics:
    """The figures of one training step; they are columns of log.csv."""

    answers: float  # the mean loss of the tokens to learn
    auxiliary: float  # the mean loss of the patches and image tokens
    gradient: float  # the gradient's norm before clipping
    rate: float  # the learning rate


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yield a new folder, and replace `folder` by it when everything is on the disk.

    A reader, and a training that was killed, finds the old or the new folder, never an incomplete one.
    """
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    for path in [*new.rglob("*"), new]:
        _flush(path)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def step_folder(run: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return run / f"step-{step:07}"


def last_step(run: Path) -> tuple[int, Path] | None:
    """Return the newest checkpoint of a run and its step, or None if there is none."""
    steps = [(int(match[1]), path) for path in run.glob("step-*") if (match := STEP.fullmatch(path.name))]
    return max(steps, default=None)


def remove_old_steps(run: Path, keep: int) -> None:
    """Remove all checkpoints except the newest ones."""
    for path in sorted(path for path in run.glob("step-*") if STEP.fullmatch(path.name))[:-keep]:
        shutil.rmtree(path)


def save_state(
    folder: Path,
    optimisers: Mapping[str, Optimizer],
    modules: Mapping[str, nn.Module],
    values: dict[str, Any],
) -> None:
    """Write what a training needs to resume besides the model's weights, as safetensors and JSON.

    Args:
        modules: modules of the training that are not part of the model.
        values: further values, stored as JSON.
    """
    folder.mkdir()
    tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for name, module in modules.items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        for number, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{name}/{number}/{key}": value for key, value in state.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(values, indent=2), encoding="utf-8")


def load_state(
    folder: Path, optimisers: Mapping[str, Optimizer], modules: Mapping[str, nn.Module]
) -> dict[str, Any]:
    """Restore the state that `save_state` wrote, and return its further values.

    Raises:
        InputError: the state belongs to other weights.
    """
    tensors = load_file(folder / "state.safetensors")
    torch.set_rng_state(tensors["random"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    for name, module in modules.items():
        module.load_state_dict(_below(tensors, f"module/{name}/"))
    for name, optimiser in optimisers.items():
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, f"optimiser/{name}/").items():
            number, _, part = key.partition("/")
            states.setdefault(int(number), {})[part] = value
        groups = optimiser.state_dict()["param_groups"]
        expected = sum(len(group["params"]) for group in groups)
        if states and len(states) > expected:
            raise InputError(f"{folder} belongs to a training of other weights: choose another `run`.")
        optimiser.load_state_dict({"state": states, "param_groups": groups})
    values: dict[str, Any] = read_json(folder / "state.json")
    return values


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


# The log.


class TrainingLog:
    """The log of a run.

    Lines after `step` are removed: an interrupted training wrote them, and the resumed one writes them again.
    """

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        for name in (LOG, SCORES):
            lines = read_lines(run / name)
            _write(run / name, [line for line in lines if int(line["step"]) <= step])
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def add_step(self, step: int, metrics: StepMetrics) -> None:
        """Write the line of a step."""
        values = asdict(metrics)
        _append(self.run / LOG, {"step": step} | {name: repr(value) for name, value in values.items()})
        for name, value in values.items():
            self.board.add_scalar(f"training/{name}", value, step)

    def add_scores(self, step: int, scores: Scores) -> None:
        """Write the line of an evaluation; values that are not numbers are left out."""
        plain = {name: value for name, value in scores.items() if isinstance(value, int | float)}
        _append(self.run / SCORES, {"step": step} | plain)
        for name, value in plain.items():
            self.board.add_scalar(f"held out/{name}", value, step)
        self.board.flush()

    def last_scores(self) -> Scores:
        """Return the scores of the last evaluation, or an empty dict if there was none."""
        lines = read_lines(self.run / SCORES)
        return {name: float(value) for name, value in lines[-1].items()} if lines else {}


def read_lines(file: Path) -> list[dict[str, str]]:
    """Read the complete lines of a log. An incomplete last line is left out."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            complete = [line for line in stream if line.endswith("\n")]
    except FileNotFoundError:
        return []
    lines = csv.DictReader(complete)
    return [line for line in lines if None not in line and None not in line.values()]


def _append(file: Path, values: dict[str, Any]) -> None:
    is_empty = not file.exists() or not file.stat().st_size
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(values), lineterminator="\n")
        if is_empty:
            writer.writeheader()
        writer.writerow(values)


def _write(file: Path, lines: Iterable[dict[str, str]]) -> None:
    lines = list(lines)
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    write_atomically(file, text.getvalue())

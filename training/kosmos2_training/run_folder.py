"""The files in the folder of a training run: checkpoints, and the log of every step and evaluation.

    step-0001000/   a checkpoint: the model in the format of `transformers`, and state/ to resume from
    log.csv         one line per step
    scores.csv      one line per evaluation
    tensorboard/    both of them for TensorBoard

A checkpoint is written completely or not at all. The log of a resumed training is the same as that of
one that was never interrupted.
"""

from __future__ import annotations

import ctypes
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
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from kosmos2_core.calibration import CALIBRATION_FILE
from kosmos2_core.errors import InputError
from kosmos2_core.files import (
    csv_text,
    flush_to_disk,
    read_csv,
    read_json,
    write_all,
    write_atomically,
    write_errors,
)

STEP = re.compile(r"step-(\d{7})")
STATE = "state"
LOG, SCORES, BOARD = "log.csv", "scores.csv", "tensorboard"
CURVE, SHEET = "curve.png", "pictures.png"
BEST, FINAL = "best", "final"  # the models of a run
RENAME_EXCHANGE = 2  # of Linux's renameat2

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

    At any moment, also for a reader and after `kill -9`, `folder` is the old or the new one. Files that
    somebody else has added to the old folder are also in the new one.

    Raises:
        InputError: the folder cannot be written.
        DiskError: the disk is full.
    """
    new = folder.with_name(f".{folder.name}.new")
    restore(folder)
    shutil.rmtree(new, ignore_errors=True)
    try:
        with write_errors(folder, SafetensorError):
            new.mkdir(parents=True)
            yield new
            _keep_added_files(folder, new)
            for path in [*new.rglob("*"), new]:
                if not path.is_symlink():
                    flush_to_disk(path)
            _replace(folder, new)
            flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # what is left of the new folder, or the old one


def _keep_added_files(old: Path, new: Path) -> None:
    """Copy what the old folder has and the new one has not, except what belongs to the old weights."""
    for path in old.iterdir() if old.exists() else ():
        copy = new / path.name
        if copy.exists() or path.name == CALIBRATION_FILE:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, copy, symlinks=True)
        else:
            shutil.copy2(path, copy, follow_symlinks=False)


def _replace(folder: Path, new: Path) -> None:
    """Give a new folder its name. The old one, if there is one, gets the new one's."""
    if not folder.exists():
        new.rename(folder)
    elif not _exchange(folder, new):
        old = _backup(folder)
        folder.rename(old)
        new.rename(folder)
        old.rename(new)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step, or return False where the system or the file system cannot do it."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    names = (
        os.fsencode(first.absolute()),
        os.fsencode(second.absolute()),
    )  # absolute: no folder is referred to
    return renameat2 is not None and renameat2(0, names[0], 0, names[1], RENAME_EXCHANGE) == 0


def restore(folder: Path) -> None:
    """Give a folder back its name, if a process was killed where two names cannot be exchanged."""
    old = _backup(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _backup(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def check_run(run: Path) -> None:
    """Prepare the folder of a run: what a killed training left is put in order, and nothing is overwritten.

    Raises:
        InputError: there is no checkpoint to resume from, but files that a new training would replace.
    """
    for name in (BEST, FINAL):
        restore(run / name)
    for left in run.glob(".step-*.old"):
        shutil.rmtree(left)
    if last_step(run) is None:
        for name in (BEST, FINAL, CURVE, SHEET):
            if (run / name).exists():
                raise InputError(
                    f"{run / name} exists, but {run} has no checkpoint `step-...` to resume from: rename"
                    f" {name}, which a new training would replace, or choose another `run`."
                )


def step_folder(run: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return run / f"step-{step:07}"


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Return the steps and folders of a run's checkpoints, from the oldest to the newest."""
    steps = [(int(match[1]), path) for path in run.glob("step-*") if (match := STEP.fullmatch(path.name))]
    return sorted((step, path) for step, path in steps if (path / STATE).is_dir())


def last_step(run: Path) -> tuple[int, Path] | None:
    """Return the newest checkpoint of a run and its step, or None if there is none."""
    return max(checkpoints(run), default=None)


def remove_old_steps(run: Path, keep: int) -> None:
    """Remove all checkpoints except the newest ones. Of one that is being removed no part has its name."""
    for _, path in checkpoints(run)[:-keep]:
        removed = _backup(path)
        path.rename(removed)
        shutil.rmtree(removed)


def save_state(
    folder: Path,
    optimisers: Mapping[str, Optimizer],
    modules: Mapping[str, nn.Module],
    values: dict[str, Any],
) -> None:
    """Write what a training needs to resume besides the model's weights, as safetensors and JSON.

    Errors of writing are left to `written_whole`.

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
            if any("step" not in line for line in lines):
                raise InputError(f"{run / name} is not the log of a training: choose another `run`.")
            _write(run / name, [line for line in lines if int(line["step"]) <= step])
        with write_errors(run / BOARD):
            self.board = SummaryWriter(str(run / BOARD), purge_step=step + 1)

    def add_step(self, step: int, metrics: StepMetrics) -> None:
        """Write the line of a step."""
        values = asdict(metrics)
        _append(self.run / LOG, {"step": step} | {name: repr(value) for name, value in values.items()})
        with write_errors(self.run / BOARD):
            for name, value in values.items():
                self.board.add_scalar(f"training/{name}", value, step)

    def add_scores(self, step: int, scores: Scores) -> None:
        """Write the line of an evaluation; values that are not numbers are left out."""
        plain = {name: value for name, value in scores.items() if isinstance(value, int | float)}
        _append(self.run / SCORES, {"step": step} | plain)
        with write_errors(self.run / BOARD):
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
    lines = read_csv(complete)
    return [line for line in lines if None not in line and None not in line.values()]


def _append(file: Path, values: dict[str, Any]) -> None:
    is_empty = not file.exists() or not file.stat().st_size
    with write_errors(file), file.open("ab", buffering=0) as stream:
        write_all(stream, csv_text(list(values), [values], header=is_empty).encode())


def _write(file: Path, lines: Iterable[dict[str, str]]) -> None:
    lines = list(lines)
    write_atomically(file, csv_text(list(lines[0]), lines) if lines else "")

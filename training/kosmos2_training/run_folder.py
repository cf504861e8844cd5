"""A training's checkpoints, each written whole or not at all.

step-0001000/      the model in the peer's format, and state/ to go on from
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from kosmos2_core.errors import InputError
from kosmos2_core.files import read_json

STEP = re.compile(r"step-(\d{7})")
STATE = "state"


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the other's place when all is on the disk: a reader, or a training
    that was killed, finds the old or the new one, never a half."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    for path in [*new.rglob("*"), new]:
        _to_disk(path)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _to_disk(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def step_folder(run: Path, step: int) -> Path:
    return run / f"step-{step:07}"


def last_step(run: Path) -> tuple[int, Path] | None:
    """The newest checkpoint of a run."""
    steps = [(int(named[1]), path) for path in run.glob("step-*") if (named := STEP.fullmatch(path.name))]
    return max(steps, default=None)


def forget_steps(run: Path, keep: int) -> None:
    for path in sorted(path for path in run.glob("step-*") if STEP.fullmatch(path.name))[:-keep]:
        shutil.rmtree(path)


def save_state(
    folder: Path, optimisers: Mapping[str, Optimizer], modules: Mapping[str, nn.Module], about: dict[str, Any]
) -> None:
    """All that a training needs besides the model's weights: plain tensors and JSON."""
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
    (folder / "state.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


def load_state(
    folder: Path, optimisers: Mapping[str, Optimizer], modules: Mapping[str, nn.Module]
) -> dict[str, Any]:
    """Put everything back, and give what was noted about it."""
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
        whole = optimiser.state_dict()
        expected = sum(len(group["params"]) for group in whole["param_groups"])
        if states and len(states) > expected:
            raise InputError(f"{folder} is of a training of other weights: start a new run.")
        optimiser.load_state_dict({"state": states, "param_groups": whole["param_groups"]})
    about: dict[str, Any] = read_json(folder / "state.json")
    return about


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

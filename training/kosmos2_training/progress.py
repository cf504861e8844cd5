"""One line that says how a training goes: loss, speed, memory, the time left."""

from __future__ import annotations

import resource
import sys
from types import TracebackType
from typing import Any

import torch
from tqdm import tqdm

from kosmos2_training.train import Outcome, Trainer

SMOOTH = 0.98  # what stays of the loss that is shown, each step


class Progress:
    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.loss: float | None = None
        self.images_a_second: float | None = None
        self.scores: dict[str, Any] = {}
        total = trainer.training.steps
        # Not a terminal: a line now and then instead of one that is written over.
        every = 0.5 if sys.stderr.isatty() else 30
        self.bar = tqdm(total=total, initial=trainer.step, unit="step", mininterval=every, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.bar.close()

    def learnt(self, outcome: Outcome, seconds: float) -> None:
        speed = self.trainer.training.batch / seconds
        self.loss = _smoothed(self.loss, outcome.answers)
        self.images_a_second = _smoothed(self.images_a_second, speed)
        said = {
            "loss": f"{self.loss:.3f}",
            "images/s": f"{self.images_a_second:.1f}",
            "GB": f"{memory_bytes() / 1e9:.1f}",
        }
        if self.scores:
            said |= {"accuracy": f"{self.scores['accuracy']:.2f}", "IoU": f"{self.scores['mean_iou']:.2f}"}
        if self.trainer.skipped:
            said["bad records"] = str(self.trainer.skipped)
        self.bar.set_postfix(said, refresh=False)
        self.bar.update()

    def scored(self, scores: dict[str, Any]) -> None:
        self.scores = scores


def memory_bytes() -> int:
    """The most that was in use: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else SMOOTH * before + (1 - SMOOTH) * now

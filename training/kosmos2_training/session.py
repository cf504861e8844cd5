"""A training session, from the settings to the report.

    for each step: train; at intervals evaluate, keep the best model, and save a checkpoint

After SIGINT or SIGTERM the session saves at the end of the step and stops; the same command resumes it.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from tqdm import tqdm

from kosmos2_core.engine import Engine
from kosmos2_core.errors import DiskError, InputError
from kosmos2_core.images import Pixels
from kosmos2_core.packages import require
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import Record
from kosmos2_eval.scenes import locate_examples, locate_metrics
from kosmos2_training.config import TrainingSettings
from kosmos2_training.data_loader import StepBatches
from kosmos2_training.report import model_card, write_report
from kosmos2_training.run_folder import (
    BEST,
    FINAL,
    Scores,
    StepMetrics,
    TrainingLog,
    last_step,
    written_whole,
)
from kosmos2_training.trainer import Trainer

SMOOTHING = 0.98  # weight of the old value in the moving averages of the progress bar


def run_training(settings: TrainingSettings, base: Path, device: str = "auto") -> Path:
    """Train all remaining steps and return the folder of the model to use.

    Args:
        base: the folder that the paths in the settings are relative to.
        device: auto, cpu, cuda or cuda:1.

    Raises:
        InputError: the settings cannot be used, the loss diverged, or a signal stopped the training.
        DiskError: the disk is full; what was saved before is whole.
    """
    require("matplotlib", "tensorboard")  # which are needed later
    session = TrainingSession(settings, base, device)
    trainer = session.trainer
    try:
        with _stop_requested() as stop_requested, session.progress:
            for step in trainer.data.from_step(trainer.step):
                session.train_step(step)
                if stop_requested():
                    trainer.save()
                    raise InputError(
                        f"stopped and saved after step {trainer.step}: rerun the command to resume."
                    )
        return session.finish()
    except DiskError as error:
        raise DiskError(f"{str(error).rstrip('.')}, and rerun the command to resume.") from None


class TrainingSession:
    """A trainer with the log, the evaluation and the progress bar of its run."""

    def __init__(self, settings: TrainingSettings, base: Path, device: str) -> None:
        self.settings = settings
        self.held_out = _held_out(settings, base)
        self.trainer = Trainer(settings, base, device)
        self.log = TrainingLog(self.trainer.run, self.trainer.step)
        self.progress = TrainingProgress(self.trainer)

    def train_step(self, step: StepBatches) -> None:
        """Train one step, and evaluate and save if it is time to."""
        trainer, started = self.trainer, time.perf_counter()
        if trainer.step + 1 in self.settings.skip_steps:
            trainer.skip_step(step)
            self.progress.bar.update()
        else:
            metrics = trainer.train_step(step)
            self.log.add_step(trainer.step, metrics)
            self.progress.add_step(metrics, time.perf_counter() - started)
        is_last = trainer.step == self.settings.steps
        if self.held_out and (is_last or trainer.step % self.settings.evaluate.interval == 0):
            self.evaluate()
        is_due = is_last or trainer.step % self.settings.checkpoints.interval == 0
        if is_due or (trainer.best >= 0 and last_step(trainer.run) is None):  # no best/ without a checkpoint
            trainer.save()

    def evaluate(self) -> None:
        """Evaluate the model on the held-out data, and keep it if it is the best so far."""
        trainer = self.trainer
        trainer.check_weights()
        scores: Scores = locate_metrics(locate_examples(self.engine(), self.held_out_images()))
        self.log.add_scores(trainer.step, scores)
        self.progress.scores = scores
        if (scores["mean_iou"] or 0.0) > trainer.best:
            trainer.best = scores["mean_iou"] or 0.0
            self._write_model(trainer.run / BEST, scores)

    def finish(self) -> Path:
        """Write the last model and the report, and return the folder of the model to use."""
        run = self.trainer.run
        self._write_model(run / FINAL, self.log.last_scores())
        write_report(run, self.engine(), self.held_out_images())
        return run / BEST if (run / BEST).exists() else run / FINAL

    def engine(self) -> Engine:
        """Return an engine that uses the current weights."""
        return Engine(self.trainer.model.eval(), self.trainer.tokenizer)

    def held_out_images(self) -> Iterator[tuple[Pixels, Record]]:
        """Yield the images of the held-out data with their records."""
        for source, record in self.held_out:
            yield source.image(record), record

    def _write_model(self, folder: Path, scores: Scores) -> None:
        with written_whole(folder) as new:
            self.trainer.save_model(new)
            (new / "README.md").write_text(model_card(self.trainer, scores), encoding="utf-8")


def _held_out(settings: TrainingSettings, base: Path) -> list[tuple[RecordSource, Record]]:
    """Return the good records to evaluate on, or an empty list if the settings name none."""
    if not settings.evaluate.data:
        return []
    source = RecordSource(base / settings.evaluate.data)
    read = (source.read(number) for number in range(min(len(source), settings.evaluate.images)))
    records = [record for record in read if isinstance(record, Record)]
    if not any(item.task == "locate" for record in records for item in record.items):
        raise InputError(f"{source.file} has nothing to locate: evaluation needs `locate` items.")
    return [(source, record) for record in records]


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM came; a second signal has its usual effect."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, previous[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for restored, handler in previous.items():
            signal.signal(restored, handler)


class TrainingProgress:
    """The progress bar of a training: loss, speed, memory, scores and the remaining time."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.loss: float | None = None
        self.images_per_second: float | None = None
        self.scores: Scores = {}
        total = trainer.settings.steps
        # In a log file each update is a new line, so updates are rare there.
        interval_s = 0.5 if sys.stderr.isatty() else 30
        self.bar = tqdm(
            total=total, initial=trainer.step, unit="step", mininterval=interval_s, dynamic_ncols=True
        )

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bar.close()

    def add_step(self, metrics: StepMetrics, seconds: float) -> None:
        """Show a step that took this time."""
        self.loss = _moving_average(self.loss, metrics.answers)
        self.images_per_second = _moving_average(
            self.images_per_second, self.trainer.settings.batch / seconds
        )
        figures = {
            "loss": f"{self.loss:.3f}",
            "images/s": f"{self.images_per_second:.1f}",
            "GB": f"{peak_memory_bytes() / 1e9:.1f}",
        }
        if self.scores:
            figures |= {"accuracy": f"{self.scores['accuracy']:.2f}", "IoU": f"{self.scores['mean_iou']:.2f}"}
        if self.trainer.skipped:
            figures["bad records"] = str(self.trainer.skipped)
        self.bar.set_postfix(figures, refresh=False)
        self.bar.update()


def peak_memory_bytes() -> int:
    """Return the peak memory of the GPU if there is one, otherwise that of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _moving_average(previous: float | None, value: float) -> float:
    return value if previous is None else SMOOTHING * previous + (1 - SMOOTHING) * value

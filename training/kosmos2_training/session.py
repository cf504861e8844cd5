"""A training from its settings to its report.

    for each step: learn; sometimes log, evaluate, keep the best, save

Told to stop by SIGINT or SIGTERM it does so after the step, and the same command goes on.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import Record
from kosmos2_eval.scenes import locate_examples, locate_metrics
from kosmos2_training.config import Training
from kosmos2_training.feed import Step
from kosmos2_training.log import Log, Scores
from kosmos2_training.progress import Progress
from kosmos2_training.report import model_card, write_report
from kosmos2_training.run_folder import written_whole
from kosmos2_training.train import Trainer

BEST, FINAL = "best", "final"


def run_training(training: Training, base: Path, device: str = "auto") -> Path:
    """Learn all steps that are left, and return the folder of the model to use."""
    session = Session(training, base, device)
    trainer = session.trainer
    with _told_to_stop() as told, session.progress:
        for step in trainer.feed.from_step(trainer.step):
            session.learn(step)
            if told():
                trainer.save()
                raise InputError(f"stopped after step {trainer.step}, and saved: the same command goes on.")
    return session.finish()


class Session:
    def __init__(self, training: Training, base: Path, device: str) -> None:
        self.training = training
        self.held_out = _held_out(training, base)
        self.trainer = Trainer(training, base, device)
        self.log = Log(self.trainer.run, self.trainer.step)
        self.progress = Progress(self.trainer)

    def learn(self, step: Step) -> None:
        trainer, begun = self.trainer, time.perf_counter()
        outcome = trainer.train_step(step)
        self.log.learnt(trainer.step, outcome)
        self.progress.learnt(outcome, time.perf_counter() - begun)
        last = trainer.step == self.training.steps
        if self.held_out and (last or trainer.step % self.training.evaluate.every == 0):
            self.evaluate()
        if last or trainer.step % self.training.checkpoints.every == 0:
            trainer.save()

    def evaluate(self) -> None:
        trainer = self.trainer
        scores: Scores = locate_metrics(locate_examples(self.engine(), self.samples()))
        self.log.scored(trainer.step, scores)
        self.progress.scored(scores)
        if (scores["mean_iou"] or 0.0) > trainer.best:
            trainer.best = scores["mean_iou"] or 0.0
            self._write_model(trainer.run / BEST, scores)

    def finish(self) -> Path:
        """The last step's model, and pictures of how it went; which model to use."""
        run = self.trainer.run
        self._write_model(run / FINAL, self.log.last_scores())
        write_report(run, self.engine(), self.samples())
        return run / BEST if (run / BEST).exists() else run / FINAL

    def engine(self) -> Engine:
        """On the weights as they are."""
        return Engine(self.trainer.model.eval(), self.trainer.tokenizer)

    def samples(self) -> Iterator[tuple[Pixels, Record]]:
        for source, record in self.held_out:
            yield source.image(record), record

    def _write_model(self, folder: Path, scores: Scores) -> None:
        with written_whole(folder) as new:
            self.trainer.save_model(new)
            (new / "README.md").write_text(model_card(self.trainer, scores), encoding="utf-8")


def _held_out(training: Training, base: Path) -> list[tuple[RecordSource, Record]]:
    """What to evaluate with; bad records are left out."""
    if not training.evaluate.data:
        return []
    source = RecordSource(base / training.evaluate.data)
    read = (source.read(number) for number in range(min(len(source), training.evaluate.images)))
    records = [record for record in read if isinstance(record, Record)]
    if not any(item.task == "locate" for record in records for item in record.items):
        raise InputError(f"{source.file} has nothing to locate: evaluation needs `locate` items.")
    return [(source, record) for record in records]


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether a signal came; the second one is the usual one."""
    told: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        told.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(told)
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)

"""The batches of a training, each determined by its step number, so that any process can make any of them.

The order of all records is known in advance from the seed. So a resumed training gets the same records as one
that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from kosmos2_core.errors import InputError
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.check import check
from kosmos2_data.record_source import BadRecord, RecordSource
from kosmos2_training.augment import Augmentation, augment
from kosmos2_training.batches import BatchShape, TrainingBatch, TrainingSample, collate, make_sample
from kosmos2_training.config import TrainingSettings
from kosmos2_training.patch_targets import ObjectClasses

MAX_BAD_RECORDS = 100  # in a row


@dataclass(frozen=True, eq=False)
class StepBatches:
    """The data of one training step."""

    parts: tuple[TrainingBatch, ...]  # several, if gradients are accumulated
    skipped: int  # bad records that were replaced by the next good one

    @property
    def target_count(self) -> int:
        """The number of tokens to learn."""
        return sum(len(part.targets) for part in self.parts)


class TrainingData(Dataset[StepBatches]):
    """The data of all steps of a training.

    Args:
        sources: the records of the data sets in `settings.data`.
        object_classes: the classes of the auxiliary losses; None: no targets for them.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        sources: Sequence[RecordSource],
        tokenizer: Tokenizer,
        shape: BatchShape,
        object_classes: ObjectClasses | None,
    ) -> None:
        self.settings, self.sources, self.tokenizer = settings, sources, tokenizer
        self.shape, self.object_classes = shape, object_classes
        self.augmentation = Augmentation() if settings.augment else None
        count = settings.steps * settings.batch
        weights = [source.weight for source in settings.data]
        sizes = [len(source) for source in sources]
        self.order = sampling_order(settings.seed, count, sizes, weights)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> StepBatches:
        size = self.settings.batch
        drawn = [self.sample(step * size + offset) for offset in range(size)]
        samples, skipped = [sample for sample, _ in drawn], sum(bad for _, bad in drawn)
        count = self.settings.accumulate
        parts = [samples[first::count] for first in range(count)]
        batches = tuple(collate(part, self.tokenizer, self.shape) for part in parts if part)
        return StepBatches(batches, skipped)

    def sample(self, index: int) -> tuple[TrainingSample, int]:
        """Return the sample with an index in the order, and the number of bad records that were skipped.

        Raises:
            InputError: there are MAX_BAD_RECORDS bad records in a row.
        """
        rng = np.random.default_rng([self.settings.seed, 2, index])
        source = self.sources[self.order[0][index]]
        for bad in range(MAX_BAD_RECORDS):
            found = check(source, (int(self.order[1][index]) + bad) % len(source))
            if isinstance(found, BadRecord):
                last = found
            else:
                labelled = found if self.augmentation is None else augment(*found, rng, self.augmentation)
                sample = make_sample(*labelled, self.tokenizer, self.shape, self.object_classes, rng)
                return sample, bad
        raise InputError(
            f"{source.file} has {MAX_BAD_RECORDS} bad records in a row, the last one in line {last.line}:"
            f" {last.reason} `kosmos2 data check` names them all."
        )

    def samples_of(self, step: int) -> Iterator[tuple[Path, int, TrainingSample]]:
        """Yield the samples of a step, with the file and the line of each record."""
        for index in range(step * self.settings.batch, (step + 1) * self.settings.batch):
            source = self.sources[self.order[0][index]]
            sample, bad = self.sample(index)
            yield source.file, int(source.lines[(self.order[1][index] + bad) % len(source)]), sample

    def from_step(self, step: int) -> Iterator[StepBatches]:
        """Yield the data of all steps from this one on; other processes prepare it in advance."""
        workers = self.settings.workers
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(step, len(self)),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_use_one_thread if workers else None,
            # A forked process may wait forever for threads of torch, OpenCV or OpenGL that it does not have.
            multiprocessing_context="spawn" if workers else None,
            # By default the loader would draw from the generator that dropout uses.
            generator=torch.Generator(),
        )
        yield from loader


def _use_one_thread(worker: int) -> None:
    """Leave the other processor cores to the model."""
    cv2.setNumThreads(1)


def sampling_order(
    seed: int, count: int, sizes: Sequence[int], weights: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the source and the record in it for each of `count` samples.

    Sources are drawn by weight. All records of a source come once, in random order, before any is repeated.

    Args:
        sizes: the number of records of each source.
    """
    rng = np.random.default_rng([seed, 1])
    shares = np.asarray(weights, dtype=np.float64)
    sources = rng.choice(len(sizes), size=count, p=shares / shares.sum())
    records = np.empty(count, dtype=np.int64)
    for source, size in enumerate(sizes):
        indices = np.flatnonzero(sources == source)
        rounds = -(-len(indices) // size)
        orders = [rng.permutation(size) for _ in range(rounds)]
        records[indices] = np.concatenate([np.empty(0, dtype=np.int64), *orders])[: len(indices)]
    return sources, records

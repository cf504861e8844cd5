"""The batches of a training, each by its step's number alone: any process can make any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from kosmos2_core.errors import InputError
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.check import check
from kosmos2_data.record_source import BadRecord, RecordSource
from kosmos2_training.augment import Augmentation, augment
from kosmos2_training.batches import Batch, Sample, Shape, collate, make_sample
from kosmos2_training.cells import Names
from kosmos2_training.config import Training
from kosmos2_training.order import order_of

TRIES = 100  # records in a row that may be bad


@dataclass(frozen=True, eq=False)
class Step:
    parts: tuple[Batch, ...]  # of one step, when gradients are accumulated
    skipped: int  # records that were bad, and had the next one in their place

    @property
    def learnt(self) -> int:
        return sum(len(part.targets) for part in self.parts)


class Feed(Dataset[Step]):
    def __init__(
        self,
        training: Training,
        sources: Sequence[RecordSource],
        tokenizer: Tokenizer,
        shape: Shape,
        names: Names | None,
    ) -> None:
        self.training, self.sources, self.tokenizer = training, sources, tokenizer
        self.shape, self.names = shape, names
        self.change = Augmentation() if training.augment else None
        count = training.steps * training.batch
        weights = [source.weight for source in training.data]
        self.order = order_of(training.seed, count, [len(source) for source in sources], weights)

    def __len__(self) -> int:
        return self.training.steps

    def __getitem__(self, step: int) -> Step:
        size = self.training.batch
        made = [self.sample(step * size + at) for at in range(size)]
        samples, skipped = [sample for sample, _ in made], sum(bad for _, bad in made)
        count = self.training.accumulate
        parts = [samples[at::count] for at in range(count)]
        return Step(tuple(collate(part, self.tokenizer, self.shape) for part in parts if part), skipped)

    def sample(self, place: int) -> tuple[Sample, int]:
        """The sample at a place of the order, and how many bad records were passed over."""
        rng = np.random.default_rng([self.training.seed, 2, place])
        source = self.sources[self.order[0][place]]
        for bad in range(TRIES):
            found = check(source, (int(self.order[1][place]) + bad) % len(source))
            if isinstance(found, BadRecord):
                last = found
            else:
                seen = found if self.change is None else augment(*found, rng, self.change)
                return make_sample(*seen, self.tokenizer, self.shape, self.names, rng), bad
        raise InputError(
            f"{source.file} has {TRIES} bad records in a row, the last in line {last.line}: {last.reason}"
            " `kosmos2 data check` names them all."
        )

    def from_step(self, step: int) -> Iterator[Step]:
        """All steps from this one on, prepared in other processes while the model learns."""
        workers = self.training.workers
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(step, len(self)),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_alone if workers else None,
            # A fork of a process that has threads, of torch, OpenCV or OpenGL, may wait for them for ever.
            multiprocessing_context="spawn" if workers else None,
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )
        yield from loader


def _alone(worker: int) -> None:
    """A worker leaves the other processors to the model."""
    cv2.setNumThreads(1)

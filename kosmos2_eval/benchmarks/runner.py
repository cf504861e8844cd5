"""The benchmark loop: batches of questions about few images, answered and written down.

Every image is encoded once for all its questions. A question that has an answer from an interrupted run is
not asked again. Several processes, started by `accelerate launch`, can share the questions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine, Job, View
from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.answers import AnswersByWay, AnswerStore, answer_step
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, Question
from kosmos2_eval.result_files import JsonLinesLog

RELEASED, OURS = "released", "ours"  # ways of asking: as the paper does, and as this project would
WAIT_LIMIT = timedelta(days=7)  # for the slowest process


@dataclass(frozen=True)
class Shard:
    """The part of one of several processes.

    Args:
        rank: number of the process.
        world: number of processes.
        local_rank: its number on its machine, which chooses its GPU.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    def select(self, questions: Sequence[Question]) -> list[Question]:
        """Return the questions of every `world`-th image; questions about one image are consecutive."""
        groups = {
            group: number
            for number, group in enumerate(dict.fromkeys(question.group for question in questions))
        }
        selected = (question for question in questions if groups[question.group] % self.world == self.rank)
        return sorted(selected, key=lambda question: groups[question.group])

    def wait(self) -> None:
        """Wait until all processes have come to this point."""
        if self.world > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def world_size() -> int:
    """Return the number of processes that a launcher has started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", 1))


def this_shard() -> Shard:
    """Return the part of this process."""
    if world_size() == 1:
        return Shard()
    from accelerate import PartialState

    # Processes only wait for each other, so the backend of the CPU is enough, whatever runs the model.
    state = PartialState(cpu=True, timeout=WAIT_LIMIT)
    return Shard(state.process_index, state.num_processes, state.local_process_index)


def missing_images(questions: Iterable[Question]) -> list[Path]:
    """Return the image files that questions need and that do not exist."""
    files = dict.fromkeys(file for question in questions for file in question.images)
    return [file for file in files if not file.is_file()]


def answer_all(
    questions: Sequence[Question],
    store: AnswerStore,
    shard: Shard,
    load: Callable[[], Engine],
    decoding: Decoding,
    batch_size: int,
) -> None:
    """Answer the questions of a shard that have no answer yet, then wait for the other processes.

    Args:
        questions: all questions.
        store: the answers that are known; new ones go to its log.
        shard: the part of this process.
        load: loads the model; called only if there is a question without an answer.
        decoding: how answers are generated.
        batch_size: approximate number of questions in one batch.
    """
    selected = shard.select(questions)
    unanswered = [question for question in selected if question.id not in store.answers]
    if unanswered:
        engine = load()
        progress = {
            "initial": len(selected) - len(unanswered),
            "total": len(selected),
            "unit": " questions",
        }
        disable = None if shard.rank == 0 else True  # None: tqdm shows the bar on a terminal only
        with (
            store.open_log(shard.rank) as log,
            tqdm(**progress, leave=False, disable=disable) as bar,
        ):
            _answer_batches(engine, unanswered, decoding, log, batch_size, bar)
    shard.wait()


def _answer_batches(
    engine: Engine,
    questions: Sequence[Question],
    decoding: Decoding,
    log: JsonLinesLog,
    batch_size: int,
    bar: tqdm[Any],
) -> None:
    for batch in question_batches(questions, batch_size):
        for question, answers in zip(batch, _answers_or_error(engine, batch, decoding), strict=True):
            if isinstance(answers, InputError):
                log.add(answer_step(question.id, None, str(answers)))
            else:
                log.add(answer_step(question.id, answers))
        bar.update(len(batch))


def question_batches(questions: Sequence[Question], batch_size: int) -> Iterator[list[Question]]:
    """Yield batches of at least `batch_size` questions; consecutive ones about one image stay together."""
    batch: list[Question] = []
    for _, group in groupby(questions, key=lambda question: question.group):
        batch += group
        if len(batch) >= batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _answers_or_error(
    engine: Engine, batch: Sequence[Question], decoding: Decoding
) -> list[AnswersByWay | InputError]:
    """Return the answers of every question; an error where it cannot be asked, as with a damaged image."""
    try:
        return list(ask(engine, batch, decoding))
    except InputError as error:
        if len(batch) == 1:
            return [error]
    return [_answers_or_error(engine, [question], decoding)[0] for question in batch]


def ask(engine: Engine, batch: Sequence[Question], decoding: Decoding) -> list[AnswersByWay]:
    """Ask a batch of questions in every way.

    Raises:
        InputError: a question cannot be asked.
    """
    views = _views(engine, batch)
    jobs: list[Job] = [
        (views[question.images], request) for question in batch for request in question.requests
    ]
    released = iter(engine.run(jobs, decoding))
    answers = [
        {RELEASED: BenchmarkAnswer.of([next(released) for _ in question.requests])} for question in batch
    ]
    indices = [index for index, question in enumerate(batch) if question.ours is not None]
    our_jobs: list[Job] = [
        (views[question.images], question.ours) for question in batch if question.ours is not None
    ]
    for index, answer in zip(indices, engine.run(our_jobs, decoding), strict=True):
        answers[index][OURS] = BenchmarkAnswer.of([answer])
    return list(answers)


def _views(engine: Engine, batch: Sequence[Question]) -> dict[tuple[Path, ...], View]:
    """Return the encoded images of every question. A file in several questions is encoded once."""
    files = list(dict.fromkeys(file for question in batch for file in question.images))
    encoded = dict(zip(files, engine.look_many([[file] for file in files]), strict=True))

    def view(images: tuple[Path, ...]) -> View:
        parts = [encoded[file] for file in images]
        return View(
            tuple(part.images[0] for part in parts), tuple(part.features[0] for part in parts), engine
        )

    return {images: view(images) for images in dict.fromkeys(question.images for question in batch)}

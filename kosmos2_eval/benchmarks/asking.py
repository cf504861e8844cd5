"""The loop: images are looked at, and all there is to ask of them is asked in a few batches.

    for each few images: look once, ask as the paper does, ask as we would, write the answers down

What has an answer already, from a run that was cut off, is not asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine, Job, View
from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.answer_files import AnswerLog, Answers
from kosmos2_eval.benchmarks.question import Question, Said, said_of
from kosmos2_eval.benchmarks.shards import Shard

RELEASED, OURS = "released", "ours"  # ways of asking


def answer_all(
    questions: Sequence[Question],
    answers: Answers,
    shard: Shard,
    load: Callable[[], Engine],
    decoding: Decoding,
    size: int,
) -> None:
    """What has no answer yet, of this process's part, is asked. The model is loaded if there is anything."""
    own = shard.own(questions)
    open_ones = [one for one in own if one.id not in answers.said]
    if open_ones:
        engine = load()
        progress = {"initial": len(own) - len(open_ones), "total": len(own), "unit": " questions"}
        quiet = None if shard.rank == 0 else True  # None: quiet where nobody looks
        with (
            AnswerLog(answers.folder / f"answers-{shard.rank}.jsonl", answers.about) as log,
            tqdm(**progress, leave=False, disable=quiet) as bar,
        ):
            ask_all(engine, open_ones, decoding, log, size, bar)
    shard.wait()


def missing_images(questions: Iterable[Question]) -> list[Path]:
    """Images that are asked about and not there."""
    return [file for file in {file: None for one in questions for file in one.images} if not file.is_file()]


def ask_all(
    engine: Engine,
    questions: Sequence[Question],
    decoding: Decoding,
    log: AnswerLog,
    size: int,
    bar: tqdm[Any],
) -> None:
    """Ask, in batches of about so many questions, and write each batch's answers down."""
    for batch in batches(questions, size):
        for question, answer in zip(batch, answers_to(engine, batch, decoding), strict=True):
            if isinstance(answer, InputError):
                log.add(question.id, None, str(answer))
            else:
                log.add(question.id, answer)
        bar.update(len(batch))


def batches(questions: Sequence[Question], size: int) -> Iterator[list[Question]]:
    """Questions about one image, which follow each other, stay together."""
    batch: list[Question] = []
    for _, group in groupby(questions, key=lambda one: one.group):
        batch += group
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def answers_to(
    engine: Engine, batch: Sequence[Question], decoding: Decoding
) -> list[dict[str, Said] | InputError]:
    """Of what cannot be asked, as of an image that is damaged, the reason; the others have answers still."""
    try:
        return list(ask(engine, batch, decoding))
    except InputError as error:
        if len(batch) == 1:
            return [error]
    return [answers_to(engine, [one], decoding)[0] for one in batch]


def ask(engine: Engine, batch: Sequence[Question], decoding: Decoding) -> list[dict[str, Said]]:
    views = look(engine, batch)
    jobs: list[Job] = [(views[one.images], request) for one in batch for request in one.requests]
    answers = iter(engine.run(jobs, decoding))
    said = [{RELEASED: said_of([next(answers) for _ in one.requests])} for one in batch]
    own = [place for place, one in enumerate(batch) if one.ours is not None]
    ours: list[Job] = [(views[one.images], one.ours) for one in batch if one.ours is not None]
    for place, answer in zip(own, engine.run(ours, decoding), strict=True):
        said[place][OURS] = said_of([answer])
    return said


def look(engine: Engine, batch: Sequence[Question]) -> dict[tuple[Path, ...], View]:
    """The images of each question. Each file is looked at once, though it may be in several questions."""
    files = list(dict.fromkeys(file for one in batch for file in one.images))
    looked = dict(zip(files, engine.look_many([[file] for file in files]), strict=True))

    def view(images: tuple[Path, ...]) -> View:
        parts = [looked[file] for file in images]
        return View(tuple(one.images[0] for one in parts), tuple(one.features[0] for one in parts), engine)

    return {images: view(images) for images in dict.fromkeys(one.images for one in batch)}

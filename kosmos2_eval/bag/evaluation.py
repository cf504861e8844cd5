"""The evaluation loop: read a batch of images, predict, compare with the truth, write the batch to the log.

The results are computed from the log alone, and batches are the same in every run: so an evaluation that was
interrupted and resumed gives the same results as one that was not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from kosmos2_core.answers import Entity
from kosmos2_core.errors import InputError
from kosmos2_data.bag_commands import ParsedCommand
from kosmos2_data.bag_frames import RecordedFrame, read_frames
from kosmos2_data.records import normalised
from kosmos2_eval.bag.placement import FramePlacer
from kosmos2_eval.bag.predictors import ImageCommands, Predictor
from kosmos2_eval.bag.queries import (
    PhraseQuery,
    Prediction,
    QueryResult,
    prediction_from_json,
    prediction_to_json,
    query_from_json,
    query_to_json,
)
from kosmos2_eval.bag.recording import Recording
from kosmos2_eval.phrases import kind_of
from kosmos2_eval.result_files import JsonLinesLog
from kosmos2_io.images import to_rgb

BATCH = 8  # images
TIMED_ALONE = 8  # of the first images are predicted once more, one by one, to measure the time of one image
LOG_NAME = ".unfinished.jsonl"
LOG_FORMAT = 2  # a log in another format is not resumed

NumberedFrame = tuple[int, RecordedFrame]


@dataclass(frozen=True)
class BagEvaluation:
    """All queries with the predictions of each model, and what became of every image.

    Args:
        results: by model; the queries of all models are the same, in the same order.
        images: number of selected images.
        unasked_ns: stamps of the images to which no command applies.
        rejected: number of unreadable images by reason.
        read_s: time spent on reading and decoding images.
        model_s: time spent on predictions, by model.
        alone_s: times of single images, by model.
    """

    results: tuple[tuple[QueryResult, ...], ...]
    images: int
    unasked_ns: tuple[int, ...]
    rejected: Counter[str]
    read_s: float
    model_s: tuple[float, ...]
    alone_s: tuple[tuple[float, ...], ...]

    @property
    def evaluated(self) -> int:
        """Number of images about which something was asked."""
        return self.images - len(self.unasked_ns) - self.rejected.total()


def open_log(folder: Path, about: Any) -> JsonLinesLog:
    """Open the log of an evaluation, to resume it if it was interrupted.

    Args:
        folder: the output folder.
        about: everything that the results depend on.

    Raises:
        InputError: the folder has the log of a different evaluation.
    """
    return JsonLinesLog(folder / LOG_NAME, {"format": LOG_FORMAT, "about": about}, sync=True)


def evaluate_bag(
    recording: Recording, predictors: Sequence[Predictor], log: JsonLinesLog, progress: Callable[[int], Any]
) -> BagEvaluation:
    """Evaluate the batches that are not in the log yet, and return the results of all.

    Args:
        recording: what to evaluate.
        predictors: the models; all get the same queries.
        log: finished batches.
        progress: called with the number of images of each finished batch.

    Raises:
        InputError: no command applies to any image.
    """
    selected = read_frames(recording.bag, recording.topics, recording.span, recording.targets)
    for batch in islice(_batches(enumerate(selected)), log.count, None):
        log.add(_evaluate_batch(recording, predictors, batch, first=log.count == 0))
        progress(len(batch))
    evaluation = _read_log(log, len(predictors))
    if not evaluation.results[0]:
        log.remove()
        raise InputError(
            f"no command applies to any of the {evaluation.images} images: commands are given after them, or"
            " labels have other stamps. Give --phrase TEXT to ask the same of every image."
        )
    return evaluation


def _batches(numbered: Iterable[NumberedFrame]) -> Iterator[list[NumberedFrame]]:
    remaining = iter(numbered)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _evaluate_batch(
    recording: Recording, predictors: Sequence[Predictor], batch: Sequence[NumberedFrame], first: bool
) -> dict[str, Any]:
    """Return one step of the log."""
    start = time.perf_counter()
    images = _ReadImages.of(recording, batch)
    read_s = time.perf_counter() - start
    queries = [list(_queries(recording, *numbered)) for numbered in images.readable]
    readable = [image for _, image in images.readable]
    predictions, model_s = [], []
    for predictor in predictors:
        start = time.perf_counter()
        phrases = predictor.predict(readable) if readable else []
        model_s.append(time.perf_counter() - start)
        predictions.append([
            prediction_to_json(prediction)
            for of_image, image, by_command in zip(queries, readable, phrases, strict=True)
            for prediction in _predictions(
                recording, of_image, image.frame, [entity for entities in by_command for entity in entities]
            )
        ])  # fmt: skip
    return {
        "images": len(batch),
        "unasked_ns": images.unasked_ns,
        "rejected": images.rejected,
        "queries": [query_to_json(query) for of_image in queries for query in of_image],
        "predictions": predictions,
        "read_s": read_s,
        "model_s": model_s,
        "alone_s": [_times_alone(predictor, readable) for predictor in predictors] if first else [],
    }


def _times_alone(predictor: Predictor, images: Sequence[ImageCommands]) -> list[float]:
    seconds = []
    for image in images[:TIMED_ALONE]:
        start = time.perf_counter()
        predictor.predict([image])
        seconds.append(time.perf_counter() - start)
    return seconds


@dataclass
class _ReadImages:
    """The images of a batch: those to ask about with their numbers, and the others."""

    readable: list[tuple[int, ImageCommands]] = field(default_factory=list)
    unasked_ns: list[int] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, recording: Recording, batch: Sequence[NumberedFrame]) -> _ReadImages:
        """Read and sort the images of a batch."""
        images = cls()
        for number, frame in batch:
            commands = recording.commands.commands_of(frame.camera.image, frame.frame_id, frame.stamp_ns)
            if frame.damage:
                images.rejected[frame.damage] += 1
            elif commands:
                images._read(number, frame, commands)
            else:
                images.unasked_ns.append(frame.stamp_ns)
        return images

    def _read(self, number: int, frame: RecordedFrame, commands: Sequence[ParsedCommand]) -> None:
        try:
            pixels = to_rgb(frame.recorded.message())
        except InputError as error:
            self.rejected[str(error)] += 1
        else:
            self.readable.append((number, ImageCommands(frame, pixels, commands)))


def _queries(recording: Recording, number: int, image: ImageCommands) -> Iterator[PhraseQuery]:
    frame, (height, width) = image.frame, image.pixels.shape[:2]
    labels = recording.labels
    label = labels.label_of(frame.camera.image, frame.frame_id, frame.stamp_ns) if labels else None
    centres = recording.centres.get(frame.stamp_ns, ("", {}))[1]
    for command in image.commands:
        for index, phrase in enumerate(command.grounded.phrases):
            words = command.grounded.words_of(phrase)
            yield PhraseQuery(
                frame=number,
                camera=frame.camera.image,
                stamp_ns=frame.stamp_ns,
                log_ns=frame.recorded.stamp_ns,
                width=width,
                height=height,
                command_index=command.index,
                text=command.marked(index),
                index=index,
                phrase=words,
                kind=kind_of(words),
                truth=label.boxes_of(command, index, width, height) if label else None,
                true_centre_m=centres.get(normalised(words)),
            )


def _predictions(
    recording: Recording, queries: Sequence[PhraseQuery], frame: RecordedFrame, phrases: Sequence[Entity]
) -> Iterator[Prediction]:
    placer = None
    if any(query.true_centre_m for query in queries):
        placer = FramePlacer(frame, recording.camera_models, (queries[0].width, queries[0].height))
    for query, phrase in zip(queries, phrases, strict=True):
        if placer and query.true_centre_m and phrase.boxes:
            centre, reason = placer.place(phrase.boxes[0])
            yield Prediction(phrase.boxes, phrase.presence, centre, reason)
        else:
            yield Prediction(phrase.boxes, phrase.presence)


def _read_log(log: JsonLinesLog, models: int) -> BagEvaluation:
    results: list[list[QueryResult]] = [[] for _ in range(models)]
    images, unasked_ns = 0, list[int]()
    rejected: Counter[str] = Counter()
    read_s, model_s = 0.0, [0.0] * models
    alone_s: list[tuple[float, ...]] = [()] * models
    for batch in log.steps():
        queries = [query_from_json(fields) for fields in batch["queries"]]
        for of_model, predictions in zip(results, batch["predictions"], strict=True):
            of_model += [
                QueryResult(query, prediction_from_json(fields))
                for query, fields in zip(queries, predictions, strict=True)
            ]
        images += batch["images"]
        unasked_ns += batch["unasked_ns"]
        rejected.update(batch["rejected"])
        read_s += batch["read_s"]
        model_s = [total + seconds for total, seconds in zip(model_s, batch["model_s"], strict=True)]
        alone_s = [tuple(seconds) for seconds in batch["alone_s"]] or alone_s
    return BagEvaluation(
        tuple(map(tuple, results)),
        images,
        tuple(unasked_ns),
        rejected,
        read_s,
        tuple(model_s),
        tuple(alone_s),
    )

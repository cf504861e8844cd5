"""The loop: for each few images, look, ask all that is asked of them, hold the answers to the truth, note it.

Batches are the same however often the work is broken off, so that its results are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from kosmos2_core.answers import Entity
from kosmos2_core.errors import InputError
from kosmos2_data.bag_frames import RecordedFrame, read_frames
from kosmos2_data.records import normalised
from kosmos2_eval.bag.answerers import Answerer, Seen
from kosmos2_eval.bag.journal import Journal
from kosmos2_eval.bag.queries import Found, Judged, Query, found_json, found_of, query_json, query_of
from kosmos2_eval.bag.recording import Recording
from kosmos2_eval.bag.space import Place
from kosmos2_eval.phrase_kinds import kind_of
from kosmos2_io.encodings import to_rgb

AT_ONCE = 8  # images
ALONE = 8  # of the first images are asked once more, one by one, to tell how long one takes

Numbered = tuple[int, RecordedFrame]


@dataclass(frozen=True)
class Evaluation:
    """All that was asked, and what each model found; by model, in the same order."""

    judged: tuple[tuple[Judged, ...], ...]
    images: int  # of the part, with those below
    silent_ns: tuple[int, ...]  # stamps of those of which nothing was asked
    rejected: Counter[str]  # that could not be read, by reason
    read_s: float
    model_s: tuple[float, ...]  # by model
    alone_s: tuple[tuple[float, ...], ...]  # by model: of single images

    @property
    def evaluated(self) -> int:
        return self.images - len(self.silent_ns) - self.rejected.total()


def evaluate(
    recording: Recording, answerers: Sequence[Answerer], journal: Journal, tick: Callable[[int], Any]
) -> Evaluation:
    """Goes on where the journal ends. tick: told how many images are done, of each batch."""
    every = read_frames(recording.bag, recording.topics, recording.part, recording.targets)
    for batch in islice(_batches(enumerate(every)), journal.done, None):
        journal.add(_done(recording, answerers, batch, first=journal.done == 0))
        tick(len(batch))
    evaluation = _read(journal, len(answerers))
    if not evaluation.judged[0]:
        journal.close(finished=True)
        raise InputError(
            f"nothing was asked of any of the {evaluation.images} images: no command stands at their stamps;"
            " give --phrase TEXT."
        )
    return evaluation


def _batches(numbered: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    rest = iter(numbered)
    while batch := list(islice(rest, AT_ONCE)):
        yield batch


def _done(
    recording: Recording, answerers: Sequence[Answerer], batch: Sequence[Numbered], first: bool
) -> dict[str, Any]:
    """A line of the journal."""
    start = time.perf_counter()
    looked = _Looked.at(recording, batch)
    read_s = time.perf_counter() - start
    queries = [list(_queries(recording, *one)) for one in looked.seen]
    seen = [one for _, one in looked.seen]
    found, model_s = [], []
    for answerer in answerers:
        start = time.perf_counter()
        answers = answerer.answer(seen) if seen else []
        model_s.append(time.perf_counter() - start)
        found.append([
            found_json(one)
            for own, image, each in zip(queries, seen, answers, strict=True)
            for one in _found(recording, own, image.frame, [entity for said in each for entity in said])
        ])  # fmt: skip
    return {
        "images": len(batch),
        "silent_ns": looked.silent_ns,
        "rejected": looked.rejected,
        "queries": [query_json(query) for own in queries for query in own],
        "found": found,
        "read_s": read_s,
        "model_s": model_s,
        "alone_s": [_alone(answerer, seen) for answerer in answerers] if first else [],
    }


def _alone(answerer: Answerer, seen: Sequence[Seen]) -> list[float]:
    took = []
    for one in seen[:ALONE]:
        start = time.perf_counter()
        answerer.answer([one])
        took.append(time.perf_counter() - start)
    return took


@dataclass
class _Looked:
    seen: list[tuple[int, Seen]] = field(default_factory=list)  # with their numbers
    silent_ns: list[int] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    @classmethod
    def at(cls, recording: Recording, batch: Sequence[Numbered]) -> _Looked:
        looked = cls()
        for number, frame in batch:
            asked = recording.asking.commands_of(frame.camera.image, frame.frame_id, frame.stamp_ns)
            if not asked and not frame.damage:
                looked.silent_ns.append(frame.stamp_ns)
                continue
            try:
                if frame.damage:
                    raise InputError(frame.damage)
                pixels = to_rgb(frame.recorded.message())
            except InputError as error:
                looked.rejected[str(error)] += 1
                continue
            looked.seen.append((number, Seen(frame, pixels, asked)))
        return looked


def _queries(recording: Recording, number: int, seen: Seen) -> Iterator[Query]:
    frame, (height, width) = seen.frame, seen.pixels.shape[:2]
    labels = recording.labels
    label = labels.label_of(frame.camera.image, frame.frame_id, frame.stamp_ns) if labels else None
    centres = recording.centres.get(frame.stamp_ns, ("", {}))[1]
    for asked in seen.asked:
        for index, phrase in enumerate(asked.grounded.phrases):
            words = asked.grounded.words_of(phrase)
            yield Query(
                frame=number,
                camera=frame.camera.image,
                stamp_ns=frame.stamp_ns,
                log_ns=frame.recorded.stamp_ns,
                width=width,
                height=height,
                standing=asked.index,
                text=asked.marked(index),
                index=index,
                phrase=words,
                kind=kind_of(words),
                truth=label.boxes_of(asked, index, width, height) if label else None,
                true_centre_m=centres.get(normalised(words)),
            )


def _found(
    recording: Recording, queries: Sequence[Query], frame: RecordedFrame, phrases: Sequence[Entity]
) -> Iterator[Found]:
    place = None
    if any(query.true_centre_m for query in queries):
        place = Place(frame, recording.models, (queries[0].width, queries[0].height))
    for query, phrase in zip(queries, phrases, strict=True):
        if place and query.true_centre_m and phrase.boxes:
            centre, why = place.of(phrase.boxes[0])
            yield Found(phrase.boxes, phrase.presence, centre, why)
        else:
            yield Found(phrase.boxes, phrase.presence)


def _read(journal: Journal, models: int) -> Evaluation:
    """What the journal holds. Figures are only made of it, so that they do not tell whether the work was
    broken off."""
    judged: list[list[Judged]] = [[] for _ in range(models)]
    images, silent_ns = 0, list[int]()
    rejected: Counter[str] = Counter()
    read_s, model_s = 0.0, [0.0] * models
    alone_s: list[tuple[float, ...]] = [()] * models
    for batch in journal.batches():
        queries = [query_of(fields) for fields in batch["queries"]]
        for own, found in zip(judged, batch["found"], strict=True):
            own += [Judged(query, found_of(one)) for query, one in zip(queries, found, strict=True)]
        images += batch["images"]
        silent_ns += batch["silent_ns"]
        rejected.update(batch["rejected"])
        read_s += batch["read_s"]
        model_s = [total + one for total, one in zip(model_s, batch["model_s"], strict=True)]
        alone_s = [tuple(one) for one in batch["alone_s"]] or alone_s
    return Evaluation(
        tuple(map(tuple, judged)),
        images,
        tuple(silent_ns),
        rejected,
        read_s,
        tuple(model_s),
        tuple(alone_s),
    )

"""Who answers: a model that is run now, or the node whose answers were recorded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kosmos2_core.answers import Entity
from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_core.requests import Locate
from kosmos2_data.bag_commands import ParsedCommand, command_of_spans
from kosmos2_data.bag_frames import RecordedFrame
from kosmos2_data.bag_topics import (
    GROUNDED_FRAME,
    LABEL_NAME,
    RecordingTopics,
    join_names,
    require_topic,
    topics_of_types,
)
from kosmos2_eval.detection import MOST
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.stamps import to_ns


@dataclass(frozen=True, eq=False)
class Seen:
    """An image, and what is asked of it."""

    frame: RecordedFrame
    pixels: Pixels
    asked: Sequence[ParsedCommand]


Answers = list[list[Sequence[Entity]]]  # for each image, for each thing asked, its phrases


class Answerer(Protocol):
    name: str

    @property
    def threshold(self) -> float | None:
        """The presence from which a phrase gets a box; None: not known."""

    def answer(self, batch: Sequence[Seen]) -> Answers: ...


@dataclass(frozen=True, eq=False)
class Model:
    """A model that answers as the node does.

    Args:
        name: what results call it.
        engine: the model.
        zoom: look a second time, closer, at what was found.
        min_presence: a phrase whose presence is lower gets no box; None: the checkpoint's threshold.
    """

    name: str
    engine: Engine
    zoom: bool = False
    min_presence: float | None = None

    @property
    def threshold(self) -> float:
        """The presence from which a phrase gets a box."""
        return self.engine.min_presence if self.min_presence is None else self.min_presence

    def answer(self, batch: Sequence[Seen]) -> Answers:
        views = self.engine.look_many([[one.pixels] for one in batch])
        jobs = [
            (view, Locate(asked.text, max_boxes=MOST, zoom=self.zoom, min_presence=self.min_presence))
            for view, one in zip(views, batch, strict=True)
            for asked in one.asked
        ]
        answers = iter(self.engine.run(jobs))
        return [[next(answers).phrases for _ in one.asked] for one in batch]


# Recorded answers.


@dataclass(frozen=True)
class Answered:
    """What the node said of an image, and when."""

    asked: ParsedCommand
    phrases: tuple[Entity, ...]
    log_ns: int
    stamp_ns: int
    inference_ns: int
    age_ns: int


@dataclass(frozen=True)
class Node:
    """As an answerer, and as who says what is asked."""

    name: str
    answers: Mapping[str, Mapping[int, Answered]]  # by camera's frame (one camera: all of them), by stamp
    several: bool

    @property
    def threshold(self) -> None:
        """Messages do not say it."""
        return None

    def commands_of(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[ParsedCommand]:
        one = self.of(frame_id, stamp_ns)
        return (one.asked,) if one else ()

    def of(self, frame_id: str, stamp_ns: int) -> Answered | None:
        return self.answers.get(frame_id if self.several else "", {}).get(stamp_ns)

    def answer(self, batch: Sequence[Seen]) -> Answers:
        found = [self.of(one.frame.frame_id, one.frame.stamp_ns) for one in batch]
        return [[one.phrases] if one else [] for one in found]

    def every(self) -> list[Answered]:
        every = (one for own in self.answers.values() for one in own.values())
        return sorted(every, key=lambda one: one.log_ns)


def read_answers(bag: BagReader, topics: RecordingTopics, topic: str | None = None) -> Node:
    """The last answer to each image. InputError: there is no topic of answers, or several."""
    chosen = (
        [require_topic(bag, topic, (GROUNDED_FRAME,), "--answers-topic")] if topic else _topics(bag, topics)
    )
    several = len(topics.cameras) > 1
    answers: defaultdict[str, dict[int, Answered]] = defaultdict(dict)
    models: set[str] = set()
    said, standing = "", -1
    for one in bag.messages(chosen):
        message = one.message()
        if str(message.command_id) != said:
            said, standing = str(message.command_id), standing + 1
        models.add(str(message.model))
        whose = message.header.frame_id if several else ""
        answers[whose][to_ns(message.header.stamp)] = _recorded(message, one.stamp_ns, standing)
    in_order = {whose: dict(sorted(own.items())) for whose, own in answers.items()}
    return Node(", ".join(sorted(_last(name) for name in models)) or "the node", in_order, several)


def _topics(bag: BagReader, topics: RecordingTopics) -> list[str]:
    found = [one for one in topics_of_types(bag, GROUNDED_FRAME) if not LABEL_NAME.search(one)]
    if not found:
        raise InputError(
            "the bag of answers has no kosmos2/GroundedFrame of the node: record its topic"
            " /grounding/grounding."
        )
    if len(found) > 1 and len(topics.cameras) == 1:
        raise InputError(f"the bag has answers on {join_names(found)}: choose with --answers-topic TOPIC.")
    return found


def _recorded(message: Any, log_ns: int, standing: int) -> Answered:
    spans = [(int(one.span_start), int(one.span_end)) for one in message.phrases]
    size = int(message.image_width), int(message.image_height)
    phrases = tuple(
        Entity(str(one.phrase), *span, _boxes(one.boxes, size), _known(one.presence))
        for one, span in zip(message.phrases, spans, strict=True)
    )
    return Answered(
        command_of_spans(str(message.text), spans, standing),
        phrases,
        log_ns,
        to_ns(message.header.stamp),
        _duration(message.inference_time),
        _duration(message.frame_age),
    )


def _boxes(boxes: Sequence[Any], size: tuple[int, int]) -> tuple[Box, ...]:
    return tuple(
        replace(box_of_pixels(one.x_min, one.y_min, one.x_max, one.y_max, *size), score=_known(one.score))
        for one in boxes
    )


def _known(probability: float) -> float | None:
    return None if math.isnan(probability) else float(probability)


def _duration(message: Any) -> int:
    return int(message.sec) * 10**9 + int(message.nanosec)


def _last(path: str) -> str:
    """The name of a checkpoint, wherever its folder is."""
    return path.rstrip("/").rpartition("/")[2]

"""The source of predictions: a model that runs now, or the node's answers as they were recorded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

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
from kosmos2_eval.detection import MAX_BOXES
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.stamps import header_ns, to_ns


@dataclass(frozen=True, eq=False)
class ImageCommands:
    """An image, and the commands that apply to it."""

    frame: RecordedFrame
    pixels: Pixels
    commands: Sequence[ParsedCommand]


Phrases = list[list[Sequence[Entity]]]  # the located phrases, by image and command


class Predictor(Protocol):
    """Answers commands about images."""

    @property
    def name(self) -> str:
        """The name in results."""

    @property
    def min_presence(self) -> float | None:
        """The presence from which a phrase gets a box; None if it is not known."""

    @property
    def device(self) -> str:
        """The device and the precision, in words."""

    def predict(self, batch: Sequence[ImageCommands]) -> Phrases:
        """Return the phrases of every command of every image."""


@dataclass(frozen=True, eq=False)
class ModelPredictor:
    """A model that answers as the node does.

    Args:
        name: the name in results.
        engine: the model.
        zoom: look at the boxes a second time, at a higher resolution.
        presence_threshold: a phrase with a lower presence gets no box; None: the checkpoint's threshold.
    """

    name: str
    engine: Engine
    zoom: bool = False
    presence_threshold: float | None = None

    @property
    def min_presence(self) -> float:
        """The presence from which a phrase gets a box."""
        return self.engine.min_presence if self.presence_threshold is None else self.presence_threshold

    @property
    def device(self) -> str:
        """The device and the precision, such as `cpu, float32`."""
        device = self.engine.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        return f"{name}, {self.engine.precision}"

    def predict(self, batch: Sequence[ImageCommands]) -> Phrases:
        """Encode every image once and answer all commands in one batch."""
        views = self.engine.look_many([[image.pixels] for image in batch])
        jobs = [
            (view, self._request(command))
            for view, image in zip(views, batch, strict=True)
            for command in image.commands
        ]
        answers = iter(self.engine.run(jobs))
        return [[next(answers).phrases for _ in image.commands] for image in batch]

    def _request(self, command: ParsedCommand) -> Locate:
        return Locate(command.text, max_boxes=MAX_BOXES, zoom=self.zoom, min_presence=self.presence_threshold)


# Recorded answers.


@dataclass(frozen=True)
class RecordedAnswer:
    """The node's answer about one image, as recorded.

    Args:
        command: the command that was answered.
        phrases: its phrases with their boxes.
        log_ns: time at which the answer was recorded.
        stamp_ns: stamp of the image.
        inference_ns: inference time, as the node measured it.
        age_ns: age of the image when the answer was published.
    """

    command: ParsedCommand
    phrases: tuple[Entity, ...]
    log_ns: int
    stamp_ns: int
    inference_ns: int
    age_ns: int


@dataclass(frozen=True)
class RecordedAnswers:
    """All answers of the node. They say both which commands apply to an image and what was predicted.

    Args:
        name: name of the model that the node ran.
        answers: by frame of the camera (empty if there is one camera), by stamp of the image.
        several: there are several cameras.
    """

    name: str
    answers: Mapping[str, Mapping[int, RecordedAnswer]]
    several: bool

    @property
    def min_presence(self) -> None:
        """The presence threshold is not known: messages do not contain it."""
        return None

    @property
    def device(self) -> str:
        """The device is not known either."""
        return "the robot's, as recorded"

    def commands_of(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[ParsedCommand]:
        """Return the command that was answered about an image; none if the image was not answered."""
        answer = self.answer_to(frame_id, stamp_ns)
        return (answer.command,) if answer else ()

    def answer_to(self, frame_id: str, stamp_ns: int) -> RecordedAnswer | None:
        """Return the answer about an image, or None."""
        return self.answers.get(frame_id if self.several else "", {}).get(stamp_ns)

    def predict(self, batch: Sequence[ImageCommands]) -> Phrases:
        """Return the recorded phrases of every image."""
        answers = [self.answer_to(image.frame.frame_id, image.frame.stamp_ns) for image in batch]
        return [[answer.phrases] if answer else [] for answer in answers]

    def in_order(self) -> list[RecordedAnswer]:
        """Return all answers in the order in which they were recorded."""
        answers = (answer for by_stamp in self.answers.values() for answer in by_stamp.values())
        return sorted(answers, key=lambda answer: answer.log_ns)


def read_recorded_answers(
    bag: BagReader, topics: RecordingTopics, topic: str | None = None
) -> RecordedAnswers:
    """Read the last answer to every image.

    Args:
        bag: the recording of the answers.
        topics: topics of the evaluated recording.
        topic: topic of the answers; None: the one topic of answers in the bag.

    Raises:
        InputError: there is no topic of answers, or several for one camera.
    """
    chosen = (
        [require_topic(bag, topic, (GROUNDED_FRAME,), "--answers-topic")]
        if topic
        else _answer_topics(bag, topics)
    )
    several = len(topics.cameras) > 1
    answers: defaultdict[str, dict[int, RecordedAnswer]] = defaultdict(dict)
    models: set[str] = set()
    command_id, command_index = "", -1
    for recorded in bag.messages(chosen):
        message = recorded.message()
        if str(message.command_id) != command_id:
            command_id, command_index = str(message.command_id), command_index + 1
        models.add(str(message.model))
        frame_id = message.header.frame_id if several else ""
        answers[frame_id][header_ns(message)] = _recorded_answer(message, recorded.stamp_ns, command_index)
    by_stamp = {frame_id: dict(sorted(of_frame.items())) for frame_id, of_frame in answers.items()}
    return RecordedAnswers(", ".join(sorted(map(_folder_name, models))) or "the node", by_stamp, several)


def _answer_topics(bag: BagReader, topics: RecordingTopics) -> list[str]:
    found = [topic for topic in topics_of_types(bag, GROUNDED_FRAME) if not LABEL_NAME.search(topic)]
    if not found:
        raise InputError(
            "the bag of answers has no kosmos2/GroundedFrame of the node: record its topic"
            " /grounding/grounding."
        )
    if len(found) > 1 and len(topics.cameras) == 1:
        raise InputError(f"the bag has answers on {join_names(found)}: choose with --answers-topic TOPIC.")
    return found


def _recorded_answer(message: Any, log_ns: int, command_index: int) -> RecordedAnswer:
    spans = [(int(phrase.span_start), int(phrase.span_end)) for phrase in message.phrases]
    size = int(message.image_width), int(message.image_height)
    phrases = tuple(
        Entity(str(phrase.phrase), *span, _boxes(phrase.boxes, size), _known(phrase.presence))
        for phrase, span in zip(message.phrases, spans, strict=True)
    )
    return RecordedAnswer(
        command_of_spans(str(message.text), spans, command_index),
        phrases,
        log_ns,
        header_ns(message),
        to_ns(message.inference_time),
        to_ns(message.frame_age),
    )


def _boxes(boxes: Sequence[Any], size: tuple[int, int]) -> tuple[Box, ...]:
    return tuple(
        replace(box_of_pixels(box.x_min, box.y_min, box.x_max, box.y_max, *size), score=_known(box.score))
        for box in boxes
    )


def _known(probability: float) -> float | None:
    """Return a probability of a message, in which NaN means that it is not known."""
    return None if math.isnan(probability) else float(probability)


def _folder_name(path: str) -> str:
    """Return the last part of a checkpoint's path: results do not depend on where a checkpoint is."""
    return path.rstrip("/").rpartition("/")[2]

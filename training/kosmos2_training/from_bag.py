"""A recording as data to train with: each labelled image, and what its label says of it.

    topics, labels (kosmos2_eval.bag) -> frames -> what each label says -> images/ and records.jsonl

A label that is a sentence is one item. One of names, as a detector gives, is an item for each name; it names
all there is, so other names that the recording has are absent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from kosmos2_core.errors import InputError
from kosmos2_core.markdown import GroundedText, Phrase
from kosmos2_eval.bag.asking import Asked, Commands, read_commands
from kosmos2_eval.bag.frames import Frame, frames
from kosmos2_eval.bag.labels import Label, Labels, Place
from kosmos2_eval.bag.recording import Question, Recording, open_recording
from kosmos2_eval.bag.topics import DETECTIONS, GROUNDED, choose, listed, of_types
from kosmos2_eval.metrics import normalised
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.image_file import ImageFile, image_file
from kosmos2_io.record_source import NAME
from kosmos2_io.records import Item, Record, record_of, to_json

IMAGES = "images"
WHERE = re.compile(r"^\S+, at [\d.]+ s: ")  # of a message; what is wrong with it comes after


@dataclass
class Made:
    """What was used, and what was not, and why."""

    topics: tuple[str, ...]  # of images
    labels: str
    seconds: float  # of the recording that was looked at
    images: int = 0  # on those topics
    records: int = 0
    phrases: int = 0
    absent: int = 0  # of them
    left_out: Counter[str] = field(default_factory=Counter)  # images, by reason
    labels_left_out: int = 0  # no image has their stamp

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "left_out": dict(self.left_out)}


def make_data(
    folder: Path, bag: BagReader, question: Question, jpeg: int | None, tick: Callable[[], Any]
) -> Made:
    """question: of which images and labels; it asks what is labelled. jpeg: the quality in which raw images
    are stored; None: as they are. tick: called after each image."""
    recording, labels, named = _opened(bag, question)
    seconds = (recording.part.end_ns - recording.part.start_ns) / 1e9
    made = Made(recording.topics.images, named, seconds)
    with _new(folder) as place, (place / NAME).open("w", encoding="utf-8") as lines:
        (place / IMAGES).mkdir()
        work = _Work(recording, labels, place, lines, jpeg, made)
        for frame in frames(bag, recording.topics, recording.part):
            made.images += 1
            why = work.add(frame)
            if why:
                made.left_out[why] += 1
            tick()
        if not made.records:
            raise InputError(_nothing(made))
        if question == replace(question, every=1, from_s=0.0, to_s=None):  # else others are left out
            made.labels_left_out = work.unmet
    return made


def _opened(bag: BagReader, question: Question) -> tuple[Recording, Labels, str]:
    """The recording, its labels, and where they are from."""
    topics = choose(bag, question.wanted)
    if question.label_file is None and topics.labels is None:
        there = of_types(bag, GROUNDED, DETECTIONS)
        raise InputError(
            "nothing in the bag calls itself labels: give --labels FILE, or a topic of"
            f" kosmos2/GroundedFrame or vision_msgs/Detection2DArray; the bag has {listed(there)}."
        )
    recording = open_recording(bag, question)
    assert recording.labels is not None
    return recording, recording.labels, str(question.label_file or topics.labels)


def _nothing(made: Made) -> str:
    reasons = "; ".join(f"{count}: {why}" for why, count in made.left_out.most_common(3))
    return f"none of the {made.images} images on {listed(made.topics)} can be used ({reasons})."


@dataclass
class _Work:
    recording: Recording
    labels: Labels
    folder: Path
    lines: IO[str]
    jpeg: int | None
    made: Made

    def __post_init__(self) -> None:
        self._commands = _commands(self.recording, self.labels)
        self._names: set[str] = set()  # of files
        self._met: set[Place] = set()

    def add(self, frame: Frame) -> str:
        """Write its record. Why not; empty: it is written."""
        label = self._label(frame)
        if frame.damage:
            return WHERE.sub("", frame.damage)
        if label is None:
            return "no label has its stamp"
        try:
            image = image_file(frame.recorded.message(), self.jpeg)
        except InputError as error:
            return str(error)
        items = self._items(frame, label, image)
        if not items:
            return "its label marks nothing that is in the image"
        name = f"{IMAGES}/{self._name(frame)}.{image.ending}"
        if name in self._names:
            return "an image of the same camera and stamp came before"
        line = to_json(Record(name, tuple(items)))
        try:
            record_of(line)
        except InputError as error:
            return str(error)
        self._names.add(name)
        (self.folder / name).write_bytes(image.data)
        self.lines.write(f"{line}\n")
        self._count(items)
        return ""

    def _label(self, frame: Frame) -> Label | None:
        place = frame.camera.image, frame.frame_id, frame.stamp_ns
        found = self.labels.place(*place)
        if found is None:
            return None
        self._met.add(found)
        return self.labels.at(*place)

    @property
    def unmet(self) -> int:
        """Labels of which no image has the stamp."""
        return sum(map(len, self.labels.of_each().values())) - len(self._met)

    def _name(self, frame: Frame) -> str:
        seconds, rest = divmod(frame.stamp_ns, 10**9)
        stamp = f"{seconds}.{rest:09}"
        if len(self.recording.topics.cameras) == 1:
            return stamp
        return f"{re.sub('[^A-Za-z0-9]+', '_', frame.camera.image).strip('_')}-{stamp}"

    def _items(self, frame: Frame, label: Label, image: ImageFile) -> list[Item]:
        place = frame.camera.image, frame.frame_id, frame.stamp_ns
        found = [_item(label, asked, image) for asked in self.recording.asking.at(*place)]
        items = [item for item in found if item]
        if not label.closed:
            return items
        said = self._commands.at(*place) if self._commands else ()
        sentences = [_item(label, asked, image) for asked in said]
        present = [one for one in items if not one.kind]
        absent = [one for one in items if one.kind]
        return [*filter(None, sentences), *present, *_some(absent, max(1, len(present)), self.made.records)]

    def _count(self, items: Sequence[Item]) -> None:
        self.made.records += 1
        boxes = [phrase.boxes for item in items for phrase in item.text.phrases]
        self.made.phrases += len(boxes)
        self.made.absent += boxes.count(())


def _commands(recording: Recording, labels: Labels) -> Commands | None:
    """Sentences for labels of names, as far as these are what the sentences name."""
    if recording.topics.commands is None:
        return None
    known = labels.words
    commands = read_commands(recording.bag, recording.topics.commands)

    def meant(asked: Asked | None) -> Asked | None:
        named = [normalised(asked.grounded.of(one)) for one in asked.grounded.phrases] if asked else []
        return asked if set(named) <= known else None

    return Commands(commands.since_ns, tuple(map(meant, commands.asked)))


def _item(label: Label, asked: Asked, image: ImageFile) -> Item | None:
    """What the label says of what is asked. None: nothing."""
    phrases = [
        Phrase(one.start, one.end, boxes)
        for index, one in enumerate(asked.grounded.phrases)
        if (boxes := label.of(asked, index, image.width, image.height)) is not None
    ]
    if not phrases:
        return None
    kind = "" if any(one.boxes for one in phrases) else "absent"
    return Item("locate", GroundedText(asked.grounded.text, tuple(phrases)), kind=kind)


def _some(items: Sequence[Item], count: int, turn: int) -> list[Item]:
    """So many of them, others each turn: a model that is told of little else learns to find nothing."""
    count = min(count, len(items))
    return [items[(turn * count + k) % len(items)] for k in range(count)]


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """It has its name only when it is whole."""
    if folder.exists():
        raise InputError(f"{folder} exists: choose a name that is free, or remove it.")
    place = folder.absolute()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as near:
            unfinished = Path(near, place.name)
            unfinished.mkdir()
            yield unfinished
            unfinished.rename(place)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}.") from None

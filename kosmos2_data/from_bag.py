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
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase
from kosmos2_data.bag_commands import Asked, Commands, read_commands
from kosmos2_data.bag_frames import Frame, Part, Selection, frames
from kosmos2_data.bag_labels import (
    AsLabelled,
    Label,
    Labels,
    Place,
    as_labelled,
    read_label_file,
    read_labels,
)
from kosmos2_data.bag_topics import DETECTIONS, GROUNDED, Topics, Wanted, choose, listed, of_types
from kosmos2_data.record_source import NAME
from kosmos2_data.records import Item, Record, normalised, record_of, to_json
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.image_file import ImageFile, image_file

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


@dataclass(frozen=True)
class LabelledImages:
    """The labelled images of a recording that become records.

    Args:
        wanted: topics that were named; others are chosen as `choose` does.
        label_file: a file of labels, which then replaces the bag's topic of labels.
        selection: the span of time, and every Nth image.
    """

    wanted: Wanted = field(default_factory=Wanted)
    label_file: Path | None = None
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True, eq=False)
class Recording:
    bag: BagReader
    topics: Topics
    part: Part
    labels: Labels
    asking: AsLabelled  # what the labels name


def make_data(
    folder: Path, bag: BagReader, request: LabelledImages, jpeg: int | None, tick: Callable[[], Any]
) -> Made:
    """jpeg: the quality in which raw images are stored; None: as they are. tick: called after each image."""
    recording = _opened(bag, request)
    seconds = (recording.part.end_ns - recording.part.start_ns) / 1e9
    made = Made(recording.topics.images, str(request.label_file or recording.topics.labels), seconds)
    with _new(folder) as place, (place / NAME).open("w", encoding="utf-8") as lines:
        (place / IMAGES).mkdir()
        work = _Work(recording, place, lines, jpeg, made)
        for frame in frames(bag, recording.topics, recording.part):
            made.images += 1
            why = work.add(frame)
            if why:
                made.left_out[why] += 1
            tick()
        if not made.records:
            raise InputError(_nothing(made))
        if request.selection == Selection():  # else the images of other labels are left out
            made.labels_left_out = work.unmet
    return made


def _opened(bag: BagReader, request: LabelledImages) -> Recording:
    topics = choose(bag, request.wanted)
    several = len(topics.cameras) > 1
    if request.label_file:
        labels = read_label_file(request.label_file, several)
    elif topics.labels:
        labels = read_labels(bag, topics.labels, several)
    else:
        there = of_types(bag, GROUNDED, DETECTIONS)
        raise InputError(
            "nothing in the bag calls itself labels: give --labels FILE, or a topic of"
            f" kosmos2/GroundedFrame or vision_msgs/Detection2DArray; the bag has {listed(there)}."
        )
    return Recording(bag, topics, request.selection.part_of(bag), labels, as_labelled(labels))


def _nothing(made: Made) -> str:
    reasons = "; ".join(f"{count}: {why}" for why, count in made.left_out.most_common(3))
    return f"none of the {made.images} images on {listed(made.topics)} can be used ({reasons})."


@dataclass
class _Work:
    recording: Recording
    folder: Path
    lines: IO[str]
    jpeg: int | None
    made: Made

    def __post_init__(self) -> None:
        self._commands = _commands(self.recording)
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
        found = self.recording.labels.place(*place)
        if found is None:
            return None
        self._met.add(found)
        return self.recording.labels.at(*place)

    @property
    def unmet(self) -> int:
        """Labels of which no image has the stamp."""
        return sum(map(len, self.recording.labels.of_each().values())) - len(self._met)

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


def _commands(recording: Recording) -> Commands | None:
    """Sentences for labels of names, as far as these are what the sentences name."""
    if recording.topics.commands is None:
        return None
    known = recording.labels.words
    commands = read_commands(recording.bag, recording.topics.commands)

    def meant(asked: Asked | None) -> Asked | None:
        named = [normalised(asked.grounded.words_of(one)) for one in asked.grounded.phrases] if asked else []
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
